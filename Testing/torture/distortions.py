"""Ways to distort the bundled sample: where its voxels lie, and what they say."""

from itertools import permutations, product
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np
import SimpleITK as sitk

SAMPLE = Path(__file__).resolve().parents[2] / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"

Geometry = Callable[[sitk.Image], sitk.Image]
"""Moves voxels or the grid; made of nearest neighbours, so that it serves grey values and labels alike."""

Paint = Callable[[np.ndarray], np.ndarray]
"""Changes grey values, (slices, rows, columns), and leaves the heart where it is."""

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
"""All ways to store a volume: order of axes, and which ones run backwards."""


def read_sample() -> sitk.Image:
    return sitk.ReadImage(str(SAMPLE))


# Geometry: where voxels lie.


def leave(image: sitk.Image) -> sitk.Image:
    return image


def reorient(axes: Sequence[int], flips: Sequence[bool]) -> Geometry:
    """The same voxels at the same places in the body, stored in another order."""
    return lambda image: sitk.Flip(sitk.PermuteAxes(image, list(axes)), list(flips), False)


def set_direction(matrix: Sequence[float]) -> Geometry:
    """The same voxels, said to lie in another direction: ``matrix`` by rows."""

    def turn(image: sitk.Image) -> sitk.Image:
        turned = sitk.Image(image)
        turned.SetDirection(list(matrix))
        return turned

    return turn


def make_oblique(degrees: float) -> Geometry:
    """Turned by ``degrees`` about x and then about z, as short axes lie in the body."""
    a = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return set_direction((about_z @ about_x).ravel())


def set_spacing(*spacing_mm: float) -> Geometry:
    def stretch(image: sitk.Image) -> sitk.Image:
        stretched = sitk.Image(image)
        stretched.SetSpacing(spacing_mm)
        return stretched

    return stretch


def set_origin(*origin_mm: float) -> Geometry:
    def move(image: sitk.Image) -> sitk.Image:
        moved = sitk.Image(image)
        moved.SetOrigin(origin_mm)
        return moved

    return move


def reverse_slices(image: sitk.Image) -> sitk.Image:
    """Slices in the wrong order on an unchanged grid: a mirrored heart."""
    return copy_grid(sitk.GetArrayFromImage(image)[::-1], image)


def pad(before: Sequence[int], after: Sequence[int]) -> Geometry:
    return lambda image: sitk.ConstantPad(image, list(before), list(after), 0)


def keep(columns: slice, rows: slice, slices: slice = slice(None)) -> Geometry:
    return lambda image: image[columns, rows, slices]


def resample(size: Sequence[int]) -> Geometry:
    """The same field of view in another number of voxels, by nearest neighbour."""

    def change(image: sitk.Image) -> sitk.Image:
        old = np.array(image.GetSpacing())
        new = old * image.GetSize() / np.array(size)
        origin = image.TransformContinuousIndexToPhysicalPoint(list((new / old - 1) / 2))
        like = (list(size), sitk.Transform(), sitk.sitkNearestNeighbor, origin, list(new), image.GetDirection())
        return sitk.Resample(image, *like)

    return change


def chain(*steps: Geometry) -> Geometry:
    def do_all(image: sitk.Image) -> sitk.Image:
        for step in steps:
            image = step(image)
        return image

    return do_all


def copy_grid(voxels: np.ndarray, image: sitk.Image) -> sitk.Image:
    copy = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    copy.CopyInformation(image)
    return copy


# Paint: what voxels say.


def scatter(value: float, share: float = 0.001, dtype: Any = np.float32) -> Paint:
    """``value`` in that share of the voxels."""

    def paint(voxels: np.ndarray) -> np.ndarray:
        painted = voxels.astype(dtype)
        painted[np.random.default_rng(0).random(voxels.shape) < share] = value
        return painted

    return paint


def shift(offset: float, factor: float = 1.0, dtype: Any = np.float64) -> Paint:
    return lambda voxels: (voxels.astype(np.float64) * factor + offset).astype(dtype)


def shift_int64(offset: int) -> Paint:
    return lambda voxels: voxels.astype(np.int64) + np.int64(offset)


def cast(dtype: Any) -> Paint:
    """The grey values in the range of the type, one byte scaled to it."""

    def paint(voxels: np.ndarray) -> np.ndarray:
        if np.dtype(dtype).itemsize > 1:
            return voxels.astype(dtype)
        top = np.iinfo(dtype).max
        return (voxels.astype(np.float64) * (top / voxels.max())).astype(dtype)

    return paint


def blank_slice(number: int) -> Paint:
    def paint(voxels: np.ndarray) -> np.ndarray:
        painted = voxels.copy()
        painted[number] = 0
        return painted

    return paint
