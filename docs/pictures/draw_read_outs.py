"""The tutorial's pictures of function, wall and scar, of the bundled samples alone.

    python docs/pictures/draw_read_outs.py

Segments the samples without adaptation, which changes little on them, and draws what is measured.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.app.job import Job
from confuda.app.run import run_job
from confuda.labels import MYO, SCAR
from confuda.report.bulls_eye import draw_bulls_eye, take_values
from confuda.report.figures import make_figure, render_figure
from confuda.report.function_figures import draw_volume_curve

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "ConFUDASegment" / "Resources" / "SampleData"
SLICES = (2, 4, 6)
MARGIN = 12
"""Pixels around the muscle."""


def draw_scar(path: Path) -> Any:
    """Slices of the sample with the muscle's outline and the scar that was found (filled) and painted (dashed)."""
    layers = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLES / "SimulatedLGE.nrrd")))
    painted = sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLES / "SimulatedLGE-scar.seg.nrrd")))
    muscle, scar = layers[..., 0] == MYO.label, layers[..., 1] == SCAR.label
    _, rows, columns = np.nonzero(muscle)
    window = tuple(slice(max(0, part.min() - MARGIN), part.max() + MARGIN) for part in (rows, columns))
    figure = make_figure(9.0, 3.2)
    for place, number in enumerate(SLICES, start=1):
        axes = figure.add_subplot(1, len(SLICES), place)
        axes.imshow(image[number][window], cmap="gray", vmax=np.percentile(image, 99.7))
        axes.contour(muscle[number][window], [0.5], colors=[MYO.rgb], linewidths=1.5)
        if scar[number].any():
            axes.contourf(scar[number][window], [0.5, 1.5], colors=[SCAR.rgb], alpha=0.55)
        if painted[number].any():
            axes.contour(painted[number][window], [0.5], colors="white", linewidths=1.0, linestyles="dashed")
        axes.set_title(f"slice {number}", fontsize=10)
        axes.axis("off")
    return figure


def measure(folder: Path) -> Tuple[Dict[str, Any], Dict[str, Any], Path]:
    """The summaries of cine and late enhancement, and the segmentation of the latter."""
    cine = run_job(Job(SAMPLES / "SimulatedCine.seq.nrrd", folder / "cine.seq.nrrd", method="none", frames="all"))
    output = folder / "LGE.seg.nrrd"
    late = run_job(Job(SAMPLES / "SimulatedLGE.nrrd", output, method="none", wall=True, scar="fwhm"))
    return cine, late, output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="folder for the pictures (that of this script)")
    folder = parser.parse_args().output
    with tempfile.TemporaryDirectory() as temporary:
        cine, late, segmentation = measure(Path(temporary))
        figures = {
            "function": draw_volume_curve(cine["function"]),
            "wall": draw_bulls_eye(
                take_values(late["wall"]["segments"], "thickness_mm"), "Wall thickness", "mm", decimals=1
            ),
            "scar": draw_scar(segmentation),
        }
        for name, figure in figures.items():
            path = folder / f"{name}.png"
            path.write_bytes(render_figure(figure, ".png"))
            print(path)
    function, scar = cine["function"], late["scar"]
    print({key: function[key] for key in ("lv_edv_ml", "lv_esv_ml", "lv_ejection_fraction_percent", "lv_mass_g")})
    print({key: scar[key] for key in ("scar_ml", "scar_g", "scar_percent_of_lv_mass", "remote_mean", "threshold")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
