"""A slice between its neighbours, as the channels of one sample, for networks that see it so."""

import numpy as np

NEIGHBOUR_MM = 10.0
"""How far the neighbours that are shown lie from the slice, as far as the stack allows; training saw 4 to 21 mm."""


def count_offset(slice_distance_mm: float) -> int:
    """How many slices further the shown neighbour is, where slices lie ``slice_distance_mm`` apart."""
    return max(1, int(round(NEIGHBOUR_MM / slice_distance_mm))) if slice_distance_mm > 0 else 1


def join_neighbours(slices: np.ndarray, channels: int, offset: int = 1) -> np.ndarray:
    """Samples (S, channels, H, W) of ``slices`` (S, H, W), the slice itself in the middle channel.

    At the ends of the stack, where there is no neighbour, the slice itself stands in for it.
    """
    number = np.arange(len(slices))
    reach = channels // 2
    places = [number + step * offset for step in range(-reach, reach + 1)]
    return np.stack([slices[np.where((at >= 0) & (at < len(slices)), at, number)] for at in places], axis=1)
