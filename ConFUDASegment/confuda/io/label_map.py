"""Telling label maps from images: a segmentation of a segmentation looks right and means nothing."""

from typing import Optional

import numpy as np

MOST_LABELS = 256
"""A label map has no more values than this."""

LEAST_UNIFORM = 0.9
"""At least this share of neighbouring voxels within the labelled regions of a label map is equal; in images noise alone
prevents that."""


def looks_like_labels(voxels: np.ndarray) -> bool:
    """Whether an array (3-D, any number type) holds labels: few whole numbers in uniform regions.

    The smallest value is taken for the background and not looked at, since padding is uniform in images as well.
    """
    values = _list_few_values(voxels)
    if values is None or len(values) < 2 or (values != np.round(values)).any():
        return False
    foreground = voxels != values[0]
    same, pairs = 0, 0
    for axis in range(voxels.ndim):
        line, inside = np.moveaxis(voxels, axis, 0), np.moveaxis(foreground, axis, 0)
        both = inside[1:] & inside[:-1]
        pairs += int(both.sum())
        same += int(((line[1:] == line[:-1]) & both).sum())
    return pairs > 0 and same >= LEAST_UNIFORM * pairs


def _list_few_values(voxels: np.ndarray) -> Optional[np.ndarray]:
    """The values in order, None where there are too many of them for labels."""
    found = np.zeros(0, dtype=voxels.dtype)
    # Plane by plane: an image shows its many values in the first.
    for plane in voxels:
        found = np.union1d(found, plane)
        if len(found) > MOST_LABELS:
            return None
    return found
