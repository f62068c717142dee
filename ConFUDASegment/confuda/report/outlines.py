"""Outlines of a mask as SVG paths: crisp at every size, and no drawing library is needed."""

from typing import Dict, List, Tuple

import numpy as np

Point = Tuple[int, int]

# For each of the 16 ways in which a square of four pixel centres can be inside (bits: top left 8, top right 4, bottom
# right 2, bottom left 1): the line pieces from one side's middle to another, with the inside to their left. A square
# whose corners touch the mask on a diagonal gets two pieces, which keep the two parts apart.
_TOP, _RIGHT, _BOTTOM, _LEFT = (0, 1), (1, 2), (2, 1), (1, 0)
_PIECES: Dict[int, List[Tuple[Point, Point]]] = {
    1: [(_LEFT, _BOTTOM)],
    2: [(_BOTTOM, _RIGHT)],
    3: [(_LEFT, _RIGHT)],
    4: [(_RIGHT, _TOP)],
    5: [(_LEFT, _BOTTOM), (_RIGHT, _TOP)],
    6: [(_BOTTOM, _TOP)],
    7: [(_LEFT, _TOP)],
    8: [(_TOP, _LEFT)],
    9: [(_TOP, _BOTTOM)],
    10: [(_TOP, _LEFT), (_BOTTOM, _RIGHT)],
    11: [(_TOP, _RIGHT)],
    12: [(_RIGHT, _LEFT)],
    13: [(_RIGHT, _BOTTOM)],
    14: [(_BOTTOM, _LEFT)],
}


def trace_outlines(mask: np.ndarray) -> List[np.ndarray]:
    """Closed outlines of a mask (H, W), each as points (N, 2) of row and column, pixel centres at whole numbers.

    They run half-way between a pixel inside and its neighbour outside (marching squares), around holes too.
    """
    inside = np.pad(np.asarray(mask, dtype=np.uint8), 1)
    squares = 8 * inside[:-1, :-1] + 4 * inside[:-1, 1:] + 2 * inside[1:, 1:] + inside[1:, :-1]
    follows: Dict[Point, Point] = {}
    for row, column in np.argwhere((squares > 0) & (squares < 15)).tolist():
        for start, end in _PIECES[int(squares[row, column])]:
            follows[2 * row + start[0], 2 * column + start[1]] = (2 * row + end[0], 2 * column + end[1])
    outlines = []
    while follows:
        first, point = next(iter(follows.items()))
        loop = [first]
        del follows[first]
        while point != first:
            loop.append(point)
            point = follows.pop(point)
        # Halved, for places were counted in half pixels; less one, for the margin.
        outlines.append(_drop_straight(np.array(loop)) / 2.0 - 1.0)
    return outlines


def format_path(outlines: List[np.ndarray], spacing_mm: Tuple[float, float]) -> str:
    """The ``d`` of an SVG path in mm, where the picture's corner is 0, 0 and a pixel measures ``spacing_mm`` (row,
    column)."""
    parts = []
    for outline in outlines:
        places = [f"{(c + 0.5) * spacing_mm[1]:.2f} {(r + 0.5) * spacing_mm[0]:.2f}" for r, c in outline]
        parts.append("M" + "L".join(places) + "Z")
    return "".join(parts)


def _drop_straight(loop: np.ndarray) -> np.ndarray:
    """A closed loop (N, 2) without the points that lie on the way between their neighbours."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
