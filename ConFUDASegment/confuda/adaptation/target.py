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
    pixels = np.stack([(labels == structure.label).sum(axis=(1, 2)) for structure in STRUCTURES])
    heart = np.flatnonzero(pixels.any(axis=0))
    if not len(heart):
        return heart
    if mode == "few-shot":
        return np.arange(max(0, heart[0] - 1), min(len(labels), heart[-1] + 2))
    complete = np.flatnonzero(pixels.all(axis=0))
    complete = complete if len(complete) else heart
    return complete[[len(complete) // 2]]
