"""Which slices make up one stack: parallel, of one size, at even distances. Nothing is imported but numpy.

The DICOM reader decides with it, and so does 3D Slicer's side for volumes that were loaded one slice each.
"""

import re
from typing import Hashable, List, NamedTuple, Sequence, Tuple

import numpy as np

SAME_PLACE_MM = 0.02
"""Two slices nearer than this are at one place: positions are rounded when they are written."""

LARGEST_DIFFERENCE = 0.01
"""Pixel spacings (as a share) and direction cosines of one stack differ by no more than rounding."""

GAP_REFUSED = 0.1
"""A slice further than this share of the slice distance from its place on the grid: a slice is missing."""

GAP_WARNED = 0.01


class SlicePlace(NamedTuple):
    """One slice, alone in its volume or series.

    size: columns, rows; spacing_mm: between columns, between rows; position_mm: middle of the first pixel;
    row_direction: unit vector along a row (towards the next column); column_direction: along a column; key: whatever
    else has to be the same, such as study, frame of reference and description without its number.
    """

    size: Tuple[int, int]
    spacing_mm: Tuple[float, float]
    position_mm: Tuple[float, float, float]
    row_direction: Tuple[float, float, float]
    column_direction: Tuple[float, float, float]
    key: Hashable = None


class JoinedSlices(NamedTuple):
    """Slices of one stack.

    order: numbers of the slices, along the normal (row direction x column direction); distance_mm: from the middle of
    one to that of the next; unevenness: the largest deviation from even places, as a share of that distance.
    """

    order: List[int]
    distance_mm: float
    unevenness: float

    @property
    def is_even(self) -> bool:
        """Whether the slices may be one volume; False where one is missing between others."""
        return self.unevenness <= GAP_REFUSED


def join_slices(places: Sequence[SlicePlace]) -> List[JoinedSlices]:
    """The stacks of two slices or more among single slices; a slice that fits to no other is in none of them.

    Where several slices have one and the same place, as when a stack was taken twice, the first of them belong to one
    stack and the second to another.
    """
    stacks: List[List[int]] = []
    for number, place in enumerate(places):
        for stack in stacks:
            if _fits(place, [places[other] for other in stack]):
                stack.append(number)
                break
        else:
            stacks.append([number])
    return [_sort(stack, places) for stack in stacks if len(stack) > 1]


def strip_number(text: str) -> str:
    """A description without the numbers of series and slice: ``LGE_SAX_3`` and ``LGE_SAX_4`` are one stack's, and so
    are ``12: LGE_SAX`` and ``13: LGE_SAX``, as 3D Slicer calls volumes."""
    return re.sub(r"^\d+\s*:\s*|[\W_]*\d+\s*$", "", text.strip()).casefold()


def find_normal(row_direction: Sequence[float], column_direction: Sequence[float]) -> np.ndarray:
    """Unit vector in which slices are stacked, (3,)."""
    normal = np.cross(row_direction, column_direction)
    return normal / max(float(np.linalg.norm(normal)), 1e-12)


def measure_steps(positions_mm: np.ndarray, normal: np.ndarray) -> Tuple[float, float]:
    """Distance of neighbouring slices, and the largest deviation from even places as a share of it.

    positions_mm: (slices, 3), two slices or more, sorted along ``normal``. The deviation is infinite for slices that
    all lie at one place.
    """
    steps = len(positions_mm) - 1
    distance = float(np.linalg.norm(positions_mm[-1] - positions_mm[0])) / steps
    if distance <= SAME_PLACE_MM:
        return distance, float("inf")
    even = positions_mm[0] + np.arange(steps + 1)[:, np.newaxis] * distance * normal
    return distance, float(np.linalg.norm(positions_mm - even, axis=1).max()) / distance


def differ(rows: Sequence[Sequence[float]], relative: bool = False) -> bool:
    """Whether vectors of numbers differ from the first one by more than rounding, each number by itself."""
    array = np.asarray(rows, dtype=float)
    scale = np.maximum(np.abs(array[:1]), 1e-9) if relative else 1.0
    return bool((np.abs(array - array[:1]) / scale).max() > LARGEST_DIFFERENCE)


def _fits(place: SlicePlace, stack: Sequence[SlicePlace]) -> bool:
    first = stack[0]
    if (
        place.size != first.size
        or place.key != first.key
        or differ([first.spacing_mm, place.spacing_mm], relative=True)
    ):
        return False
    directions = [[*one.row_direction, *one.column_direction] for one in (first, place)]
    if differ(directions):
        return False
    normal = find_normal(first.row_direction, first.column_direction)
    along = [float(np.dot(np.subtract(place.position_mm, other.position_mm), normal)) for other in stack]
    return min(abs(distance) for distance in along) > SAME_PLACE_MM


def _sort(stack: Sequence[int], places: Sequence[SlicePlace]) -> JoinedSlices:
    first = places[stack[0]]
    normal = find_normal(first.row_direction, first.column_direction)
    order = sorted(stack, key=lambda number: float(np.dot(places[number].position_mm, normal)))
    distance, unevenness = measure_steps(np.array([places[number].position_mm for number in order]), normal)
    return JoinedSlices(order, distance, unevenness)
