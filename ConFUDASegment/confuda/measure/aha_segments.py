"""The 17 segments of the American Heart Association (Cerqueira et al., Circulation 105:539, 2002) from labels.

Basal, mid-cavity and apical slices are equal thirds of the cavity's long axis; segment 17 is muscle beyond the cavity's
end. Around the cavity's middle the segments are counted from where the right ventricle's wall joins the left one's in
front (the anterior end of RV's contact with MYO): towards the septum 60 degrees each of 2, 3, 4, 5, 6 and 1, and below,
of 90 degrees, 14 in the middle of the septum, then 15, 16 and 13.
"""

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from confuda.errors import InputError
from confuda.labels import LV, MYO
from confuda.measure.coverage import LARGEST_NARROW_END
from confuda.measure.heart_axes import HeartAxes, LabelStack, find_contact, find_heart_axes, find_middle

APEX = 17
BASAL, MID, APICAL, BEYOND = "basal", "mid", "apical", "apex"
"""Levels along the axis; ``BEYOND`` the cavity's end."""
SEGMENT_NAMES: Dict[int, str] = {
    1: "basal anterior",
    2: "basal anteroseptal",
    3: "basal inferoseptal",
    4: "basal inferior",
    5: "basal inferolateral",
    6: "basal anterolateral",
    7: "mid anterior",
    8: "mid anteroseptal",
    9: "mid inferoseptal",
    10: "mid inferior",
    11: "mid inferolateral",
    12: "mid anterolateral",
    13: "apical anterior",
    14: "apical septal",
    15: "apical inferior",
    16: "apical lateral",
    APEX: "apex",
}

_AROUND: Dict[str, Tuple[int, ...]] = {BASAL: (2, 3, 4, 5, 6, 1), MID: (8, 9, 10, 11, 12, 7), APICAL: (14, 15, 16, 13)}
"""Segments of a level in the order of their angles."""

_FIRST_ANGLE = {BASAL: 0.0, MID: 0.0, APICAL: 15.0}
"""Where the first of them begins, in degrees from the anterior insertion: the septum's middle, 60 degrees from it, is
that of segment 14."""

LEAST_SHARE = 0.1
"""A segment with less muscle than this share of its level's median, a few voxels at its borders, is not given."""


@dataclass(frozen=True)
class SegmentedWall:
    """AHA's segments of one heart.

    segments: (S, rows, columns) uint8, 1 to 17 in the left ventricle's muscle and 0 elsewhere;
    axes: its directions; levels: the level of each slice with muscle, by its number;
    middles: (row, column) of the cavity that a slice with muscle is measured from, by its number;
    insertion_degrees: the anterior insertion of each level, seen from the septum's direction towards the front;
    missing: why a segment is not given, by its number; warnings: what makes all of this uncertain.
    """

    segments: np.ndarray
    axes: HeartAxes
    levels: Dict[int, str]
    middles: Dict[int, np.ndarray]
    insertion_degrees: Dict[str, float]
    missing: Dict[int, str]
    warnings: Tuple[str, ...]


def find_aha_segments(stack: LabelStack) -> SegmentedWall:
    """Divide the left ventricle's muscle into AHA's segments.

    Where the volume ends before the heart does, the long axis is continued as that of the half ellipsoid whose
    cross-sections are those of the cavity; segments of which nothing is seen are in ``missing``.

    Raises:
        InputError: where no segment can be given at all: RV does not touch MYO, there is but one slice, or the slices
            do not tell where in the heart they lie.
    """
    axes = find_heart_axes(stack)
    labels = stack.labels
    cavity = np.flatnonzero((labels == LV.label).any(axis=(1, 2)))
    muscle = np.flatnonzero((labels == MYO.label).any(axis=(1, 2)))
    base, apex, warnings = _find_ends(stack, axes)
    levels = {int(number): _find_level(int(number), cavity, axes.apical_step, base, apex) for number in muscle}
    middles = {int(number): _find_nearest_middle(labels, int(number), cavity) for number in muscle}
    insertions = _find_insertions(stack, axes, levels, middles)
    segments = np.zeros(labels.shape, dtype=np.uint8)
    for number, level in levels.items():
        inside = labels[number] == MYO.label
        if level == BEYOND:
            segments[number][inside] = APEX
            continue
        degrees = measure_degrees(np.argwhere(inside), middles[number], stack, axes)
        around = _AROUND[level]
        width = 360 / len(around)
        turned = (insertions[level] - degrees - _FIRST_ANGLE[level]) % 360
        segments[number][inside] = np.take(around, (turned // width).astype(int) % len(around))
    missing = _find_missing(segments, axes)
    return SegmentedWall(segments, axes, levels, middles, insertions, missing, (*axes.doubts, *warnings))


def measure_degrees(points: np.ndarray, middle: np.ndarray, stack: LabelStack, axes: HeartAxes) -> np.ndarray:
    """Angles of points (N, 2: row, column) around ``middle``, in (-180, 180]: 0 towards the septum, 90 towards the
    front."""
    away = points - middle
    septal, anterior = ((stack.steps_mm[1:] @ direction) for direction in (axes.septal, axes.anterior))
    return np.degrees(np.arctan2(away @ anterior, away @ septal))


def _find_ends(stack: LabelStack, axes: HeartAxes) -> Tuple[float, float, List[str]]:
    """Positions of base and apex of the cavity along the axis, in slices (a slice reaches half a slice to either
    side), and what is to be said of ends that the volume does not show."""
    areas = (stack.labels == LV.label).sum(axis=(1, 2)).astype(float)
    cavity = np.flatnonzero(areas)
    first, last = (cavity[0], cavity[-1]) if axes.apical_step > 0 else (cavity[-1], cavity[0])
    base, apex = first - 0.5 * axes.apical_step, last + 0.5 * axes.apical_step
    edges = (0, len(areas) - 1) if axes.apical_step > 0 else (len(areas) - 1, 0)
    warnings = []
    fitted = _fit_ellipsoid(cavity * axes.apical_step, areas[cavity]) if edges[0] == first or edges[1] == last else None
    if fitted is None and edges[1] == last and areas[last] > LARGEST_NARROW_END * areas.max():
        raise InputError(
            "The wall's segments cannot be told: the volume ends within the left ventricle, and its slices are too few "
            "or too alike to tell where the apex lies."
        )
    if fitted is not None:
        equator, end = (position * axes.apical_step for position in fitted)
        if edges[0] == first and (base - equator) * axes.apical_step > 0.5:
            base = equator
            warnings.append(
                "The volume ends before the heart's base: the long axis is continued from the cavity's shape."
            )
        if edges[1] == last and (end - apex) * axes.apical_step > 0.5:
            apex = end
            warnings.append(
                "The volume ends before the heart's apex: the long axis is continued from the cavity's shape."
            )
    return base, apex, warnings


def _fit_ellipsoid(positions: np.ndarray, areas: np.ndarray) -> Optional[Tuple[float, float]]:
    """Where the half ellipsoid with these cross-sections is widest, and where it ends, along growing positions towards
    the apex; None where the areas do not fall as those of one."""
    if len(positions) < 3:
        return None
    square, linear, constant = np.polyfit(positions, areas, 2)
    if square >= 0:
        return None
    equator = -linear / (2 * square)
    largest = constant - linear**2 / (4 * square)
    return (equator, equator + float(np.sqrt(largest / -square))) if largest > 0 else None


def _find_level(number: int, cavity: np.ndarray, step: int, base: float, apex: float) -> str:
    end = cavity[-1] if step > 0 else cavity[0]
    if (number - end) * step > 0:
        return BEYOND
    # Muscle before the cavity's first slice belongs to the base.
    share = min(max((number - base) / (apex - base), 0.0), 1.0)
    return (BASAL, MID, APICAL)[min(int(3 * share + 1e-9), 2)]


def _find_nearest_middle(labels: np.ndarray, number: int, cavity: np.ndarray) -> np.ndarray:
    nearest = cavity[np.argmin(np.abs(cavity - number))]
    return find_middle(labels[nearest])


def _find_insertions(
    stack: LabelStack, axes: HeartAxes, levels: Dict[int, str], middles: Dict[int, np.ndarray]
) -> Dict[str, float]:
    """Angle of the anterior insertion at each level: the median of its slices; a level where RV touches no muscle
    (often the apical one) takes that of the nearest level that has one."""
    found: Dict[str, List[float]] = {BASAL: [], MID: [], APICAL: []}
    for number, level in levels.items():
        contact = find_contact(stack.labels[number])
        if level != BEYOND and contact.any() and (stack.labels[number] == LV.label).any():
            found[level].append(float(measure_degrees(np.argwhere(contact), middles[number], stack, axes).max()))
    known = {level: float(np.median(angles)) for level, angles in found.items() if angles}
    order: Sequence[Tuple[str, Tuple[str, ...]]] = (
        (BASAL, (BASAL, MID, APICAL)),
        (MID, (MID, BASAL, APICAL)),
        (APICAL, (APICAL, MID, BASAL)),
    )
    return {level: next(known[other] for other in others if other in known) for level, others in order}


def _find_missing(segments: np.ndarray, axes: HeartAxes) -> Dict[int, str]:
    counts = np.bincount(segments.ravel(), minlength=APEX + 1)
    shown = np.asarray((segments > 0).any(axis=(1, 2)))
    ends = (shown[0], shown[-1]) if axes.apical_step > 0 else (shown[-1], shown[0])
    missing = {}
    for level, around in _AROUND.items():
        level_counts = counts[list(around)]
        if level_counts.any():
            least = max(1.0, LEAST_SHARE * np.median(level_counts))
            few = [segment for segment in around if counts[segment] < least]
            missing.update(dict.fromkeys(few, "no muscle is marked there"))
        elif level == BASAL and ends[0]:
            missing.update(dict.fromkeys(around, "the volume ends before the base"))
        elif level == APICAL and ends[1]:
            missing.update(dict.fromkeys(around, "the volume ends before the apex"))
        else:
            missing.update(dict.fromkeys(around, "no slice lies in its third of the long axis"))
    if not counts[APEX]:
        missing[APEX] = (
            "the volume ends before the apex" if ends[1] else "no slice shows muscle beyond the cavity's end"
        )
    return missing
