"""The game between segmenter and discriminator: the maps it is played on, and the domain loss of both sides."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def compute_softmax_maps(logits: Tensor) -> Tensor:
    """Softmax over the classes, (B, K, H, W) like ``logits``, in float32 or float64: AdaptSeg's maps."""
    return torch.softmax(logits.to(_precise_dtype(logits)), dim=1)


def compute_information_maps(logits: Tensor) -> Tensor:
    """Weighted self-information -p log p / log K of each class: AdvEnt's maps (Vu et al., 2019, section 3.2).

    logits: (B, K, H, W), K >= 2. Returns the same shape in float32 or float64, >= 0; the sum over the classes is the
    normalised entropy, 0 for a certain pixel and 1 where all classes are equally likely.
    """
    # By log_softmax, since p log p of a p that has become 0 would be NaN.
    log_probabilities = functional.log_softmax(logits.to(_precise_dtype(logits)), dim=1)
    return -log_probabilities.exp() * log_probabilities / math.log(logits.shape[1])


def compute_domain_loss(scores: Tensor, from_source: bool) -> Tensor:
    """Mean binary cross-entropy of a discriminator's logits (any shape) against one domain; a scalar >= 0.

    from_source: the answer that counts as right, "source" (logits above 0) or "target".
    """
    right = torch.ones_like(scores) if from_source else torch.zeros_like(scores)
    return functional.binary_cross_entropy_with_logits(scores, right)


def _precise_dtype(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
