"""The README's picture: the bundled sample, its outlines and its surfaces, as `make demo` segments it.

    make demo
    python docs/pictures/draw_overview.py demo-output/SimulatedLGE-confuda.seg.nrrd -o docs/pictures/overview.jpg

The surfaces need vtk, which comes with the wheel slicer-core.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
import SimpleITK as sitk
import vtk
from matplotlib.figure import Figure
from PIL import Image
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from confuda.io.segmentation_file import read_segmentation
from confuda.labels import LV, MYO, STRUCTURES, Structure
from confuda.report.contours import INK, LINE_STYLES, PAPER

SAMPLE = Path(__file__).resolve().parents[2] / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
SLICES = (1, 4, 6)
MARGIN_MM = 22.0
FINE_MM = 1.3
"""Distance of the layers between which the surfaces are drawn: slices 10 mm apart would look like stairs."""


def find_window(labels: np.ndarray, spacing_mm: Tuple[float, float]) -> Tuple[slice, slice]:
    """Rows and columns around the heart, as a square."""
    heart = np.argwhere(labels.any(axis=0))
    middle = heart.mean(axis=0)
    half_mm = max(np.ptp(heart, axis=0) * spacing_mm) / 2 + MARGIN_MM
    rows, columns = (
        slice(max(0, int(center - half_mm / mm)), int(center + half_mm / mm)) for center, mm in zip(middle, spacing_mm)
    )
    return rows, columns


def make_surface(labels: np.ndarray, structure: Structure, spacing_mm: Tuple[float, float, float]) -> vtk.vtkActor:
    """A smooth surface of one structure; ``labels`` (slices, rows, columns), spacing of columns, rows and slices."""
    inside = np.pad(np.isin(labels, (MYO.label, LV.label)) if structure is MYO else labels == structure.label, 1)
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    image.SetSpacing(spacing_mm)
    # Distances, not masks, are interpolated between the slices: an outline then moves from one to the next.
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    layers = int(image.GetDepth() * spacing_mm[2] / FINE_MM)
    size = [image.GetWidth(), image.GetHeight(), layers]
    spacing = [spacing_mm[0], spacing_mm[1], FINE_MM]
    fine = sitk.Resample(distance, size, sitk.Transform(), sitk.sitkLinear, distance.GetOrigin(), spacing)
    # Beyond the last slice the resampled field is 0, the value of a surface: the border is outside.
    fine = sitk.SmoothingRecursiveGaussian(fine, 2.5)
    fine = sitk.GetArrayFromImage(fine)
    for border in (fine[:2], fine[-8:], fine[:, :2], fine[:, -2:], fine[:, :, :2], fine[:, :, -2:]):
        np.minimum(border, -1.0, out=border)
    grid = vtk.vtkImageData()
    grid.SetDimensions(*size)
    grid.SetSpacing(*spacing)
    grid.GetPointData().SetScalars(numpy_to_vtk(fine.ravel(), deep=True))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(grid)
    edges.SetValue(0, 0.0)
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputConnection(edges.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetColor(*structure.rgb)
    look.SetSpecular(0.3)
    look.SetSpecularPower(25)
    look.SetOpacity(0.22 if structure is MYO else 1.0)
    return actor


def render(labels: np.ndarray, spacing_mm: Tuple[float, float, float], pixels: int = 640) -> np.ndarray:
    """The three surfaces from the front and the left, (pixels, pixels, 3) of 0-255."""
    renderer = vtk.vtkRenderer()
    renderer.SetBackground(*(int(PAPER[place : place + 2], 16) / 255 for place in (1, 3, 5)))
    for structure in STRUCTURES:
        renderer.AddActor(make_surface(labels, structure, spacing_mm))
    renderer.SetUseDepthPeeling(True)
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)
    window.SetAlphaBitPlanes(True)
    window.SetSize(pixels, pixels)
    window.AddRenderer(renderer)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0.55, 1.0, 0.75)
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 0, -1)
    renderer.ResetCamera()
    camera.Zoom(1.35)
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.Update()
    flat = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
    return flat.reshape(pixels, pixels, 3)[::-1]


def draw(segmentation: Path, path: Path) -> Path:
    """Write the picture as JPEG."""
    volume, image = sitk.ReadImage(str(SAMPLE)), read_segmentation(segmentation)
    voxels, labels = sitk.GetArrayFromImage(volume), sitk.GetArrayFromImage(image)
    spacing_mm = volume.GetSpacing()
    rows, columns = find_window(labels, (spacing_mm[1], spacing_mm[0]))
    low, high = np.percentile(voxels[:, rows, columns], (1, 99.5))
    panels = 2 + len(SLICES)
    figure = Figure(figsize=(2.1 * panels, 2.42), facecolor=PAPER)
    headings = ["your volume", *[f"slice {number}" for number in SLICES], "segments"]
    for place, heading in enumerate(headings):
        axes = figure.add_axes((place / panels, 0, 0.985 / panels, 2.1 / 2.42))
        axes.set_axis_off()
        axes.set_title(heading, color=INK, fontsize=10, pad=5)
        if place == panels - 1:
            axes.imshow(render(labels, spacing_mm))
            continue
        number = SLICES[max(0, place - 1)]
        axes.imshow(voxels[number, rows, columns], cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
        for structure in STRUCTURES:
            mask = labels[number, rows, columns] == structure.label
            if place and mask.any():
                style = {"colors": [structure.rgb], "linestyles": [LINE_STYLES[structure.name]]}
                axes.contour(mask.astype(float), levels=[0.5], linewidths=1.3, **style)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="confuda-overview-") as work:
        figure.savefig(Path(work) / "picture.png", dpi=120, facecolor=PAPER)
        with Image.open(Path(work) / "picture.png") as picture:
            picture.convert("RGB").save(path, quality=82, optimize=True)
    return path


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("segmentation", type=Path, help="of the sample, as made by make demo")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/overview.jpg"))
    chosen = parser.parse_args(arguments)
    print(draw(chosen.segmentation, chosen.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
