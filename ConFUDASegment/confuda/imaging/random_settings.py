"""What is drawn at random for training slices, how often, and where the random numbers come from."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class RandomSettings:
    """Probabilities and ranges. Lengths are in mm, angles in degrees.

    plain_share: share of the samples that keep their contrast, with mild changes. scale: range of magnification, which
    also stands for hearts of other sizes and for wrong spacings. misalignment_mm: standard deviation of the shift
    between neighbouring slices (breath holds).
    """

    rotation: float = 180.0
    scale: Tuple[float, float] = (0.7, 1.4)
    shear: float = 0.1
    shift_mm: float = 22.0
    far_shift_mm: float = 62.0
    far_shift: float = 0.12
    elastic_mm: float = 3.5
    misalignment_mm: float = 1.5
    partial_volume: float = 0.1
    plain_share: float = 0.4
    intensity_map: float = 0.35
    random_network: float = 0.3
    background_map: float = 0.35
    class_contrast: float = 0.65
    late_enhancement: float = 0.5
    black_blood: float = 0.25
    scar: float = 0.85
    endocardial_scar: float = 0.75
    dark_core: float = 0.35
    blooming: float = 0.85
    strongest_blooming: float = 3.5
    slow_flow: float = 0.3
    gamma: float = 0.5
    bias_field: float = 0.5
    coarse: float = 0.15
    blur: float = 0.3
    noise: float = 0.5
    strong_noise: float = 0.06
    ghosts: float = 0.06
    spikes: float = 0.03
    voids: float = 0.04
    padding: float = 0.25


class Dice:
    """Draws random numbers with a generator, and gives them on ``device``, by default the generator's own.

    Those of a generator on the CPU are the same whatever the device: what they make differs by rounding alone, and a
    run that began on one device can go on on another.
    """

    def __init__(self, generator: torch.Generator, device: Optional[torch.device] = None) -> None:
        self.generator = generator
        self.device = generator.device if device is None else device

    def uniform(self, shape: Tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn.to(self.device)

    def normal(self, shape: Tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device).to(self.device)

    def chance(self, count: int, probability: float) -> Tensor:
        """(B, 1, 1, 1) bool."""
        return self.uniform((count, 1, 1, 1)) < probability

    def per_image(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, 1, 1, 1)."""
        return self.uniform((count, 1, 1, 1), low, high)

    def integers(self, shape: Tuple[int, ...], high: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.generator.device).to(self.device)

    def field(self, count: int, cells: int, size: Sequence[int], channels: int = 1) -> Tensor:
        """Smooth field (B, channels, H, W) of about unit variance with ``cells`` bumps across."""
        coarse = self.normal((count, channels, cells, cells))
        return F.interpolate(coarse, size=tuple(size), mode="bicubic", align_corners=True)
