"""Tissue style: each class of a labelled source image takes its intensities from the target's confident pixels of that
class. RAIN applies one style to the whole image; this lets blood become bright and muscle dark at the same time.
"""

import torch
from torch import Tensor

from confuda.imaging.random_contrast import soften_labels
from confuda.imaging.random_settings import Dice

QUANTILES = 33


class TissueStyle:
    """The intensity distribution of each class in a target.

    Args:
        images: (B, H, W) in [0, 1]; probabilities: (B, K, H, W); confidence: pixels whose class reaches it count.
        least_pixels: a class with fewer confident pixels has no style, and keeps the source's intensities.
    """

    def __init__(self, images: Tensor, probabilities: Tensor, confidence: float, least_pixels: int = 50) -> None:
        best, label = probabilities.max(dim=1)
        self.levels = torch.linspace(0, 1, QUANTILES)
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
            for item, image in enumerate(images):
                gain, shift = 1 + 0.15 * dice.normal(()), 0.04 * dice.normal(())
                inside = image[(labels[item] == number) & (image > 0)]
                mapped = image
                if target is not None and inside.numel() >= 20:
                    mapped = _map_quantiles(image, torch.quantile(_thin_out(inside), self.levels), target)
                    middle = target[QUANTILES // 2]
                    mapped = middle + gain * (mapped - middle) + shift
                styled[item] += soft[item, number] * mapped
        return styled.clamp(0, 1)


def _thin_out(values: Tensor, most: int = 100_000) -> Tensor:
    """Every n-th value, where there are more than a quantile needs."""
    return values[:: max(1, values.numel() // most)]


def _map_quantiles(image: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The piecewise linear map that takes quantiles ``source`` to quantiles ``target``, constant beyond their ends."""
    right = torch.searchsorted(source.contiguous(), image.contiguous()).clamp(1, len(source) - 1)
    low, high = source[right - 1], source[right]
    share = ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return torch.lerp(target[right - 1], target[right], share)
