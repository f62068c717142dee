"""Which slices of a volume the network adapts to: the target of one-shot and few-shot adaptation."""

import numpy as np

from confuda.labels import STRUCTURES


def choose_target_slices(labels: np.ndarray, mode: str) -> np.ndarray:
    """Positions in the stack of the slices to adapt to; none where nothing is marked.

    Args:
        labels: (S, H, W) of ours, what the source network sees.
        mode: "few-shot" takes the slices of the heart and one beyond either end; "one-shot" a mid-ventricular one: the
            middle of those that show all three structures, or else of those that show any.
    """
    heart = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    if not len(heart):
        return heart
    if mode == "few-shot":
        return np.arange(max(0, heart[0] - 1), min(len(labels), heart[-1] + 2))
    return np.array([choose_middle_slice(labels)])


def choose_middle_slice(labels: np.ndarray) -> int:
    """The mid-ventricular one of labelled slices (S, H, W): the middle of those that show all three structures, or else
    of those that show any, or else of all."""
    seen = np.stack([(labels == structure.label).any(axis=(1, 2)) for structure in STRUCTURES])
    for showing in (seen.all(axis=0), seen.any(axis=0), np.ones(len(labels), dtype=bool)):
        candidates = np.flatnonzero(showing)
        if len(candidates):
            break
    return int(candidates[len(candidates) // 2])
