"""Whether an adapted network may replace the source network: a check that needs no label.

What both networks say about the volume is measured in the same ways, and compared. ``benchmarks/divergence.py`` shows
how often the check decides rightly (docs/reliability.md).
"""

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from confuda.imaging.stack import HeartCrop
from confuda.inference.prediction import (
    Predictor,
    clean_up,
    compute_entropy,
    consult_neighbours,
    measure_agreement,
    weigh_classes,
)
from confuda.inference.scar_weights import combine_weights, rate_scar
from confuda.labels import LV, MYO, STRUCTURES
from confuda.measure.overlap import measure_dice

LARGEST_RISE_OF_LOSS = 0.7
"""Adaptation is refused where the loss on labelled images ends higher than the source network's by more than this.

It is cross-entropy and 1 - Jaccard: the source network has 0.2, one that has forgotten its structures 1 and more."""

LARGEST_LOSS_OF_AGREEMENT = 0.15
"""... where the views agree less by more than this (mean Dice between two of them)."""

LARGEST_GAIN_OF_ENTROPY = 0.144
"""... where the network doubts more by this (entropy from 0 to 1, mean over what it takes for heart)."""

SMALLEST_SHARE_OF_STRUCTURE = 0.7
LARGEST_SHARE_OF_STRUCTURE = 8.0
"""... where a structure shrinks below or grows beyond these shares of what the source network saw.

Growth says less: of one right ventricle the source network saw a quarter, and adapting found the rest."""

SIZES_ML = (0.5, 600.0)
"""... where a structure's volume leaves these bounds (beyond those of any adult heart), but was within."""

LARGEST_LOSS_OF_ENCLOSURE = 0.4
"""... where the left ventricle is less enclosed by its muscle by more than this share of its outline."""

LEAST_GAIN_OF_AGREEMENT = 0.015
LEAST_GAIN_OF_ENCLOSURE = 0.2
"""Where nobody asked for adaptation in so many words, the adapted network must be the better one: its views agree more
by this, or a wall that was open is closed by this share of its outline. Of the adaptations that cost more than 0.01
Dice none did either (docs/results.md)."""

LARGEST_LOSS_OF_CONTINUITY = 0.2
"""... where neighbouring slices resemble each other less by more than this (mean Dice)."""


@dataclass
class Opinion:
    """What a network says about a volume.

    Attributes:
        probabilities: soft labels (K, S, H, W), cleaned.
        agreement: how far the views agree, 0 to 1.
        entropy: mean entropy, 0 to 1, of the soft labels before clean-up where they mean heart.
        voxel_ml: volume of a voxel of ``probabilities``; None where it is not known.
        soft: the soft labels before clean-up; votes: (V, S, H, W) uint8, the label that each view gives. Both are for
            the uncertainty and not needed to judge.
        scar: how far the volume shows bright scar, 0 to 1; weights: the class weights (K,) that are in ``soft``.
    """

    probabilities: np.ndarray
    agreement: float
    entropy: float = 0.0
    voxel_ml: Optional[float] = None
    soft: Optional[np.ndarray] = None
    votes: Optional[np.ndarray] = None
    scar: float = 0.0
    weights: Optional[List[float]] = None

    def count_voxels(self) -> Dict[str, int]:
        labels = self.probabilities.argmax(axis=0)
        return {structure.name: int((labels == structure.label).sum()) for structure in STRUCTURES}

    def unweigh(self) -> np.ndarray:
        """The network's own soft labels (K, S, H, W), before class weights and clean-up."""
        if self.soft is None or self.weights is None:
            return self.probabilities
        return weigh_classes(self.soft, [1 / weight for weight in self.weights])


class Anatomy(NamedTuple):
    """How plausible labels are.

    enclosure: share of the left ventricle's outline in the slices that borders on its muscle, 0 to 1; 0 without one.
    continuity: mean Dice of the structures between neighbouring slices, 0 to 1; None with a single slice of heart.
    """

    enclosure: float
    continuity: Optional[float]


def measure_voxel_ml(crop: HeartCrop) -> float:
    """Volume of a voxel of ``crop.slices`` in mL."""
    return float(np.prod(crop.grid.spacing_mm)) * crop.stack.slice_distance_mm / 1000


def form_opinion(
    predictor: Predictor,
    slices: np.ndarray,
    slice_distance_mm: Optional[float] = None,
    voxel_ml: Optional[float] = None,
    scar: Optional[float] = None,
) -> Opinion:
    """Predict ``slices`` (S, H, W) in the views of ``predictor``, average, weigh and clean up; measure agreement and
    entropy.

    With ``slice_distance_mm`` doubtful pixels heed the neighbouring slices (:func:`consult_neighbours`). ``scar``, from
    0 to 1, says how far the predictor's scar weights count; None reads it from the first view.
    """
    total: torch.Tensor = torch.empty(0)
    given: List[np.ndarray] = []
    weights: List[float] = []
    # View by view: soft labels of 500 slices in all views at once would take 2 GB.
    for view in predictor.predict_views(slices, predictor.views):
        if scar is None:
            scar = rate_scar(slices, predictor.weigh(view.numpy()).argmax(axis=0))
        weights = combine_weights(predictor.class_weights, predictor.scar_weights, scar)
        given.append(weigh_classes(view.numpy(), weights).argmax(axis=0).astype(np.uint8))
        total = total.add_(view) if len(given) > 1 else view.clone()
    votes, mean = np.stack(given), (total / len(predictor.views)).numpy()
    if slice_distance_mm is not None:
        mean = consult_neighbours(mean, slice_distance_mm)
    mean = weigh_classes(mean, weights)
    agreement, entropy = measure_agreement(given), measure_entropy(mean)
    return Opinion(clean_up(mean), agreement, entropy, voxel_ml, mean, votes, scar or 0.0, weights)


def measure_entropy(probabilities: np.ndarray) -> float:
    """Mean entropy, 0 to 1, of soft labels (K, S, H, W) where their largest class is not background; 0 where all is."""
    heart = probabilities[:, probabilities.argmax(axis=0) > 0]
    return float(compute_entropy(heart.astype(np.float64)).mean()) if heart.size else 0.0


def measure_anatomy(labels: np.ndarray) -> Anatomy:
    """How plausible ``labels`` (S, H, W) are; see :class:`Anatomy`."""
    return Anatomy(measure_enclosure(labels), _measure_continuity(labels))


def measure_enclosure(labels: np.ndarray) -> float:
    """Of the pixel edges between the left ventricle of ``labels`` (S, H, W) and anything else in its slice, the share
    that touches muscle; 0 without one."""
    touching = everything = 0
    for axis in (1, 2):
        ahead, behind = (np.moveaxis(labels, axis, 0)[part] for part in (slice(1, None), slice(None, -1)))
        for one, other in ((ahead, behind), (behind, ahead)):
            outside = other[(one == LV.label) & (other != LV.label)]
            everything += outside.size
            touching += int((outside == MYO.label).sum())
    return touching / everything if everything else 0.0


def _measure_continuity(labels: np.ndarray) -> Optional[float]:
    scores = []
    for lower, upper in zip(labels, labels[1:]):
        for structure in STRUCTURES:
            one, other = lower == structure.label, upper == structure.label
            # At the ends of a structure one of two slices has none of it, in every heart: that is no break.
            if one.any() and other.any():
                scores.append(measure_dice(one, other))
    return float(np.mean(scores)) if scores else None


def measure_loss_rise(losses: List[Dict[str, float]]) -> float:
    """The mean loss on labelled images, own and stylised, over the last third of the steps, less that of the first
    step: its loss is still the source network's. 0 without losses on labelled images."""
    labelled = [[step[name] for name in ("source", "stylised") if name in step] for step in losses]
    means = [float(np.mean(values)) for values in labelled if values]
    return float(np.mean(means[-max(1, len(means) // 3) :])) - means[0] if means else 0.0


def judge_adaptation(
    source: Opinion, adapted: Opinion, losses: List[Dict[str, float]], must_gain: bool = False
) -> Tuple[bool, str]:
    """Whether to keep the adapted network, and the reason if not ("" otherwise).

    It must not be ruined; with ``must_gain`` it must also be better by what can be measured without labels.
    """
    if not all(np.isfinite(list(step.values())).all() for step in losses):
        return False, "the losses were not finite"
    if not np.isfinite(adapted.probabilities).all():
        return False, "the adapted network gives no finite answer"
    if measure_loss_rise(losses) > LARGEST_RISE_OF_LOSS:
        return False, "the loss on labelled images grew"
    if adapted.agreement < source.agreement - LARGEST_LOSS_OF_AGREEMENT:
        return False, "the adapted network agrees less with itself under flips and turns"
    if adapted.entropy > source.entropy + LARGEST_GAIN_OF_ENTROPY:
        return False, "the adapted network is less sure"
    reason = _judge_sizes(source, adapted) or _judge_anatomy(source, adapted)
    if not reason and must_gain:
        reason = judge_gain([source], [adapted])
    return not reason, reason


def judge_gain(source: Sequence[Opinion], adapted: Sequence[Opinion]) -> str:
    """Why the adapted network is not the better one for these volumes together; "" where it is: their views agree more
    in the mean, or the most open of their walls is closed."""
    before, after = (float(np.mean([one.agreement for one in some])) for some in (source, adapted))
    if after >= before + LEAST_GAIN_OF_AGREEMENT:
        return ""
    closed = [min(measure_enclosure(one.probabilities.argmax(axis=0)) for one in some) for some in (source, adapted)]
    if closed[1] >= closed[0] + LEAST_GAIN_OF_ENCLOSURE:
        return ""
    return f"the views hardly agree more with it ({before:.3f} before, {after:.3f} after)"


def _judge_sizes(source: Opinion, adapted: Opinion) -> str:
    before, after = source.count_voxels(), adapted.count_voxels()
    for name, count in before.items():
        if count and after[name] < SMALLEST_SHARE_OF_STRUCTURE * count:
            return f"{name} shrank too far"
        if count and after[name] > LARGEST_SHARE_OF_STRUCTURE * count:
            return f"{name} grew beyond measure"
        if source.voxel_ml is not None and count:
            low, high = SIZES_ML
            if low <= count * source.voxel_ml <= high and not low <= after[name] * source.voxel_ml <= high:
                return f"{name} has an impossible volume"
    return ""


def _judge_anatomy(source: Opinion, adapted: Opinion) -> str:
    before, after = (measure_anatomy(opinion.probabilities.argmax(axis=0)) for opinion in (source, adapted))
    if after.enclosure < before.enclosure - LARGEST_LOSS_OF_ENCLOSURE:
        return "the left ventricle left its ring of muscle"
    if before.continuity is not None and after.continuity is not None:
        if after.continuity < before.continuity - LARGEST_LOSS_OF_CONTINUITY:
            return "neighbouring slices fit together less"
    return ""
