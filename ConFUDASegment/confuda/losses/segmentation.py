"""L_Seg of the paper's equation (4): cross-entropy plus Jaccard, on source and stylised source images."""

from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional

from .labels import encode_labels

_EMPTY_MASS = 1e-6  # pixels: less than this is nothing at all


def compute_segmentation_loss(logits: Tensor, labels: Tensor, pixel_weights: Optional[Tensor] = None) -> Tensor:
    """Cross-entropy plus soft Jaccard loss (L_Seg of equation (4), ConFUDA).

    logits: (B, K, H, W), any floating type; labels: (B, H, W) int64 in 0..K-1; pixel_weights: (B, H, W) in [0, 1],
    for instance 1 where a pseudo-label is trusted and 0 elsewhere, or None for all ones. Pixels of weight 0 have no
    influence; the cross-entropy is the mean over the weight. Returns a scalar >= 0 in float32 (float64 for float64
    logits), exactly 0 with zero gradient when all weights are 0. Raises ValueError for shapes that do not belong
    together and for labels out of range.
    """
    if logits.dim() != 4 or logits.shape[:1] + logits.shape[2:] != labels.shape:
        raise ValueError(
            f"Logits (B, K, H, W) and labels (B, H, W) do not match: {tuple(logits.shape)}, {tuple(labels.shape)}."
        )
    if pixel_weights is not None and pixel_weights.shape != labels.shape:
        raise ValueError(
            f"Pixel weights must have the labels' shape {tuple(labels.shape)}, got {tuple(pixel_weights.shape)}."
        )
    # Sums over an image overflow in half precision and lose the small classes in bfloat16.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    log_probabilities = functional.log_softmax(logits.to(dtype), dim=1)
    one_hot = encode_labels(labels, logits.shape[1], dtype)
    weights = torch.ones_like(one_hot[:, 0]) if pixel_weights is None else pixel_weights.to(dtype)
    cross_entropy = functional.nll_loss(log_probabilities, labels, reduction="none")
    mean_cross_entropy = (weights * cross_entropy).sum() / weights.sum().clamp(min=_EMPTY_MASS)
    return mean_cross_entropy + compute_jaccard_loss(log_probabilities.exp(), one_hot, weights)


def compute_jaccard_loss(probabilities: Tensor, one_hot: Tensor, pixel_weights: Tensor) -> Tensor:
    """Soft Jaccard loss: 1 - intersection / union per class over the whole batch, then the mean of the classes.

    probabilities, one_hot: (B, K, H, W) in [0, 1]; pixel_weights: (B, H, W) in [0, 1]; all float32 or float64.
    Returns a scalar in [0, 1]. A class without a labelled pixel of weight in the batch is left out of the mean: its
    ratio would be 0 whatever the network says, a constant that only weakens the other classes. It then has no pull
    here, and its false positives are the cross-entropy's business. No class at all gives 0.
    """
    weights = pixel_weights.unsqueeze(1)
    over_batch = (0, 2, 3)
    labelled = (weights * one_hot).sum(over_batch)
    intersection = (weights * probabilities * one_hot).sum(over_batch)
    union = (weights * probabilities).sum(over_batch) + labelled - intersection
    present = labelled > _EMPTY_MASS
    ratio = intersection / torch.where(present, union, torch.ones_like(union))
    return torch.where(present, 1.0 - ratio, torch.zeros_like(ratio)).sum() / present.sum().clamp(min=1)
