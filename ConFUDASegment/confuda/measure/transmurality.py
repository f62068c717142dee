"""How far scar reaches through the wall, by AHA segment."""

from dataclasses import dataclass
from typing import Dict, List, Optional

import numpy as np

from confuda.labels import MYO
from confuda.measure.aha_segments import APEX, SEGMENT_NAMES, SegmentedWall
from confuda.measure.heart_axes import LabelStack

SECTORS = 72
"""Of 5 degrees each, in every slice."""

PARTS = 4
"""Voxels are divided into so many parts along rows and columns, since a sector is not much wider than a voxel."""

LEAST_SHARE = 0.02
"""A sector with less scar than this share of its wall has none."""


@dataclass(frozen=True)
class SegmentScar:
    """Scar of one segment, 0 to 100 each.

    scar_percent: share of the segment's muscle, the transmural extent of Kim et al. (N Engl J Med 343:1445, 2000);
    transmurality_percent: share of the wall, along rays from the cavity's middle, mean over the rays that meet scar; 0
    without scar, None for the apex, whose wall no ray in a slice crosses.
    """

    scar_percent: float
    transmurality_percent: Optional[float]


def measure_segment_scar(scar: np.ndarray, stack: LabelStack, division: SegmentedWall) -> Dict[int, SegmentScar]:
    """The scar of each segment that is given; ``scar``: (S, rows, columns) bool, within MYO."""
    through = _measure_sectors(scar, stack, division)
    found = {}
    for segment in SEGMENT_NAMES:
        if segment in division.missing:
            continue
        inside = division.segments == segment
        percent = 100 * float(scar[inside].mean())
        met = [share for share in through[segment] if share >= LEAST_SHARE]
        mean = 100 * float(np.mean(met)) if met else 0.0
        found[segment] = SegmentScar(percent, None if segment == APEX else mean)
    return found


def _measure_sectors(scar: np.ndarray, stack: LabelStack, division: SegmentedWall) -> Dict[int, List[float]]:
    """Scar's share (0 to 1) of the wall in each sector of each slice, by the segment that has most of the sector."""
    offsets = (np.arange(PARTS) + 0.5) / PARTS - 0.5
    grid = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
    shares: Dict[int, List[float]] = {segment: [] for segment in SEGMENT_NAMES}
    for number, middle in division.middles.items():
        voxels = np.argwhere(stack.labels[number] == MYO.label)
        segments = division.segments[number][tuple(voxels.T)]
        away = (voxels[:, None] + grid[None] - middle).reshape(-1, 2) * stack.spacing_mm[1:]
        radius = np.maximum(np.linalg.norm(away, axis=1), 1e-3)
        turned = np.arctan2(away[:, 0], away[:, 1]) / (2 * np.pi) % 1
        sector = np.minimum((turned * SECTORS).astype(int), SECTORS - 1)
        # A part of a sector is as wide as its distance from the middle: its length along the ray is area over radius.
        length = 1 / radius
        scarred = np.repeat(scar[number][tuple(voxels.T)], len(grid))
        wall = np.bincount(sector, length, SECTORS)
        for segment in np.unique(segments):
            inside = np.repeat(segments == segment, len(grid))
            own = np.bincount(sector[inside], length[inside], SECTORS)
            hit = np.bincount(sector[inside], (length * scarred)[inside], SECTORS)
            mine = (wall > 0) & (own > 0.5 * wall)
            shares[int(segment)].extend((hit[mine] / own[mine]).tolist())
    return shares
