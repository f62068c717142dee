"""Where ConFUDA fails: the bundled sample, spoilt in one way each, segmented as a user would, scored and drawn.

    python docs/pictures/draw_limits.py -o docs/pictures --page docs/limits.md

Writes `limit-NAME.jpg` for each way, and `limits.json` with the figures of docs/limits.md, whose table it renews. Only
the simulated sample is used (made of ACDC, CC BY-NC-SA 4.0), so the pictures may be published under the same terms.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
from PIL import Image

from confuda.io.segmentation_file import read_segmentation
from confuda.labels import LV, MYO, RV, STRUCTURES
from confuda.measure.metrics import compute_volumes_ml, measure_dice
from confuda.report.contours import draw_contours

SAMPLES = Path(__file__).resolve().parents[2] / "ConFUDASegment" / "Resources" / "SampleData"
METHODS = {"without adaptation": "none", "ConFUDA": "confuda"}
PRESET = "fast"
"""Half of the default's runs: what fails here fails with more of them, too, and the whole study takes minutes."""

REFUSALS = (3, 4, 5)
"""Exit codes of ``confuda`` for an input, a bundle or a memory that it can't work with."""

JPEG_QUALITY = 75


class Scan(NamedTuple):
    """Voxels and true labels (slices, rows, columns), and the spacing in mm between columns, rows and slices."""

    voxels: np.ndarray
    labels: np.ndarray
    spacing_mm: Tuple[float, float, float]


class Limit(NamedTuple):
    """One way to spoil the sample, and the slices of the result that its picture shows."""

    name: str
    spoil: Callable[[Scan], Scan]
    shown: Sequence[int] = (2, 4)


def keep(scan: Scan) -> Scan:
    """The sample as it is."""
    return scan


def add_ghosts(scan: Scan) -> Scan:
    """Breathing during the scan: copies of the body, a quarter of the field of view apart along the rows."""
    quarter = scan.voxels.shape[1] // 4
    ghosts = sum(np.roll(scan.voxels, shift, axis=1) for shift in (-quarter, quarter))
    return scan._replace(voxels=scan.voxels + 0.5 * ghosts)


def add_noise(scan: Scan) -> Scan:
    """Rician noise of half of the blood's signal."""
    random = np.random.default_rng(0)
    sigma = 0.5 * np.median(scan.voxels[scan.labels == LV.label])
    real, imaginary = (random.normal(0, sigma, scan.voxels.shape) for _ in range(2))
    return scan._replace(voxels=np.hypot(scan.voxels + real, imaginary))


def blacken_blood(scan: Scan) -> Scan:
    """Black-blood contrast: no signal in both ventricles, muscle of medium brightness."""
    voxels = scan.voxels.copy()
    blood, muscle = np.isin(scan.labels, (LV.label, RV.label)), scan.labels == MYO.label
    level = np.median(voxels[blood])
    voxels += soften(blood, scan) * (0.15 * voxels - voxels)
    voxels += soften(muscle, scan) * (0.7 * level - voxels)
    return scan._replace(voxels=add_grain(voxels, 0.06 * level))


def paint_scar(scan: Scan) -> Scan:
    """A scar as bright as the blood, or brighter, through the inner three quarters of half of the wall."""
    voxels = scan.voxels.copy()
    level = 1.2 * np.median(voxels[scan.labels == LV.label])
    rows, _ = np.indices(scan.labels.shape[1:])
    scar = np.zeros(scan.labels.shape, bool)
    for number, plane in enumerate(scan.labels):
        if (plane == LV.label).any():
            middle = np.argwhere(plane == LV.label)[:, 0].mean()
            outside = measure_distance((plane != LV.label) & (plane != MYO.label), scan)
            scar[number] = (plane == MYO.label) & (rows > middle) & (outside > 2.5)
    voxels += soften(scar, scan) * (level - voxels)
    return scan._replace(voxels=add_grain(voxels, 0.06 * level))


def implant_metal(scan: Scan) -> Scan:
    """An implant beside the lateral wall: no signal within 28 mm of it, and a bright rim."""
    voxels = scan.voxels.copy()
    row, column = np.argwhere(scan.labels == LV.label)[:, 1:].mean(axis=0)
    rows, columns = np.indices(scan.labels.shape[1:])
    away_mm = np.hypot((rows - row) * scan.spacing_mm[1], (columns - column) * scan.spacing_mm[0] - 35.0)
    rim = np.exp(-(((away_mm - 31.0) / 2.5) ** 2))
    voxels = np.where(away_mm < 28.0, 0.03 * voxels, voxels) + rim * 2.0 * np.median(voxels[scan.labels == LV.label])
    return scan._replace(voxels=add_grain(voxels, 4.0))


def cut_off(scan: Scan) -> Scan:
    """The field of view ends in the middle of the left ventricle."""
    column = int(np.argwhere(scan.labels == LV.label)[:, 2].mean())
    return scan._replace(voxels=scan.voxels[:, :, :column], labels=scan.labels[:, :, :column])


def leave_heart_out(scan: Scan) -> Scan:
    """What lies below the heart: no voxel of it is in the volume."""
    below = int(np.argwhere(scan.labels > 0)[:, 1].max()) + 10
    return scan._replace(voxels=scan.voxels[:, below:], labels=scan.labels[:, below:])


def reslice_to_long_axis(scan: Scan) -> Scan:
    """A long-axis stack of the same heart: the slices lie along the ventricle, 8 mm apart."""
    fine_mm = scan.spacing_mm[0]
    step = max(1, int(round(8.0 / fine_mm)))
    levels = int(scan.labels.shape[0] * scan.spacing_mm[2] / fine_mm)
    stretched = []
    for array, interpolator in ((scan.voxels, sitk.sitkLinear), (scan.labels, sitk.sitkNearestNeighbor)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(scan.spacing_mm)
        size = [image.GetSize()[0], image.GetSize()[1], levels]
        spacing = [scan.spacing_mm[0], scan.spacing_mm[1], fine_mm]
        fine = sitk.Resample(image, size, sitk.Transform(), interpolator, image.GetOrigin(), spacing)
        stretched.append(sitk.GetArrayFromImage(fine)[:, :, ::step].transpose(2, 0, 1))
    return Scan(stretched[0], stretched[1], (scan.spacing_mm[1], fine_mm, step * fine_mm))


def misstate_spacing(scan: Scan) -> Scan:
    """A header that says half of the true distance between pixels."""
    across, down, between = scan.spacing_mm
    return scan._replace(spacing_mm=(across / 2, down / 2, between))


LIMITS = (
    Limit("ends", keep, (0, 7)),
    Limit("scar", paint_scar),
    Limit("black-blood", blacken_blood),
    Limit("ghosts", add_ghosts),
    Limit("noise", add_noise),
    Limit("metal", implant_metal),
    Limit("cut-off", cut_off),
    Limit("no-heart", leave_heart_out),
    Limit("long-axis", reslice_to_long_axis, (9, 17)),
    Limit("wrong-spacing", misstate_spacing),
)


def soften(mask: np.ndarray, scan: Scan) -> np.ndarray:
    """The mask's share of each voxel where borders are blurred by 1 mm within the slice."""
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, [(1.0 / mm) ** 2 for mm in scan.spacing_mm[:2]] + [0.0]))


def add_grain(voxels: np.ndarray, sigma: float) -> np.ndarray:
    """The noise of a magnitude image over what was painted."""
    random = np.random.default_rng(0)
    return np.hypot(voxels + random.normal(0, sigma, voxels.shape), random.normal(0, sigma, voxels.shape))


def measure_distance(mask: np.ndarray, scan: Scan) -> np.ndarray:
    """Distance in mm of each pixel of a plane to ``mask``."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(scan.spacing_mm[:2])
    return np.maximum(sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, True)), 0)


def make_image(array: np.ndarray, scan: Scan) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(scan.spacing_mm)
    return image


def segment(volume: Path, output: Path, method: str, options: Sequence[str]) -> Dict[str, Any]:
    """Run ``confuda adapt`` as a user would; returns its summary, or the sentence with which it refuses."""
    command = [sys.executable, "-m", "confuda", "adapt", str(volume), "-o", str(output), "--method", method, "--json"]
    result = subprocess.run(
        [*command, "--preset", PRESET, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if result.returncode in REFUSALS:
        return {"refused": result.stderr.strip().splitlines()[-1], "exit_code": result.returncode}
    if result.returncode != 0:
        raise RuntimeError(f"confuda adapt ended with {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout)


def study(limit: Limit, sample: Scan, folder: Path, options: Sequence[str]) -> Dict[str, Any]:
    """Spoil, segment without and with adaptation, score and draw; returns the figures."""
    scan = limit.spoil(sample)
    scan = scan._replace(voxels=np.rint(scan.voxels).astype(np.int16))
    found: Dict[str, np.ndarray] = {}
    record: Dict[str, Any] = {"truth_ml": round_all(compute_volumes_ml(make_image(scan.labels, scan)))}
    with tempfile.TemporaryDirectory(prefix="confuda-limits-") as work:
        volume = Path(work) / "volume.nrrd"
        sitk.WriteImage(make_image(scan.voxels, scan), str(volume))
        for heading, method in METHODS.items():
            output = Path(work) / f"{method}.seg.nrrd"
            summary = segment(volume, output, method, options)
            record[method] = {name: summary[name] for name in ("refused", "exit_code") if name in summary}
            if output.is_file():
                labels = sitk.GetArrayFromImage(read_segmentation(output))
                found[heading] = labels
                record[method] = {
                    "dice": score(labels, scan.labels),
                    "ml": round_all(compute_volumes_ml(make_image(labels, scan))),
                    "accepted": summary["accepted"],
                    "warnings": summary["warnings"],
                }
    found["truth"] = scan.labels
    shown = list(limit.shown)
    with tempfile.TemporaryDirectory(prefix="confuda-limits-") as work:
        picture = draw_contours(
            scan.voxels[shown],
            {heading: labels[shown] for heading, labels in found.items()},
            Path(work) / "picture.png",
            spacing_mm=(scan.spacing_mm[1], scan.spacing_mm[0]),
            numbers=shown,
            plain=True,
        )
        save_as_jpeg(picture, folder / f"limit-{limit.name}.jpg")
    return record


def score(labels: np.ndarray, truth: np.ndarray) -> Optional[Dict[str, float]]:
    """Dice of each structure; None where the truth is empty."""
    if not truth.any():
        return None
    pairs = {s.name: measure_dice(labels == s.label, truth == s.label) for s in STRUCTURES}
    return round_all(pairs, 3)


def round_all(values: Dict[str, float], digits: int = 1) -> Dict[str, float]:
    return {name: round(float(value), digits) for name, value in values.items()}


def renew_table(page: Path, records: Dict[str, Any]) -> None:
    """Put the figures and warnings of ``records`` into the rows of the page's table; the last column stays."""
    lines = page.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] in records:
            record = records[cells[0]]
            told = [tell_dice(record[method]) for method in METHODS.values()]
            warned = [shorten(text) for method in METHODS.values() for text in record[method].get("warnings", [])]
            told.append("; ".join(dict.fromkeys(warned)) or "none")
            lines[number] = f"| {' | '.join([cells[0], *told, cells[4]])} |"
    page.write_text("\n".join(lines), encoding="utf-8")


def tell_dice(outcome: Dict[str, Any]) -> str:
    dice = outcome.get("dice")
    return " ".join(f"{dice[structure.name]:.2f}" for structure in STRUCTURES) if dice else "empty"


def shorten(warning: str) -> str:
    """A warning up to its first colon, comma or full stop."""
    for mark in (":", ",", ". "):
        warning = warning.split(mark)[0]
    return warning.rstrip(".")


def save_as_jpeg(picture: Path, path: Path) -> None:
    """Noise makes a PNG three times as large, and the repository keeps every version for good."""
    with Image.open(picture) as image:
        image.convert("RGB").save(path, quality=JPEG_QUALITY, optimize=True)


def read_sample() -> Scan:
    volume = sitk.ReadImage(str(SAMPLES / "SimulatedLGE.nrrd"))
    truth = read_segmentation(SAMPLES / "SimulatedLGE-truth.seg.nrrd")
    return Scan(sitk.GetArrayFromImage(volume).astype(np.float64), sitk.GetArrayFromImage(truth), volume.GetSpacing())


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out/limits"), help="folder (out/limits by default)")
    parser.add_argument("--only", nargs="+", choices=[limit.name for limit in LIMITS], help="these ways alone")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as of confuda adapt")
    parser.add_argument("--bundle", type=Path, help="folder of another bundle than the shipped one")
    parser.add_argument("--page", type=Path, help="page whose table gets the figures, e.g. docs/limits.md")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    options = [part for value in chosen.set for part in ("--set", value)]
    options += ["--bundle", str(chosen.bundle)] if chosen.bundle is not None else []
    sample, table = read_sample(), chosen.output / "limits.json"
    records = json.loads(table.read_text(encoding="utf-8")) if table.is_file() else {}
    for limit in LIMITS:
        if chosen.only is None or limit.name in chosen.only:
            records[limit.name] = study(limit, sample, chosen.output, options)
            print(limit.name, json.dumps(records[limit.name]), flush=True)
            table.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    if chosen.page is not None:
        renew_table(chosen.page, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
