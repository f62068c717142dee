"""How far two masks overlap: the one definition of Dice. numpy alone, since Slicer's side imports what uses it."""

from typing import Optional, TypeVar

import numpy as np

Number = TypeVar("Number", float, np.ndarray)


def compute_dice(shared: Number, total: Number) -> Number:
    """Dice overlap, 0 to 1, of the number of voxels that two masks share and the sum of their sizes, which is above 0.
    Arrays of such numbers give an array."""
    return 2.0 * shared / total


def measure_dice(a: np.ndarray, b: np.ndarray, both_empty: float = 1.0) -> float:
    """Dice overlap of two masks of one shape, 0 to 1; ``both_empty`` if both are empty."""
    found = measure_dice_of_any(a, b)
    return both_empty if found is None else found


def measure_dice_of_any(a: np.ndarray, b: np.ndarray) -> Optional[float]:
    """Dice overlap of two masks of one shape, 0 to 1; None if both are empty."""
    total = int(a.sum()) + int(b.sum())
    return compute_dice(float((a & b).sum()), float(total)) if total else None
