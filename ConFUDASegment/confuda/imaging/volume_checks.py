"""What a volume has to be to be segmented: a grid that a scanner makes, and grey values that are measurements."""

from pathlib import Path
from typing import List, Tuple, Union

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.imaging.stack import find_slice_axis

LARGEST_VALUE = 1e30
"""A grey value beyond this is no measurement: squares and sums of such overflow."""

SHEAR_REFUSED = 0.01
"""Two axes whose directions have a larger dot product than this are not at right angles (0.6 degrees)."""

WIDTH_MM = (10.0, 1000.0)
"""How wide and how high a slice may be: a header in metres or micrometres says otherwise."""

SLICE_SPACING_MM = (0.05, 100.0)

FEWEST_ISOTROPIC_SLICES = 40
"""A volume of fewer slices than this that states 1 x 1 x 1 mm probably has no true spacing in its header."""

SHEARED = "{path} has axes that are not at right angles: resample it to a regular grid first."


def check_geometry(image: sitk.Image, path: Union[str, Path], is_spacing_given: bool = False) -> List[str]:
    """Refuse a grid that no scanner makes; returns what the user should know about it.

    Raises:
        InputError: for axes that are not at right angles, or a spacing that cannot be.
    """
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.isfinite(image.GetOrigin()).all() or not np.isfinite(direction).all():
        raise InputError(f"{path} does not say where it lies in space: correct its header.")
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR_REFUSED:
        raise InputError(SHEARED.format(path=path))
    size, spacing = image.GetSize(), image.GetSpacing()
    slice_axis = find_slice_axis(size, spacing)
    width, height = (size[axis] * spacing[axis] for axis in range(3) if axis != slice_axis)
    if not WIDTH_MM[0] <= min(width, height) <= max(width, height) <= WIDTH_MM[1]:
        raise InputError(
            f"{path} states slices of {width:.3g} x {height:.3g} mm, which show no heart: "
            "correct its voxel spacing (--spacing)."
        )
    if not SLICE_SPACING_MM[0] <= spacing[slice_axis] <= SLICE_SPACING_MM[1]:
        raise InputError(
            f"{path} states slices {spacing[slice_axis]:.3g} mm apart: correct its voxel spacing (--spacing)."
        )
    if not is_spacing_given and set(spacing) == {1.0} and size[slice_axis] < FEWEST_ISOTROPIC_SLICES:
        return ["The file states voxels of 1 x 1 x 1 mm, as files without a spacing do: volumes in mL depend on it."]
    return []


def replace_unusable(image: sitk.Image, path: Union[str, Path]) -> Tuple[sitk.Image, List[str]]:
    """The image with NaN, infinite and impossibly large voxels set to the smallest usable value, and a warning.

    Raises:
        InputError: if no usable value, or only one, is left.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    bad, low, high = 0, np.inf, -np.inf
    # Plane by plane, so that a large volume is not in memory again as a mask.
    for plane in voxels:
        good = plane[_find_usable(plane)] if plane.dtype.kind == "f" else plane.ravel()
        bad += plane.size - good.size
        if good.size:
            low, high = min(low, good.min()), max(high, good.max())
    if bad == voxels.size:
        raise InputError(f"{path} holds no numbers, only NaN or infinite voxels: export it again.")
    if low == high:
        raise InputError(f"{path} is empty: all {'usable ' if bad else ''}voxels are {low:g}.")
    if not bad:
        return image, []
    values = np.array(voxels)
    for plane in values:
        plane[~_find_usable(plane)] = low
    mended = sitk.GetImageFromArray(values)
    mended.CopyInformation(image)
    return mended, [f"{bad} NaN, infinite or impossibly large voxels were set to the smallest value, {low:g}."]


def find_blank_slices(image: sitk.Image) -> List[str]:
    """Warnings of slices of a single value between others: they cut the heart in two, and only one piece is kept."""
    slice_axis = find_slice_axis(image.GetSize(), image.GetSpacing())
    slices = np.moveaxis(sitk.GetArrayViewFromImage(image), 2 - slice_axis, 0)
    shown = [number for number, plane in enumerate(slices) if plane.min() < plane.max()]
    blank = sorted(set(range(shown[0], shown[-1])) - set(shown)) if shown else []
    if not blank:
        return []
    listed = ", ".join(map(str, blank[:8])) + (", ..." if len(blank) > 8 else "")
    return [
        f"Slices without an image between others (numbers from 0: {listed}): the heart may be marked on one side only."
    ]


def _find_usable(plane: np.ndarray) -> np.ndarray:
    return np.abs(plane) <= LARGEST_VALUE  # False for NaN, too.
