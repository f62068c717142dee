"""Tissue style: each class of a labelled source image takes its intensities from the target's confident pixels of that
class. RAIN applies one style to the whole image; this lets blood become bright and muscle dark at the same time.
"""

import math

import torch
from torch import Tensor

from confuda.imaging.random_contrast import soften_labels
from confuda.imaging.random_settings import Dice

QUANTILES = 33
LEAST_PIXELS = 20
"""Of a class in an image, for its own intensities to be known."""


class TissueStyle:
    """The intensity distribution of each class in a target.

    Args:
        images: (B, H, W) in [0, 1]; probabilities: (B, K, H, W); confidence: pixels whose class reaches it count.
        least_pixels: a class with fewer confident pixels has no style, and keeps the source's intensities.
    """

    def __init__(self, images: Tensor, probabilities: Tensor, confidence: float, least_pixels: int = 50) -> None:
        best, label = probabilities.max(dim=1)
        self.levels = torch.linspace(0, 1, QUANTILES, device=images.device)
        self.quantiles = []
        for number in range(probabilities.shape[1]):
            inside = images[(label == number) & (best >= confidence) & (images > 0)]
            enough = inside.numel() >= least_pixels
            self.quantiles.append(torch.quantile(_thin_out(inside), self.levels) if enough else None)

    def apply(self, dice: Dice, images: Tensor, labels: Tensor) -> Tensor:
        """``images`` (B, C, H, W) in [0, 1] with ``labels`` (B, C, H, W) in this style, varied a little at random
        for each class of a sample."""
        soft = soften_labels(dice, labels)
        styled = torch.zeros_like(images)
        for number, target in enumerate(self.quantiles):
            gain, shift = 1 + 0.15 * dice.normal((len(images), 1, 1, 1)), 0.04 * dice.normal((len(images), 1, 1, 1))
            mapped = images
            if target is not None:
                mapped = self._take_levels(images, (labels == number) & (images > 0), target, gain, shift)
            styled += soft[:, number] * mapped
        return styled.clamp(0, 1)

    def _take_levels(self, images: Tensor, inside: Tensor, target: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """Images (B, C, H, W) whose pixels ``inside`` get the quantiles ``target``, widened by ``gain`` and moved by
        ``shift`` (B, 1, 1, 1); all pixels follow. An image with hardly a pixel inside stays as it is."""
        # No shape depends on how many are inside: a GPU would be waited for to find out.
        values = _thin_out(images.masked_fill(~inside, math.nan).flatten(1))
        own = torch.nanquantile(values, self.levels, dim=1).T.contiguous()
        middle = target[QUANTILES // 2]
        mapped = middle + gain * (_map_quantiles(images, own, target) - middle) + shift
        return torch.where(inside.sum((1, 2, 3), keepdim=True) >= LEAST_PIXELS, mapped, images)


def _thin_out(values: Tensor, most: int = 100_000) -> Tensor:
    """Every n-th value of the last dimension, where there are more than a quantile needs."""
    return values[..., :: max(1, values.shape[-1] // most)]


def _map_quantiles(images: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The piecewise linear map of each image (B, C, H, W) that takes its quantiles ``source`` (B, Q) to ``target``
    (Q,), constant beyond their ends."""
    values = images.flatten(1)
    right = torch.searchsorted(source, values).clamp(1, source.shape[1] - 1)
    low, high = source.gather(1, right - 1), source.gather(1, right)
    share = ((values - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return torch.lerp(target[right - 1], target[right], share).reshape(images.shape)
