"""The main job once, on the bundled sample: segment it without and with adaptation, score both, draw them.

    python examples/demo.py -o demo-output

The sample is simulated late enhancement (an ACDC patient that no training saw), so its true labels are known.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import SimpleITK as sitk

from confuda.io.segmentation_file import read_segmentation
from confuda.labels import STRUCTURES
from confuda.measure.metrics import Scores, compute_volumes_ml, evaluate
from confuda.report.contours import draw_contours

SAMPLES = Path(__file__).resolve().parent.parent / "ConFUDASegment" / "Resources" / "SampleData"
NAMES = [structure.name for structure in STRUCTURES]


def adapt(output: Path, method: str) -> Dict[str, Any]:
    """Run ``confuda adapt`` as a user would; returns its JSON summary."""
    command = [sys.executable, "-m", "confuda", "adapt", str(SAMPLES / "SimulatedLGE.nrrd"), "-o", str(output)]
    result = subprocess.run([*command, "--method", method, "--json"], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(result.stdout)


def format_row(name: str, scores: Scores, seconds: float) -> str:
    dice = "".join(f"{scores[structure]['dice']:8.3f}" for structure in NAMES)
    average = scores["average"]
    return f"{name:20}{dice}{average['dice']:9.3f}{average['hd95_mm']:10.1f}{seconds:7.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"))
    folder = parser.parse_args().output.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    truth = read_segmentation(SAMPLES / "SimulatedLGE-truth.seg.nrrd")
    runs = {"without adaptation": "none", "ConFUDA": "confuda"}
    labels, lines, summaries = {}, [], {}
    for heading, method in runs.items():
        print(f"--- {heading}: confuda adapt SimulatedLGE.nrrd --method {method}", flush=True)
        output = folder / f"SimulatedLGE-{method}.seg.nrrd"
        summaries[heading] = adapt(output, method)
        labels[heading] = read_segmentation(output)
        lines.append(format_row(heading, evaluate(truth, labels[heading]), summaries[heading]["seconds"]["total"]))

    print(f"\n{'Dice':20}" + "".join(f"{name:>8}" for name in NAMES) + f"{'average':>9}{'HD95 mm':>10}{'s':>7}")
    print("\n".join(lines))
    print(f"\n{'volume, mL':20}" + "".join(f"{name:>8}" for name in NAMES))
    for heading, image in {**labels, "truth": truth}.items():
        volumes = compute_volumes_ml(image)
        print(f"{heading:20}" + "".join(f"{volumes[name]:8.1f}" for name in NAMES))
    for warning in summaries["ConFUDA"]["warnings"]:
        print(f"warning: {warning}")

    volume = sitk.ReadImage(str(SAMPLES / "SimulatedLGE.nrrd"))
    picture = draw_contours(
        sitk.GetArrayFromImage(volume),
        {heading: sitk.GetArrayFromImage(image) for heading, image in {**labels, "truth": truth}.items()},
        folder / "SimulatedLGE-contours.png",
        spacing_mm=volume.GetSpacing()[1::-1],
        max_slices=5,
        plain=True,
    )
    print(f"\ncontours:     {picture}")
    print(f"segmentation: {summaries['ConFUDA']['output']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
