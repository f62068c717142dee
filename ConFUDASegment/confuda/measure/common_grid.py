"""Two label maps of one grid, of which one was cropped: put onto the grid that holds both."""

from typing import NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

PLACE_TOLERANCE = 0.01
"""How far from a whole number of voxels one grid may lie on the other."""


class CommonGrid(NamedTuple):
    """The label maps on one grid, and whether one of them had to be extended with background."""

    reference: sitk.Image
    prediction: sitk.Image
    is_extended: bool


def find_common_grid(reference: sitk.Image, prediction: sitk.Image) -> CommonGrid:
    """Extend label maps with background to what both cover, if the voxels of one lie on those of the other.

    Otherwise, and where they have the same grid, they are returned as they are. Program that save a segmentation crop
    it to what is marked; its own geometry says where it belongs.
    """
    offset = _find_offset(reference, prediction)
    if offset is None or (not any(offset) and reference.GetSize() == prediction.GetSize()):
        return CommonGrid(reference, prediction, False)
    sizes = np.array([reference.GetSize(), prediction.GetSize()])
    starts = np.array([(0, 0, 0), offset])
    low, high = starts.min(axis=0), (starts + sizes).max(axis=0)
    grown = [
        sitk.ConstantPad(image, (start - low).tolist(), (high - start - size).tolist(), 0)
        for image, start, size in zip((reference, prediction), starts, sizes)
    ]
    # To the last digit the same, which the origins of the two files are not.
    grown[1].CopyInformation(grown[0])
    return CommonGrid(grown[0], grown[1], True)


def _find_offset(reference: sitk.Image, prediction: sitk.Image) -> Optional[Tuple[int, int, int]]:
    """Index in the reference of the prediction's first voxel, None where the grids do not coincide."""
    last = [size - 1 for size in prediction.GetSize()]
    places = []
    for corner in ([0, 0, 0], [last[0], 0, 0], [0, last[1], 0], [0, 0, last[2]], last):
        there = reference.TransformPhysicalPointToContinuousIndex(prediction.TransformIndexToPhysicalPoint(corner))
        places.append(np.subtract(there, corner))
    offset = np.rint(places[0])
    if not np.abs(np.array(places) - offset).max() <= PLACE_TOLERANCE:
        return None
    return int(offset[0]), int(offset[1]), int(offset[2])
