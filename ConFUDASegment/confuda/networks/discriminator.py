"""The fully convolutional discriminator of output-space adaptation (AdaptSeg, section 4; AdvEnt uses the same)."""

from typing import List

from torch import Tensor, nn

DEPTH = 5


class Discriminator(nn.Module):
    """Five 4x4 convolutions of stride 2 with LeakyReLU 0.2 between them; no normalisation, so that neither the number
    of maps nor their company matters.

    Args:
        channels: channels of a map, the number of classes.
        width: channels after the first convolution, doubled by each of the next three (64, 128, 256, 512 as published).
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        widths = [channels, *(width * 2**depth for depth in range(DEPTH - 1)), 1]
        layers: List[nn.Module] = []
        for channels_in, channels_out in zip(widths[:-1], widths[1:]):
            layers += [nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> Tensor:
        """Logits (B, 1, H/32, W/32), greater than 0 where ``maps`` (B, channels, H, W) look like the source's; H and W
        are at least 32."""
        return self.layers(maps)
