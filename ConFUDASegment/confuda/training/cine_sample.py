"""A short cine that travels with the extension, made from the two labelled frames of an ACDC patient.

``python -m confuda.training.cine_sample --data ACDC/training -o ConFUDASegment/Resources/SampleData``

ACDC gives end-diastole and end-systole only. The frames between them are made: each slice of the one is deformed
towards the other, along a deformation found from both images and labels, and the two are faded into each other. Of
end-diastole and end-systole the cine holds the patient's own images, cropped to the heart.
"""

import argparse
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import ConfudaError, InputError
from confuda.io.cine_file import write_cine, write_cine_labels
from confuda.labels import LV, MYO, RV, STRUCTURES, map_labels
from confuda.training.acdc import find_acdc_cases, is_always_held_out

CINE_NAME = "SimulatedCine.seq.nrrd"
CINE_TRUTH_NAME = "SimulatedCine-truth.seq.nrrd"
FRAMES = 10
CROP_MM = 160.0
SYSTOLE = 0.4
"""Share of the cycle from end-diastole to end-systole."""

_GREY = {MYO: 0.45, LV: 1.0, RV: 0.8}
"""What the structures look like to the registration, which sees labels beside the image."""


class SimulatedCine(NamedTuple):
    """frames: images on one grid, end-diastole first; labels: theirs, of ours; ed, es: numbers of the real frames."""

    frames: List[sitk.Image]
    labels: List[sitk.Image]
    ed: int
    es: int


def simulate_cine(
    ed: sitk.Image, ed_labels: np.ndarray, es: sitk.Image, es_labels: np.ndarray, frames: int = FRAMES
) -> SimulatedCine:
    """A periodic cine of ``frames`` frames from two of them; images on one grid, slices along the third axis; labels:
    (slices, rows, columns) of ours."""
    systole = max(1, round(SYSTOLE * frames))
    phases = [contraction(number, frames, systole) for number in range(frames)]
    first, last = (sitk.GetArrayFromImage(image).astype(np.float64) for image in (ed, es))
    fields = [_register(first[z], ed_labels[z], last[z], es_labels[z]) for z in range(len(first))]
    images, maps = [], []
    for phase in phases:
        if phase in (0.0, 1.0):
            array, labels = (first, ed_labels) if phase == 0 else (last, es_labels)
        else:
            parts = [_blend(first[z], ed_labels[z], last[z], es_labels[z], fields[z], phase) for z in range(len(first))]
            array, labels = np.stack([part[0] for part in parts]), np.stack([part[1] for part in parts])
        images.append(_make_image(np.rint(np.clip(array, 0, 255)).astype(np.uint8), ed))
        maps.append(_make_image(labels.astype(np.uint8), ed))
    return SimulatedCine(images, maps, 0, systole)


def contraction(number: int, frames: int, systole: int) -> float:
    """How far the heart has contracted in a frame: 0 at end-diastole (frame 0), 1 at end-systole, smooth in between."""
    share = number / systole if number <= systole else 1 - (number - systole) / (frames - systole)
    return float(0.5 - 0.5 * np.cos(np.pi * share))


def _make_image(array: np.ndarray, like: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(like)
    return image


def _register(first: np.ndarray, first_labels: np.ndarray, last: np.ndarray, last_labels: np.ndarray) -> np.ndarray:
    """Displacement in pixels (rows, columns, 2: x, y) from each pixel of ``last`` to its place in ``first``."""
    fixed, moving = (
        sitk.GetImageFromArray((0.3 * plane / 255 + _paint(labels)).astype(np.float32))
        for plane, labels in ((last, last_labels), (first, first_labels))
    )
    fixed, moving = (sitk.SmoothingRecursiveGaussian(image, 1.0) for image in (fixed, moving))
    field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat64)
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(60)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(2.0)
    # From coarse to fine, since the wall moves by more than it is thick.
    for shrink in (4, 2, 1):
        small = [sitk.Shrink(image, [shrink, shrink]) if shrink > 1 else image for image in (fixed, moving)]
        start = sitk.Resample(field, small[0], sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)
        field = demons.Execute(small[0], small[1], start)
    return sitk.GetArrayFromImage(sitk.Resample(field, fixed, sitk.Transform(), sitk.sitkLinear))


def _paint(labels: np.ndarray) -> np.ndarray:
    painted = np.zeros(labels.shape)
    for structure, grey in _GREY.items():
        painted[labels == structure.label] = grey
    return painted


def _blend(
    first: np.ndarray,
    first_labels: np.ndarray,
    last: np.ndarray,
    last_labels: np.ndarray,
    field: np.ndarray,
    phase: float,
) -> Tuple[np.ndarray, np.ndarray]:
    """One slice in between: both ends deformed to ``phase`` and faded into each other; their soft labels likewise."""

    def deform(plane: np.ndarray, share: float) -> np.ndarray:
        image = sitk.GetImageFromArray(plane.astype(np.float64))
        moved = sitk.GetImageFromArray(share * field, isVector=True)
        return sitk.GetArrayFromImage(sitk.Warp(image, moved, outputSize=image.GetSize(), outputSpacing=(1.0, 1.0)))

    image = (1 - phase) * deform(first, phase) + phase * deform(last, phase - 1)
    soft = [
        (1 - phase) * deform(first_labels == label, phase) + phase * deform(last_labels == label, phase - 1)
        for label in range(len(STRUCTURES) + 1)
    ]
    return image, np.argmax(soft, axis=0)


def write_cine_sample(data: Path, patient: str, folder: Path) -> List[Path]:
    """Make the sample from the two frames of ``patient``; returns the cine and its labels.

    Raises:
        InputError: if the patient is absent, or belongs to those that the shipped networks are trained on.
    """
    cases = [case for case in find_acdc_cases(data) if case.patient == patient]
    if len(cases) != 2:
        raise InputError(f"There are no two frames of {patient} in {data}.")
    if not is_always_held_out(patient):
        raise InputError(f"{patient} is used in training: take a patient that is held out, such as patient100.")
    ends = []
    for case in cases:
        labels = map_labels(sitk.GetArrayFromImage(sitk.ReadImage(str(case.label_path))), "acdc")
        ends.append((int((labels == LV.label).sum()), sitk.ReadImage(str(case.image_path)), labels))
    (_, ed, ed_labels), (_, es, es_labels) = sorted(ends, key=lambda end: -end[0])
    window = _find_window(ed_labels, ed.GetSpacing())
    ed, es = (image[window[1], window[0], :] for image in (ed, es))
    ed_labels, es_labels = (labels[:, window[0], window[1]] for labels in (ed_labels, es_labels))
    cine = simulate_cine(ed, ed_labels, es, es_labels)
    folder.mkdir(parents=True, exist_ok=True)
    return [write_cine(cine.frames, folder / CINE_NAME), write_cine_labels(cine.labels, folder / CINE_TRUTH_NAME)]


def _find_window(labels: np.ndarray, spacing_mm: Sequence[float]) -> Tuple[slice, slice]:
    """Rows and columns of a square around the heart."""
    found = []
    for axis, mm in ((1, spacing_mm[1]), (2, spacing_mm[0])):
        middle, count = np.nonzero(labels)[axis].mean(), int(round(CROP_MM / mm))
        first = min(max(0, int(round(middle - count / 2))), max(0, labels.shape[axis] - count))
        found.append(slice(first, min(first + count, labels.shape[axis])))
    return found[0], found[1]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="confuda.training.cine_sample", description="Make the extension's cine.")
    parser.add_argument("--data", type=Path, required=True, help="ACDC folder that holds patient001")
    parser.add_argument("--patient", default="patient100", help="a patient that no training saw (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the sample")
    options = parser.parse_args(arguments)
    try:
        paths = write_cine_sample(options.data, options.patient, options.output)
    except ConfudaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for path in paths:
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
