"""What goes wrong on scanners and in files, at random: bias, resolution, ghosts, spikes, voids, noise, padding."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from confuda.imaging.blur import gaussian_blur
from confuda.imaging.random_settings import Dice, RandomSettings


def disturb(dice: Dice, images: Tensor, settings: RandomSettings) -> Tensor:
    """What the scanner and the file do to any scan: in turn bias, resolution, ghosts, spikes, voids, noise, padding."""
    count, _, height, width = images.shape
    size = (height, width)
    gamma = torch.exp(dice.per_image(count, -0.6, 0.6) * dice.chance(count, settings.gamma).float())
    images = images.clamp(1e-4, 1.2).pow(gamma)
    bias = torch.exp(dice.per_image(count, 0.05, 0.45) * dice.field(count, 4, size))
    images = torch.where(dice.chance(count, settings.bias_field), images * bias, images)
    coarse = F.interpolate(F.avg_pool2d(images, 2), size=size, mode="bilinear", align_corners=False)
    images = torch.where(dice.chance(count, settings.coarse), coarse, images)
    blurred = gaussian_blur(images, dice.uniform((count,), 0.3, 1.5))
    images = torch.where(dice.chance(count, settings.blur), blurred, images)
    images = _add_ghosts(dice, images, settings)
    images = _add_spikes(dice, images, settings)
    images = _add_voids(dice, images, settings)
    level = dice.per_image(count, 0.0, 0.08) * dice.chance(count, settings.noise).float()
    level = torch.where(dice.chance(count, settings.strong_noise), dice.per_image(count, 0.08, 0.22), level)
    rician = dice.chance(count, 0.5).float()
    grain = torch.stack([dice.normal(tuple(images.shape)) for _ in range(2)])
    # A scanner's interpolation correlates the noise of neighbouring pixels.
    smooth = F.avg_pool2d(grain.flatten(0, 1), 3, 1, 1).reshape(grain.shape) * 2.2
    grain = torch.where(dice.chance(count, 0.5), smooth, grain)
    real, imaginary = images + level * grain[0], rician * level * grain[1]
    images = torch.sqrt(real**2 + imaginary**2 + 1e-12) * rician + real * (1 - rician)
    images = _cut_field_of_view(dice, images, settings.padding)
    return _rescale(dice, images)


def _add_ghosts(dice: Dice, images: Tensor, settings: RandomSettings) -> Tensor:
    """Faint copies along rows or columns, as breathing makes them."""
    count = len(images)
    amount = dice.chance(count, settings.ghosts).float() * dice.per_image(count, 0.1, 0.45)
    along_rows = dice.chance(count, 0.5)
    size = images.shape[2]
    turned = torch.where(along_rows, images, images.transpose(2, 3))
    ghosts = torch.zeros_like(images)
    fraction = 2 + dice.integers((count, 1), 3)
    place = torch.arange(size, device=dice.device)[None]
    for number in (1, 2):
        source = (place - size * number // fraction) % size
        moved = turned.gather(2, source[:, None, :, None].expand_as(turned))
        ghosts = ghosts + moved * dice.per_image(count, 0.3, 1.0)
    ghosts = torch.where(along_rows, ghosts, ghosts.transpose(2, 3))
    return images + amount * ghosts


def _add_spikes(dice: Dice, images: Tensor, settings: RandomSettings) -> Tensor:
    """A stripe pattern: one wrong point of k-space."""
    count, _, height, width = images.shape
    amount = dice.chance(count, settings.spikes).float() * dice.per_image(count, 0.05, 0.3)
    rows = torch.linspace(0, 1, height, device=dice.device)[None, None, :, None]
    columns = torch.linspace(0, 1, width, device=dice.device)[None, None, None, :]
    phase = 2 * math.pi * (dice.per_image(count, 3, 30) * rows + dice.per_image(count, -30, 30) * columns)
    return images + amount * torch.cos(phase + dice.per_image(count, 0, 2 * math.pi))


def _add_voids(dice: Dice, images: Tensor, settings: RandomSettings) -> Tensor:
    """Signal lost around metal, with a bright rim."""
    count, _, height, width = images.shape
    rows = torch.linspace(-1, 1, height, device=dice.device)[None, None, :, None] - dice.per_image(count, -1, 1)
    columns = torch.linspace(-1, 1, width, device=dice.device)[None, None, None, :] - dice.per_image(count, -1, 1)
    distance = torch.sqrt(rows**2 + columns**2) + 0.06 * dice.field(count, 6, (height, width))
    radius = dice.per_image(count, 0.08, 0.4)
    amount = dice.chance(count, settings.voids).float()
    rim = torch.exp(-(((distance - radius) / 0.05) ** 2)) * dice.per_image(count, 0.2, 1.0) * amount
    return images * (1 - amount * torch.sigmoid((radius - distance) * 40)) + rim


def _cut_field_of_view(dice: Dice, images: Tensor, probability: float) -> Tensor:
    """Black beyond a random line, as at the edge of a field of view or of a resampled volume; sometimes two lines."""
    count, _, height, width = images.shape
    rows = torch.linspace(-1, 1, height, device=dice.device)[None, None, :, None]
    columns = torch.linspace(-1, 1, width, device=dice.device)[None, None, None, :]
    for _ in range(2):
        angle = dice.per_image(count, 0, 2 * math.pi)
        # Half of the borders lie along rows or columns, as in most files.
        angle = torch.where(dice.chance(count, 0.5), (angle / (math.pi / 2)).round() * (math.pi / 2), angle)
        beyond = torch.cos(angle) * columns + torch.sin(angle) * rows > dice.per_image(count, 0.3, 1.0)
        images = images.masked_fill(beyond & dice.chance(count, probability / 2), 0.0)
    return images


def _rescale(dice: Dice, images: Tensor) -> Tensor:
    """Min-max between random low and high percentiles of each sample, as another volume's normalisation might do."""
    count = len(images)
    flat = images.reshape(count, -1)
    # Every seventh pixel is enough for a percentile, and sorting is what costs.
    ordered = flat[:, ::7].sort(dim=1).values
    last = ordered.shape[1] - 1
    low = ordered.gather(1, (dice.uniform((count, 1), 0.0, 0.05) * last).long())
    high = ordered.gather(1, (dice.uniform((count, 1), 0.95, 1.0) * last).long())
    return ((flat - low) / (high - low).clamp_min(1e-3)).clamp(0, 1).reshape(images.shape)
