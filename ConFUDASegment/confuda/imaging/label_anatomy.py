"""Whose values a label map has, told by anatomy: the left ventricle's cavity lies inside the ring of its muscle.

ACDC, M&Ms and ConFUDA number the structures 1, 2 and 3, each in another order, and files do not say in which.
"""

from typing import Dict, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from confuda.labels import BACKGROUND, DATASET_VALUES, LV, MYO

LEAST_ENCLOSED = 0.5
"""At least this share of the cavity's border has to lie against muscle."""

LEAST_MARGIN = 0.2
"""The share has to be larger by this than with any other meaning of the values."""


class LabelReading(NamedTuple):
    """dataset: a name in ``DATASET_VALUES``; is_sure: whether values or anatomy tell it, or it is only assumed."""

    dataset: str
    is_sure: bool


def guess_label_values(labels: np.ndarray, plane_axes: Sequence[int]) -> Optional[LabelReading]:
    """The data set whose values an array (3-D, any number type) has; None where they belong to none.

    plane_axes: the two axes of a slice. Of several data sets with these values the one is taken in which the cavity
    lies inside the muscle; where no ring tells (a structure is missing, say), ConFUDA's own.
    """
    present = set(np.unique(labels).tolist()) - {BACKGROUND}
    fitting = [name for name, values in DATASET_VALUES.items() if present <= set(values.values())]
    if not fitting:
        return None
    if len(fitting) == 1 or not present:
        return LabelReading(fitting[0], True)
    enclosed: Dict[str, float] = {
        name: _measure_enclosure(labels, DATASET_VALUES[name], plane_axes) for name in fitting
    }
    best, second = sorted(fitting, key=lambda name: -enclosed[name])[:2]
    if enclosed[best] >= LEAST_ENCLOSED and enclosed[best] - enclosed[second] >= LEAST_MARGIN:
        return LabelReading(best, True)
    return LabelReading(fitting[0], False)


def _measure_enclosure(labels: np.ndarray, values: Mapping[str, int], plane_axes: Sequence[int]) -> float:
    """The share of the cavity's border within slices that lies against muscle, 0 to 1."""
    cavity, muscle = labels == values[LV.name], labels == values[MYO.name]
    against, border = 0, 0
    for axis in plane_axes:
        line, wall = np.moveaxis(cavity, axis, 0), np.moveaxis(muscle, axis, 0)
        for inside, outside, touched in ((line[1:], line[:-1], wall[:-1]), (line[:-1], line[1:], wall[1:])):
            edge = inside & ~outside
            border += int(edge.sum())
            against += int((edge & touched).sum())
    return against / border if border else 0.0
