"""Thickness of the left ventricle's wall in the plane of each slice, by Laplace's equation.

Between the cavity (potential 0) and all that lies outside muscle and cavity (potential 1) the potential obeys Laplace's
equation; lines along its gradient run from one surface to the other without crossing, and the length of the one through
a point is the wall's thickness there (Jones, Buchbinder and Aharon, Hum Brain Mapp 11:12, 2000). Lines are followed
from each voxel to both surfaces, which are smoothed and known to fractions of a voxel. Slices of a short-axis stack lie
too far apart for lines in space: where the wall runs oblique to the slices, towards the apex, this thickness is larger
than the true one.
"""

import math
from typing import Sequence

import numpy as np
import SimpleITK as sitk

from confuda.labels import LV, MYO

FINE_MM = 0.6
"""The potential is computed on pixels of at most this size."""

SMOOTHING = 0.5
"""Of the staircase of voxels, as the sigma of a Gaussian in pixels."""

STEP_MM = 0.3
"""Step along a line."""

LARGEST_MM = 60.0
"""A line longer than this has lost its way."""

SWEEPS = 200
CONVERGED = 2e-4
RELAXATION = 1.75
_MARGIN = 4


def measure_thickness_mm(labels: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Thickness in mm at each voxel of MYO, NaN elsewhere, where the slice shows no LV, and where no line is found.

    labels: (S, rows, columns); spacing_mm: of rows and of columns (of three numbers the last two).
    """
    spacing = [float(mm) for mm in spacing_mm][-2:]
    thickness = np.full(labels.shape, np.nan, dtype=np.float32)
    shown = np.flatnonzero((labels == LV.label).any(axis=(1, 2)) & (labels == MYO.label).any(axis=(1, 2)))
    if not len(shown):
        return thickness
    _, rows, columns = np.nonzero((labels[shown] == LV.label) | (labels[shown] == MYO.label))
    # Beyond the image's border is outside, as everything but muscle and cavity is.
    padded = np.pad(labels[shown], ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    box = (slice(rows.min(), rows.max() + 2 * _MARGIN + 1), slice(columns.min(), columns.max() + 2 * _MARGIN + 1))
    cut = padded[:, box[0], box[1]]
    factors = [max(1, math.ceil(mm / FINE_MM)) for mm in spacing]
    cavity = _refine(_smooth(cut == LV.label), factors)
    filled = _refine(_smooth((cut == LV.label) | (cut == MYO.label)), factors)
    fine_mm = [mm / factor for mm, factor in zip(spacing, factors)]
    potential = _solve_laplace(cavity >= 0.5, filled < 0.5, fine_mm)
    slopes = np.gradient(potential, *fine_mm, axis=(1, 2))
    starts = np.argwhere(cut == MYO.label)
    points = starts * np.array([1, *factors], dtype=float)
    inward = _follow(points, [-slope for slope in slopes], 0.5 - cavity, fine_mm)
    outward = _follow(points, slopes, filled - 0.5, fine_mm)
    place = (shown[starts[:, 0]], starts[:, 1] + box[0].start - _MARGIN, starts[:, 2] + box[1].start - _MARGIN)
    thickness[place] = inward + outward
    return thickness


def _smooth(mask: np.ndarray) -> np.ndarray:
    """Share (0 to 1) of a mask (S, rows, columns) around each pixel of its slice."""
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, [SMOOTHING**2, SMOOTHING**2, 0.0], 32, 0.01, False))


def _refine(slices: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Rows and columns ``factors`` times as dense, linearly; the old pixels stay among the new ones."""
    for axis, factor in zip((1, 2), factors):
        position = np.arange((slices.shape[axis] - 1) * factor + 1) / factor
        low = np.minimum(position.astype(int), slices.shape[axis] - 2)
        share = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        slices = np.take(slices, low, axis) * (1 - share) + np.take(slices, low + 1, axis) * share
    return slices


def _solve_laplace(cavity: np.ndarray, outside: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Potential, 0 in ``cavity``, 1 ``outside``, harmonic in each slice of what is between; masks (S, rows, columns)
    whose border is outside."""
    potential = np.where(cavity, 0.0, np.where(outside, 1.0, 0.5)).ravel()
    _, rows, columns = cavity.shape
    weights = np.array([1 / mm**2 for mm in spacing_mm])
    weights = weights / (2 * weights.sum())
    between = np.argwhere(~cavity & ~outside)
    flat = (between[:, 0] * rows + between[:, 1]) * columns + between[:, 2]
    parity = (between[:, 1] + between[:, 2]) % 2
    colours = [flat[parity == colour] for colour in (0, 1)]
    for _ in range(SWEEPS):
        largest = 0.0
        for place in colours:
            if not len(place):
                continue
            mean = weights[0] * (potential[place - columns] + potential[place + columns])
            mean += weights[1] * (potential[place - 1] + potential[place + 1])
            change = mean - potential[place]
            potential[place] += RELAXATION * change
            largest = max(largest, float(np.abs(change).max()))
        if largest < CONVERGED:
            break
    return potential.reshape(cavity.shape)


def _follow(
    points: np.ndarray, slopes: Sequence[np.ndarray], inside: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Length in mm of the lines from ``points`` (N, 3: slice, fine row, fine column) along ``slopes`` to where
    ``inside`` (S, rows, columns) falls to 0; NaN where a line finds no end."""
    lengths = np.full(len(points), np.nan)
    position = points.copy()
    value = _sample(inside, position)
    length = np.zeros(len(points))
    active = np.flatnonzero(value > 0)
    for _ in range(int(LARGEST_MM / STEP_MM)):
        if not len(active):
            break
        here = position[active]
        direction = np.stack([_sample(slope, here) for slope in slopes], axis=1)
        size = np.linalg.norm(direction, axis=1)
        moving = size > 1e-9
        active, here = active[moving], here[moving]
        direction = direction[moving] / size[moving, None]
        there = here.copy()
        there[:, 1:] += STEP_MM * direction / np.asarray(spacing_mm)
        before, after = value[active], _sample(inside, there)
        left = after <= 0
        share = before[left] / (before[left] - after[left])
        lengths[active[left]] = length[active[left]] + STEP_MM * share
        position[active], value[active] = there, after
        length[active] += STEP_MM
        active = active[~left]
    return lengths


def _sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values of ``field`` (S, rows, columns) at points (N, 3); beyond the border that of the border."""
    slices = points[:, 0].astype(int)
    rows = np.clip(points[:, 1], 0, field.shape[1] - 1)
    columns = np.clip(points[:, 2], 0, field.shape[2] - 1)
    row, column = np.minimum(rows.astype(int), field.shape[1] - 2), np.minimum(columns.astype(int), field.shape[2] - 2)
    down, across = rows - row, columns - column
    upper = field[slices, row, column] * (1 - across) + field[slices, row, column + 1] * across
    lower = field[slices, row + 1, column] * (1 - across) + field[slices, row + 1, column + 1] * across
    return upper * (1 - down) + lower * down
