"""Finding the heart, which is not always at the centre of the image."""

import math
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from confuda.imaging.stack import ShortAxisStack
from confuda.inference.prediction import NO_FLIP, Predictor, View, measure_agreement

MOST_SLICES = 5
"""A coarse look takes at most this many slices, from the middle of a longer stack, where the heart is largest."""

MOST_CANDIDATES = 3
CANDIDATES_APART_MM = 40.0
"""Places that might be the heart: the strongest of the coarse look, so far apart, and the image's middle."""

TWO_VIEWS = (View(), View(False, (2,)))


class Place(NamedTuple):
    """Where the heart is, and how sure that is.

    center: (row, column) of the stack's slices; agreement: of two views there, 0 to 1; rival: their agreement at the
    best of the other places, at least ``CANDIDATES_APART_MM`` away, as a share of that here; 0 where there is none.
    """

    center: Tuple[float, float]
    agreement: float
    rival: float = 0.0


def find_heart(predictor: Predictor, stack: ShortAxisStack, size: int) -> Optional[Place]:
    """Where the heart is, or None where nothing looks like a heart.

    The network looks through windows of ``size`` pixels that overlap by half, on slices from the middle of the stack;
    a place where left ventricle and myocardium (a pair that nothing else resembles) are seen together in most of them
    may be the heart. A second look centres the window on each such place. The heart is where the network marks the same
    in the image and in its mirror image: what only resembles a heart is marked differently each time.
    """
    last = len(stack) - 1
    reach = (0.25, 0.75) if last >= MOST_SLICES else (0.0, 1.0)
    chosen = np.unique(np.linspace(reach[0] * last, reach[1] * last, MOST_SLICES).round().astype(int))
    places: List[Place] = []
    for candidate in _find_candidates(predictor, stack, chosen, size):
        center = _center_window(predictor, stack, chosen, candidate, size)
        if center is None:
            continue
        views = predictor.predict_views(stack.crop(center, size).slices, TWO_VIEWS, chosen)
        agreement = measure_agreement([view.argmax(dim=0).numpy() for view in views], absent=0.0)
        places.append(Place(center, agreement))
    if not places:
        return None
    # Of equal ones the first: the coarse look lists the likeliest first.
    best = max(places, key=lambda place: place.agreement)
    apart = CANDIDATES_APART_MM / stack.grid.spacing_mm[0]
    others = [place.agreement for place in places if math.dist(place.center, best.center) >= apart]
    return best._replace(rival=max(others, default=0.0) / max(best.agreement, 1e-6))


def _find_candidates(
    predictor: Predictor, stack: ShortAxisStack, chosen: np.ndarray, size: int
) -> List[Tuple[float, float]]:
    """Where the heart may be, most likely first, and the image's middle, where it mostly is."""
    rows, columns = (_place_windows(extent, size) for extent in stack.grid.size)
    votes = np.zeros(stack.grid.size, dtype=np.float32)
    looks = np.zeros(stack.grid.size, dtype=np.float32)
    for row in rows:
        for column in columns:
            _, heart = _look(predictor, stack, chosen, (row, column), size)
            top, left = int(row) - size // 2, int(column) - size // 2
            inside = np.s_[max(0, top) : top + size, max(0, left) : left + size]
            part = votes[inside]
            votes[inside] += heart[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
            looks[inside] += 1
    votes /= np.maximum(looks, 1)
    spacing_mm = stack.grid.spacing_mm[0]
    smoothed = _smooth(votes, radius=max(1, int(round(25.0 / spacing_mm))))
    grid_rows, grid_columns = np.indices(smoothed.shape)
    candidates: List[Tuple[float, float]] = []
    while len(candidates) < MOST_CANDIDATES and smoothed.max() > 0:
        row, column = np.unravel_index(int(smoothed.argmax()), smoothed.shape)
        candidates.append((float(row), float(column)))
        near = np.hypot(grid_rows - row, grid_columns - column) * spacing_mm < CANDIDATES_APART_MM
        smoothed[near] = 0
    if candidates:
        candidates.append(((stack.grid.size[0] - 1) / 2, (stack.grid.size[1] - 1) / 2))
    return candidates


def _center_window(
    predictor: Predictor, stack: ShortAxisStack, chosen: np.ndarray, center: Tuple[float, float], size: int
) -> Optional[Tuple[float, float]]:
    """The middle of MYO and LV as seen through a window at ``center``, looked at twice; None where none is seen."""
    for _ in range(2):
        found, heart = _look(predictor, stack, chosen, center, size)
        if not found:
            return None
        mass = heart.sum()
        offset = [float((heart.sum(axis=1 - axis) * np.arange(size)).sum() / mass) - size // 2 for axis in (0, 1)]
        center = (int(round(center[0])) + offset[0], int(round(center[1])) + offset[1])
    return float(center[0]), float(center[1])


def _place_windows(extent: int, size: int) -> np.ndarray:
    """Centres of windows that cover ``extent`` with half of each overlapping the next."""
    if extent <= size:
        return np.array([extent // 2])
    number = int(np.ceil((extent - size) / (size / 2))) + 1
    return np.linspace(size // 2, extent - size // 2, number).round().astype(int)


def _look(
    predictor: Predictor, stack: ShortAxisStack, chosen: np.ndarray, center: Tuple[float, float], size: int
) -> Tuple[bool, np.ndarray]:
    """Whether a heart is seen in the window at ``center``, and the map (size, size) of MYO and LV seen together."""
    probabilities = predictor.predict(stack.crop(center, size).slices, NO_FLIP, chosen)
    confident = np.where(probabilities > 0.5, probabilities, 0.0)
    seen = confident.sum(axis=(2, 3))
    # A ring needs both its wall and its blood: what has only one of them is something else.
    pair = np.sqrt(seen[1] * seen[2])
    weight = np.where(pair > 0, pair / np.maximum(seen[1] + seen[2], 1e-6), 0.0)
    heart = ((confident[1] + confident[2]) * weight[:, None, None]).mean(axis=0)
    return bool(heart.sum() > 0), heart


def _smooth(field: np.ndarray, radius: int) -> np.ndarray:
    """Box sum over (2 radius + 1) squared pixels."""
    total = np.pad(field, radius + 1).cumsum(axis=0).cumsum(axis=1)
    width = 2 * radius + 1
    box = total[width:, width:] - total[:-width, width:] - total[width:, :-width] + total[:-width, :-width]
    return box[: field.shape[0], : field.shape[1]]
