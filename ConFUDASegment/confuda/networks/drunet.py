"""DR-UNet, the dilated residual U-Net that every method here shares (ConFUDA, section 3)."""

from typing import Callable, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

LEVELS = 4
BOTTLENECK_DILATIONS = (1, 2, 4, 8)
DOWNSAMPLING = 2**LEVELS
"""Height and width of an input must be multiples of this."""

_NORMALISATIONS: Dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "group": lambda channels: nn.GroupNorm(max(1, channels // 8), channels),
}


def _conv_block(channels_in: int, channels_out: int, normalisation: str) -> nn.Sequential:
    """3x3 convolution, LeakyReLU, normalisation: the published order."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.LeakyReLU(0.01, inplace=True),
        _NORMALISATIONS[normalisation](channels_out),
    )


class EncoderLevel(nn.Module):
    """Two convolution blocks; from the second level on the level's input is joined to its output by a 1x1
    convolution."""

    def __init__(self, channels_in: int, channels_out: int, normalisation: str, residual: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _conv_block(channels_in, channels_out, normalisation),
            _conv_block(channels_out, channels_out, normalisation),
        )
        self.join = nn.Conv2d(channels_in + channels_out, channels_out, 1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.blocks(x)
        if self.join is None:
            return out
        return self.join(torch.cat([out, x], dim=1))


class DilatedBottleneck(nn.Module):
    """3x3 convolutions in a row with growing dilation, their outputs summed."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels_in if i == 0 else channels_out, channels_out, 3, padding=d, dilation=d)
            for i, d in enumerate(BOTTLENECK_DILATIONS)
        )
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.convolutions
        total = x = self.activation(first(x))
        for convolution in others:
            x = self.activation(convolution(x))
            total = total + x
        return total


class DecoderLevel(nn.Module):
    """Nearest-neighbour upsampling and a 3x3 convolution, the encoder's skip, two convolution blocks."""

    def __init__(self, channels_in: int, channels_out: int, normalisation: str) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.LeakyReLU(0.01, inplace=True),
        )
        self.blocks = nn.Sequential(
            _conv_block(2 * channels_out, channels_out, normalisation),
            _conv_block(channels_out, channels_out, normalisation),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.blocks(torch.cat([self.up(x), skip], dim=1))


class DRUNet(nn.Module):
    """E, D and Cls of the paper in one module: ``features = D(E(x))``, ``logits = Cls(features)``.

    Args:
        channels: channels of an input image (the published build has 3, all alike; ours 1, or a slice between its
            neighbours).
        classes: number of classes with the background.
        width: channels of the first level and of ``features`` (the published build has 32).
        widths: channels of all levels, the first of them ``width``; each doubles the last where nothing is said.
        bottleneck: channels of the bottleneck; twice those of the last level where nothing is said.
        normalisation: ``"batch"`` as published, ``"instance"`` or ``"group"`` (of 8 channels; independent of the
            batch).
        standardise: bring each image to zero mean and unit variance first, so that its scale does not matter.

    Raises:
        ValueError: for an unknown normalisation, or widths that do not fit.
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 4,
        width: int = 16,
        normalisation: str = "group",
        standardise: bool = True,
        widths: Optional[Sequence[int]] = None,
        bottleneck: Optional[int] = None,
    ) -> None:
        super().__init__()
        if normalisation not in _NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {sorted(_NORMALISATIONS)}, not {normalisation!r}")
        self.standardise = standardise
        self.channels = channels
        widths = list(widths) if widths is not None else [width * 2**level for level in range(LEVELS)]
        if len(widths) != LEVELS or widths[0] != width:
            raise ValueError(f"widths must be {LEVELS} numbers that begin with the width {width}, not {widths}")
        deepest = bottleneck if bottleneck is not None else 2 * widths[-1]
        self.encoder = nn.ModuleList(
            EncoderLevel(channels if level == 0 else widths[level - 1], w, normalisation, residual=level > 0)
            for level, w in enumerate(widths)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = DilatedBottleneck(widths[-1], deepest)
        below = [*widths[1:], deepest]
        self.decoder = nn.ModuleList(
            DecoderLevel(wide, w, normalisation) for wide, w in zip(reversed(below), reversed(widths))
        )
        self.classifier = nn.Conv2d(width, classes, 1)

    def encode(self, images: Tensor) -> List[Tensor]:
        """The skips of the four levels, shallow first, and the bottleneck feature last."""
        features = []
        x = images
        if self.standardise:
            deviation, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True, correction=0)
            x = (x - mean) / (deviation + 1e-3)
        for level in self.encoder:
            x = level(x)
            features.append(x)
            x = self.pool(x)
        features.append(self.bottleneck(x))
        return features

    def decode(self, features: List[Tensor]) -> Tensor:
        """The full-resolution feature F = D(E(x)), (B, width, H, W), that the contrastive terms work on."""
        x = features[-1]
        for level, skip in zip(self.decoder, reversed(features[:-1])):
            x = level(x, skip)
        return x

    def features(self, images: Tensor) -> Tensor:
        """F = D(E(x)) of ``images`` (B, channels, H, W), H and W multiples of 16."""
        return self.decode(self.encode(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of ``images`` (B, channels, H, W), H and W multiples of 16."""
        return self.classifier(self.features(images))
