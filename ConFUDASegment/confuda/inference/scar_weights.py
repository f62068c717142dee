"""Class weights that a volume asks for itself: a scar in late enhancement is as bright as the blood beside it, and the
network takes it for blood, or leaves it out.

Whether a volume is such a one shows in its own grey values: its muscle has parts that are as bright as blood. In cine
and in T2-weighted images it has none (docs/results.md).
"""

from typing import List, Sequence

import numpy as np

from confuda.labels import LV, MYO

FROM, TO = 0.35, 0.5
"""Brightness of the brightest muscle (:func:`measure_bright_muscle`) from which scar weights begin to count, and from
which they count in full. Medians: cine 0.23 to 0.30, late enhancement 0.70."""

BRIGHT_PERCENT = 90
FEWEST_PIXELS = 50
LEAST_CONTRAST = 0.02
"""Blood must be brighter than muscle by this, on the scale from 0 to 1, for muscle to be as bright as blood."""


def measure_bright_muscle(slices: np.ndarray, labels: np.ndarray) -> float:
    """How bright the brightest tenth of the muscle is at least: 0 is the muscle's median, 1 the median of LV's blood.

    0 where there is too little of either, or where blood is not the brighter of the two.

    Args:
        slices: (S, H, W) in [0, 1]; labels: (S, H, W) of ours.
    """
    muscle, blood = slices[labels == MYO.label], slices[labels == LV.label]
    if min(muscle.size, blood.size) < FEWEST_PIXELS:
        return 0.0
    middle, bright = np.percentile(muscle, [50, BRIGHT_PERCENT])
    contrast = float(np.median(blood) - middle)
    return float(bright - middle) / contrast if contrast > LEAST_CONTRAST else 0.0


def rate_scar(slices: np.ndarray, labels: np.ndarray) -> float:
    """How far scar weights count in this volume, 0 to 1; see :func:`measure_bright_muscle`."""
    return float(np.clip((measure_bright_muscle(slices, labels) - FROM) / (TO - FROM), 0.0, 1.0))


def combine_weights(class_weights: Sequence[float], scar_weights: Sequence[float], scar: float) -> List[float]:
    """The class weights (K,) of a volume whose scar is rated ``scar``."""
    return [float(weight * extra**scar) for weight, extra in zip(class_weights, scar_weights)]
