"""The sample volume that travels with the extension: an LGE scan simulated from a labelled ACDC volume.

``python -m confuda.training.sample --data ACDC/training --patient patient100 -o ConFUDASegment/Resources/SampleData``

No real LGE scan may be shipped. Of a bSSFP volume that no training saw this keeps the anatomy, and repaints it: nulled
myocardium, moderately bright blood, a scar, bright fat, the coil's sensitivity and the noise of a magnitude image.
"""

import argparse
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import ConfudaError, InputError
from confuda.io.segmentation_file import write_segmentation, write_segments
from confuda.labels import LV, MYO, RV, SCAR, map_labels
from confuda.training.acdc import LabelledCase, find_acdc_cases, is_always_held_out

IMAGE_NAME = "SimulatedLGE.nrrd"
TRUTH_NAME = "SimulatedLGE-truth.seg.nrrd"
SCAR_NAME = "SimulatedLGE-scar.seg.nrrd"


class Recipe(NamedTuple):
    """How the simulated scan looks. Signals are shares of the brightest fat; lengths are in mm, angles in degrees."""

    lv_blood: float = 0.50
    rv_blood: float = 0.40
    nulled: float = 0.12
    scar: float = 0.85
    texture: float = 0.8
    """How much of the contrast inside blood and myocardium (papillary muscles, flow) is kept."""
    curve_in: Tuple[float, ...] = (0.0, 0.06, 0.16, 0.30, 0.45, 0.65, 1.0)
    curve_out: Tuple[float, ...] = (0.02, 0.10, 0.20, 0.36, 0.42, 0.48, 0.85)
    """Signal outside the heart: from the bSSFP image's (99.5th percentile 1) to the simulated one's."""
    scar_sector: float = 115.0
    scar_from_septum: float = 150.0
    """Middle of the scar, turned from the direction in which the RV lies: the territory of the circumflex artery."""
    scar_depth: float = 0.85
    """Share of the wall that the scar takes up from inside, where it is deepest."""
    border_mm: float = 1.0
    """Blur of the tissues' borders, in plane."""
    point_spread_mm: float = 0.7
    coil_mm: float = 150.0
    """Distance over which the signal falls by a factor e, away from the chest wall."""
    noise: float = 0.075
    grain_mm: float = 0.6
    """Correlation of the noise, from the scanner's interpolation."""
    scale: float = 400.0


def simulate_lge(image: sitk.Image, labels: np.ndarray, seed: int = 0, recipe: Optional[Recipe] = None) -> sitk.Image:
    """Repaint a short-axis bSSFP volume as an LGE scan on the same grid; the same ``seed`` gives the same voxels.

    image: 3-D, slices along the third axis; labels: (slices, rows, columns) of ours, with MYO, LV and RV present.
    Returns an int16 image.

    Raises:
        InputError: if one of the structures is absent.
    """
    recipe = recipe or Recipe()
    for structure in (MYO, LV, RV):
        if not (labels == structure.label).any():
            raise InputError(f"The volume to simulate from has no {structure.name}.")
    random = np.random.default_rng(seed)
    spacing = image.GetSpacing()
    cine = sitk.GetArrayFromImage(image).astype(np.float64)
    cine /= np.percentile(cine, 99.5)
    signal = np.interp(cine, recipe.curve_in, recipe.curve_out)
    # Layers from the outside in: what lies between two tissues takes a share of both.
    for structure, level in ((RV, recipe.rv_blood), (MYO, recipe.nulled), (LV, recipe.lv_blood)):
        mask = labels == structure.label
        share = _blur(mask.astype(np.float64), recipe.border_mm, spacing)
        signal += share * (_paint(cine, mask, level, recipe.texture) - signal)
    # The first use of ``random``: find_scar draws the same one.
    scar = _blur(_draw_scar(labels, spacing, random, recipe), recipe.border_mm / 2, spacing)
    signal += scar * (recipe.scar - signal)
    signal = _blur(signal, recipe.point_spread_mm, spacing) * _draw_coil(labels, spacing, random, recipe)
    # A magnitude image: the noise of two channels makes it Rician, never negative.
    real, imaginary = (_draw_grain(signal.shape, recipe.grain_mm, spacing, random) * recipe.noise for _ in range(2))
    magnitude = np.hypot(signal + real, imaginary)
    result = sitk.GetImageFromArray(np.rint(magnitude * recipe.scale).astype(np.int16))
    result.CopyInformation(image)
    return result


def find_scar(
    labels: np.ndarray, spacing_mm: Sequence[float], seed: int = 0, recipe: Optional[Recipe] = None
) -> np.ndarray:
    """Where :func:`simulate_lge` with the same labels and seed paints scar: (slices, rows, columns) bool, voxels that
    are scar by half at least. ``spacing_mm`` in ITK's order."""
    return _draw_scar(labels, spacing_mm, np.random.default_rng(seed), recipe or Recipe()) >= 0.5


def write_sample(data: Path, patient: str, folder: Path, seed: int = 0) -> List[Path]:
    """Make the sample from the end-diastolic volume of ``patient``; returns the image, its labels, its scar and their
    README.

    data: the ACDC folder that holds ``patient001``; folder: where the files go, created if need be.

    Raises:
        InputError: if the patient is absent, or belongs to those that the shipped networks are trained on.
    """
    cases = find_acdc_cases(data)
    if patient not in {case.patient for case in cases}:
        raise InputError(f"There is no {patient} in {data}.")
    own = [case for case in cases if case.patient == patient]
    if not is_always_held_out(patient):
        raise InputError(f"{patient} is used in training: take a patient that is held out, such as patient100.")
    case, image, labels = _find_end_diastole(own)
    truth = sitk.GetImageFromArray(labels)
    truth.CopyInformation(image)
    folder.mkdir(parents=True, exist_ok=True)
    image_path, readme_path = folder / IMAGE_NAME, folder / "README.md"
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(image_path))
    writer.UseCompressionOn()
    writer.SetCompressionLevel(9)
    writer.Execute(simulate_lge(image, labels, seed))
    truth_path = write_segmentation(truth, folder / TRUTH_NAME)
    scar = sitk.GetImageFromArray(find_scar(labels, image.GetSpacing(), seed).astype(np.uint8))
    scar.CopyInformation(image)
    scar_path = write_segments(scar, folder / SCAR_NAME, [SCAR])
    readme_path.write_text(_README.format(case=case.name, patient=patient, seed=seed), encoding="utf-8")
    return [image_path, truth_path, scar_path, readme_path]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="confuda.training.sample", description="Make the extension's sample volume.")
    parser.add_argument("--data", type=Path, required=True, help="ACDC folder that holds patient001")
    parser.add_argument("--patient", default="patient100", help="a patient that no training saw (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the sample")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        paths = write_sample(options.data, options.patient, options.output, options.seed)
    except ConfudaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for path in paths:
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def _find_end_diastole(cases: Sequence[LabelledCase]) -> Tuple[LabelledCase, sitk.Image, np.ndarray]:
    """The one of a patient's frames with the most LV blood; the files themselves do not say which is which."""
    frames = []
    for case in cases:
        labels = map_labels(sitk.GetArrayFromImage(sitk.ReadImage(str(case.label_path))), "acdc")
        frames.append((int((labels == LV.label).sum()), case, labels))
    _, case, labels = max(frames, key=lambda frame: frame[0])
    return case, sitk.ReadImage(str(case.image_path)), labels


def _blur(array: np.ndarray, sigma_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Gaussian blur within the slices; (slices, rows, columns), ``spacing_mm`` in ITK's order."""
    # The discrete kernel is exact where the recursive one overshoots, and its width is in voxels here.
    variance = [(sigma_mm / spacing_mm[0]) ** 2, (sigma_mm / spacing_mm[1]) ** 2, 0.0]
    width = int(np.ceil(8 * max(variance) ** 0.5)) + 1
    blurred = sitk.DiscreteGaussian(sitk.GetImageFromArray(array), variance, width, 0.01, False)
    return sitk.GetArrayFromImage(blurred)


def _paint(cine: np.ndarray, mask: np.ndarray, level: float, texture: float) -> np.ndarray:
    """Bring a tissue to ``level``, keeping ``texture`` of its contrast in relation to the slice's own median."""
    painted = np.full_like(cine, level)
    for plane, inside, source in zip(painted, mask, cine):
        if inside.any():
            plane *= np.clip(1 + texture * (source / np.median(source[inside]) - 1), 0.15, 1.5)
    return painted


def _draw_scar(labels: np.ndarray, spacing: Sequence[float], random: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Share of scar in each voxel: a patchy subendocardial wedge of the ring, towards the apex deeper."""
    scar = np.zeros(labels.shape)
    septum = _find_direction(labels, spacing)
    slices = np.flatnonzero((labels == LV.label).any(axis=(1, 2)) & (labels == MYO.label).any(axis=(1, 2)))
    patches = _draw_grain(labels.shape, 2.5, spacing, random)
    rows, columns = np.indices(labels.shape[1:])
    for order, number in enumerate(slices):
        plane = labels[number]
        center = np.argwhere(plane == LV.label).mean(axis=0)
        angle = np.degrees(np.arctan2((rows - center[0]) * spacing[1], (columns - center[1]) * spacing[0]))
        off = np.abs((angle - septum - recipe.scar_from_septum + 180) % 360 - 180)
        sector = _ramp(recipe.scar_sector / 2 - off, 12.0)
        from_inside = _measure_distance(plane == LV.label, spacing)
        from_outside = _measure_distance((plane != LV.label) & (plane != MYO.label), spacing)
        depth = from_inside / np.maximum(from_inside + from_outside, 1e-6)
        # The infarct spares the base, and reaches further through the wall towards the apex.
        along = np.interp(order / max(len(slices) - 1, 1), (0.0, 0.25, 0.8, 1.0), (0.3, 1.0, 1.1, 0.9))
        reach = recipe.scar_depth * along * sector + 0.12 * patches[number]
        wedge = _ramp(reach - depth, 0.1) * sector * _ramp(1.4 + patches[number], 0.4)
        scar[number] = np.where(plane == MYO.label, wedge, 0.0) * min(along, 1.0)
    return scar


def _draw_grain(
    shape: Tuple[int, ...], sigma_mm: float, spacing: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    """Gaussian noise of variance 1, correlated within the slices over ``sigma_mm``."""
    grain = _blur(random.normal(0, 1, shape), sigma_mm, spacing)
    return grain / grain.std()


def _find_direction(labels: np.ndarray, spacing: Sequence[float]) -> float:
    """Angle in degrees, rows over columns, from the middle of the LV to that of the RV."""
    away = np.argwhere(labels == RV.label).mean(axis=0) - np.argwhere(labels == LV.label).mean(axis=0)
    return float(np.degrees(np.arctan2(away[1] * spacing[1], away[2] * spacing[0])))


def _ramp(value: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 to 1 around 0."""
    return 1 / (1 + np.exp(-4 * np.clip(value / width, -8, 8)))


def _measure_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm of each pixel of a plane to ``mask``."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[:2])
    return np.maximum(sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, True)), 0)


def _draw_coil(labels: np.ndarray, spacing: Sequence[float], random: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Sensitivity of the chest coil: falls across the body along one direction; 1 at the heart."""
    angle = np.radians(_find_direction(labels, spacing)) + random.normal(0, 0.2)
    heart = np.argwhere(labels > 0).mean(axis=0)
    _, rows, columns = np.indices(labels.shape)
    away = (rows - heart[1]) * spacing[1] * np.sin(angle) + (columns - heart[2]) * spacing[0] * np.cos(angle)
    return np.exp(np.clip(away / recipe.coil_mm, -1.5, 0.9))


_README = """# Sample volumes

`SimulatedLGE.nrrd` is **not a real LGE scan**. It was simulated from the bSSFP volume `{case}` of ACDC and its
labels by `python -m confuda.training.sample --data ACDC/training --patient {patient} --seed {seed} -o .`: nulled
myocardium, moderately bright blood, a subendocardial scar, the sensitivity of a surface coil, Rician noise. Anatomy and
grid are the original's (nominal orientation, as in the source). No network that comes with the extension was trained on
this patient.

`SimulatedLGE-truth.seg.nrrd` holds the labels of ACDC's experts: Myocardium, Left ventricle, Right ventricle.
`SimulatedLGE-scar.seg.nrrd` holds the scar that was painted.

`SimulatedCine.seq.nrrd` is **not a real cine** but for two of its ten frames: end-diastole (frame 0) and end-systole
(frame 4) are the two frames of {patient} in ACDC, cropped to the heart; the others were made of these by
`python -m confuda.training.cine_sample --data ACDC/training --patient {patient} -o .`, by deforming each slice of the
one towards the other. `SimulatedCine-truth.seq.nrrd` holds the labels of ACDC's experts, deformed likewise.

All derive from the ACDC data set (Automated Cardiac Diagnosis Challenge) and are under its licence, CC BY-NC-SA 4.0
(https://creativecommons.org/licenses/by-nc-sa/4.0/): non-commercial use, with attribution, under the same licence.
Please cite

> O. Bernard, A. Lalande, C. Zotti, F. Cervenansky, et al. "Deep Learning Techniques for Automatic MRI Cardiac
> Multi-structures Segmentation and Diagnosis: Is the Problem Solved?" IEEE Transactions on Medical Imaging,
> vol. 37, no. 11, pp. 2514-2525, 2018. doi:10.1109/TMI.2018.2837502
"""


if __name__ == "__main__":
    sys.exit(main())
