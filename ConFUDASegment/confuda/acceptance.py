"""Whether an adapted network may replace the source network: a check that needs no label."""

from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from confuda.labels import STRUCTURES
from confuda.networks.drunet import DRUNet
from confuda.predict import ALL_VIEWS, clean_up, measure_agreement, predict_views, weigh_classes

LARGEST_LOSS_OF_AGREEMENT = 0.05
"""Adaptation is refused where the views agree less by more than this (mean Dice between two of them)."""

SMALLEST_SHARE_OF_STRUCTURE = 0.25
"""... or where a structure shrinks below this share of what the source network saw."""


@dataclass
class Opinion:
    """What a network says about a volume: soft labels (K, S, H, W), cleaned, and how far its views agree (0 to 1)."""

    probabilities: np.ndarray
    agreement: float

    def count_voxels(self) -> Dict[str, int]:
        labels = self.probabilities.argmax(axis=0)
        return {structure.name: int((labels == structure.label).sum()) for structure in STRUCTURES}


def form_opinion(
    network: DRUNet,
    slices: np.ndarray,
    class_weights: Sequence[float],
    check_cancelled: Optional[Callable[[], None]] = None,
) -> Opinion:
    """Predict ``slices`` (S, H, W) in all views, average, weigh and clean up; measure the agreement of the views."""
    views = list(predict_views(network, slices, ALL_VIEWS, check_cancelled=check_cancelled))
    mean = weigh_classes(torch.stack(views).mean(dim=0).numpy(), class_weights)
    labels = [weigh_classes(view.numpy(), class_weights).argmax(axis=0) for view in views]
    return Opinion(clean_up(mean), measure_agreement(labels))


def judge_adaptation(source: Opinion, adapted: Opinion, losses: List[Dict[str, float]]) -> Tuple[bool, str]:
    """Whether to keep the adapted network, and the reason if not ("" otherwise)."""
    if not all(np.isfinite(list(step.values())).all() for step in losses):
        return False, "the losses were not finite"
    if not np.isfinite(adapted.probabilities).all():
        return False, "the adapted network gives no finite answer"
    if adapted.agreement < source.agreement - LARGEST_LOSS_OF_AGREEMENT:
        return False, "the adapted network agrees less with itself under flips and quarter turns"
    before, after = source.count_voxels(), adapted.count_voxels()
    for name, count in before.items():
        if count and after[name] < SMALLEST_SHARE_OF_STRUCTURE * count:
            return False, f"{name} nearly vanished"
    return True, ""
