"""The contrastive terms of ConFUDA on class centroids: CCL (equation (2)), CNR, and MPCCL (equation (3)).

A class that is absent on either side, that is, whose centroid stands on too few pixels, takes no part: neither as
anchor nor as negative, so that it can't pull on the others.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Dict, Optional

import torch
from torch import Tensor

from .centroids import Centroids, SourceBank, compute_centroids, compute_partition_centroids

_SMALLEST_NORM = 1e-6  # a vector shorter than this has no direction worth a gradient (which grows as 1 / norm)
_REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class ContrastiveSettings:
    """How the contrastive terms are computed; the defaults follow the paper as printed where it is explicit.

    temperature: tau of equation (2), > 0.
    partitions: P of equation (3), >= 1; 1 is plain CCL.
    include_background: whether background (class 0) counts among the K classes, as anchor and as negative.
    gradient_through_weights: whether the soft predictions that weight the target's pixels carry gradient; if not, only
        the features do.
    positive_in_denominator: whether the positive pair joins the denominator of equation (2), as in NT-Xent; as
        printed it does not, and the loss may become negative.
    minimum_mass: pixels, >= 0; a centroid counts as present if it stands on MORE than this. It is per centroid: with
        P partitions each holds about 1/P of the class. Soft predictions leave some mass everywhere (1e-3 on 128x128
        pixels is 16 pixels), so 0 masks almost nothing for a target.
    relative_norm: whether CNR is measured relative to the source's norm, and so independent of the features' scale.
    reduction: "sum" over the classes in equation (2), as printed, or "mean" over the classes that take part.
    norm_over_partitions: "sum" over partitions of CNR, as printed in equation (4), or "mean", which keeps its weight
        independent of P.
    Raises ValueError for a value out of range.
    """

    temperature: float = 0.1
    partitions: int = 4
    include_background: bool = True
    gradient_through_weights: bool = True
    positive_in_denominator: bool = False
    minimum_mass: float = 1.0
    relative_norm: bool = False
    reduction: str = "sum"
    norm_over_partitions: str = "sum"

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        if not isinstance(self.partitions, int) or self.partitions < 1:
            raise ValueError(f"The number of partitions must be a whole number of at least 1, got {self.partitions}.")
        if not (math.isfinite(self.minimum_mass) and self.minimum_mass >= 0):
            raise ValueError(f"The minimum mass of a centroid must be 0 pixels or more, got {self.minimum_mass}.")
        _check_reduction(self.reduction)
        _check_reduction(self.norm_over_partitions)


class ContrastiveLoss:
    """The terms of equations (3) and (4) for one step, from the target image and its augmented copy."""

    def __init__(self, settings: Optional[ContrastiveSettings] = None) -> None:
        self.settings = settings if settings is not None else ContrastiveSettings()

    def __call__(
        self,
        target_features: Tensor,
        target_softmax: Tensor,
        augmented_features: Tensor,
        augmented_softmax: Tensor,
        bank: SourceBank,
        generator: Optional[torch.Generator] = None,
    ) -> Dict[str, Tensor]:
        """Compute the three terms.

        target_features: (B, D, H, W); target_softmax: (B, K, H, W) in [0, 1]; the augmented copy's alike, of any B, H
        and W of its own, since only its centroids are used; bank: K classes, D channels; generator: makes the random
        partitions repeatable. Returns scalars "inter" and "intra", whose sum is equation (3), and "norm", the sum (or
        mean) over partitions of CNR; all without their lambdas. Raises ValueError for sizes that do not match.
        """
        partitions = compute_partition_centroids(
            target_features, self._weigh(target_softmax), self.settings.partitions, generator
        )
        augmented = compute_centroids(augmented_features, self._weigh(augmented_softmax))
        source = bank.centroids
        if not self.settings.include_background:
            partitions, augmented, source = (c.drop_background() for c in (partitions, augmented, source))
        return multi_partition_contrast(partitions, source, augmented, self.settings)

    def _weigh(self, softmax: Tensor) -> Tensor:
        return softmax if self.settings.gradient_through_weights else softmax.detach()


def multi_partition_contrast(
    partitions: Centroids, source: Centroids, augmented: Centroids, settings: ContrastiveSettings
) -> Dict[str, Tensor]:
    """Equation (3) in its two parts, and the norm term of equation (4), for given centroids.

    partitions: C_p^t, vectors (P, K, D); source: C^s, (K, D); augmented: C~^t, (K, D). Returns scalars: "inter",
    1/P sum_p L(C_p^t, C^s); "intra", 1/P sum_p L(C~^t, C_p^t); "norm", sum_p R(C_p^t), or its mean over p.
    ``settings.partitions`` and ``settings.include_background`` play no part here.
    """
    here, there, copy = (c.find_present(settings.minimum_mass) for c in (partitions, source, augmented))
    equation_2 = partial(
        contrast,
        temperature=settings.temperature,
        positive_in_denominator=settings.positive_in_denominator,
        reduction=settings.reduction,
    )
    norms = centroid_norm_regulariser(
        partitions.vectors, compute_norms(source.vectors), here & there, settings.relative_norm
    )
    return {
        "inter": equation_2(partitions.vectors, source.vectors, here, there).mean(),
        "intra": equation_2(augmented.vectors, partitions.vectors, copy, here).mean(),
        "norm": norms.sum() if settings.norm_over_partitions == "sum" else norms.mean(),
    }


def contrast(
    anchors: Tensor,
    positives: Tensor,
    anchors_present: Tensor,
    positives_present: Tensor,
    temperature: float,
    positive_in_denominator: bool = False,
    reduction: str = "sum",
) -> Tensor:
    """L_contrast(anchors, positives) of equation (2).

    -sum_k log( h(a_k, p_k) / sum_{i != k} [h(a_k, p_i) + h(a_k, a_i)] ), h(u, v) = exp(cos(u, v) / temperature).

    anchors, positives: (..., K, D); anchors_present, positives_present: (..., K) bool; leading dimensions broadcast.
    A class absent on either side is left out as anchor and as negative; with fewer than two classes left the loss is
    exactly 0, still with a graph. ``positive_in_denominator`` adds h(a_k, p_k) to the denominator; without it, as
    printed, the loss may be negative. reduction: "sum" over k, or "mean" over the classes that take part.
    Returns (...), one loss for each leading index, in float32 or float64. Raises ValueError for a temperature or
    reduction out of range.
    """
    _check_temperature(temperature)
    _check_reduction(reduction)
    dtype = torch.promote_types(torch.promote_types(anchors.dtype, positives.dtype), torch.float32)
    anchor_units, positive_units = _scale_to_unit(anchors).to(dtype), _scale_to_unit(positives).to(dtype)
    with torch.autocast(device_type=anchors.device.type, enabled=False):
        across = anchor_units @ positive_units.transpose(-1, -2) / temperature  # log h(a_k, p_i): (..., K, K)
        within = anchor_units @ anchor_units.transpose(-1, -2) / temperature  # log h(a_k, a_i)
    valid = anchors_present & positives_present
    same_class = torch.eye(anchors.shape[-2], dtype=torch.bool, device=anchors.device)
    negative = valid.unsqueeze(-2) & ~same_class
    takes_part = valid & negative.any(-1)
    in_denominator = torch.cat([negative | same_class if positive_in_denominator else negative, negative], dim=-1)
    log_terms = torch.cat([across, within.expand_as(across)], dim=-1).masked_fill(~in_denominator, -math.inf)
    # A row without a single term isn't used, but its -inf must not reach the gradient: any finite number will do.
    log_terms = log_terms.masked_fill(~takes_part.unsqueeze(-1), 0.0)
    losses = torch.logsumexp(log_terms, dim=-1) - across.diagonal(dim1=-2, dim2=-1)
    total = losses.masked_fill(~takes_part, 0.0).sum(-1)
    return total if reduction == "sum" else total / takes_part.sum(-1).clamp(min=1)


def centroid_norm_regulariser(target: Tensor, source_norms: Tensor, present: Tensor, relative: bool = False) -> Tensor:
    """Centroid norm regulariser R = 1/K sum_k (|C_k^t| - |C_k^s|)^2 (CNR, section 2.2).

    target: (..., K, D); source_norms: (K,) or (..., K), > 0 where present; present: (..., K) bool, the K classes that
    count: the others are left out of the sum and of K. relative: each term is divided by |C_k^s|^2 and so does not
    depend on the scale of the features; a class whose source norm is ~ 0 is then left out as well. Returns (...), >= 0,
    in float32 or float64; 0 where no class counts. A zero vector of the target gets no gradient.
    """
    dtype = torch.promote_types(torch.promote_types(target.dtype, source_norms.dtype), torch.float32)
    source_norms = source_norms.to(dtype)
    squares = (compute_norms(target) - source_norms).square()
    if relative:
        present = present & (source_norms > _SMALLEST_NORM)
        squares = squares / source_norms.clamp(min=_SMALLEST_NORM).square()
    total = squares.masked_fill(~present, 0.0).sum(-1)
    return total / present.sum(-1).clamp(min=1)


def compute_norms(vectors: Tensor) -> Tensor:
    """Euclidean norms (..., K) of vectors (..., K, D) in float32 or float64; below 1e-6 they are 0 without gradient."""
    squares = vectors.to(torch.promote_types(vectors.dtype, torch.float32)).square().sum(-1)
    # The square root's slope at 0 is infinite: such vectors are kept out of it.
    long_enough = squares > _SMALLEST_NORM**2
    return torch.where(long_enough, squares, torch.ones_like(squares)).sqrt() * long_enough


def _scale_to_unit(vectors: Tensor) -> Tensor:
    norms = compute_norms(vectors).unsqueeze(-1)
    return torch.where(norms > 0, vectors, torch.zeros_like(vectors)) / torch.where(norms > 0, norms, 1.0)


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"The temperature must be a positive number, got {temperature}.")


def _check_reduction(reduction: str) -> None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"A reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}.")
