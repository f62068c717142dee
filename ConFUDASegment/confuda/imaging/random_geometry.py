"""Random motion of training samples: one drawing for all channels of a sample, for images and labels alike."""

import math
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from confuda.imaging.random_settings import Dice, RandomSettings


def draw_grid(
    dice: Dice,
    count: int,
    channels: int,
    window: int,
    size: int,
    spacings: Tuple[float, float],
    settings: RandomSettings,
) -> Tensor:
    """Sampling grids (B * C, size, size, 2) for windows of ``window`` pixels.

    spacings: side of a pixel of the crop and of the window, in mm. The channels of a sample share one motion, but for
    the misalignment of the neighbours.
    """
    crop_mm, window_mm = spacings
    angle = dice.uniform((count,), -settings.rotation, settings.rotation) * (math.pi / 180)
    scale = torch.exp(dice.uniform((count,), math.log(settings.scale[0]), math.log(settings.scale[1])))
    # Most hearts have their true size; the far ends of the range are for wrong spacings.
    scale = torch.where(dice.uniform((count,)) < 0.5, scale.pow(0.4), scale)
    stretch = torch.exp(dice.uniform((count,), -settings.shear, settings.shear))
    shear = dice.uniform((count,), -settings.shear, settings.shear)
    mirror = torch.where(dice.uniform((count,)) < 0.5, -1.0, 1.0)
    shift = dice.uniform((count, 2), -settings.shift_mm, settings.shift_mm)
    far = dice.uniform((count, 2), -settings.far_shift_mm, settings.far_shift_mm)
    shift = torch.where(dice.uniform((count, 1)) < settings.far_shift, far, shift)

    axis = (torch.arange(size, dtype=torch.float32, device=dice.device) - (size - 1) / 2) * crop_mm
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    bumps = dice.field(count, 5, (size, size), 2) * (settings.elastic_mm * dice.per_image(count))
    x = columns[None] + shift[:, 0, None, None] + bumps[:, 0]
    y = rows[None] + shift[:, 1, None, None] + bumps[:, 1]
    x = (x + shear[:, None, None] * y) * (stretch / scale * mirror)[:, None, None]
    y = y / (stretch * scale)[:, None, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)[:, None]
    slip = dice.normal((count, channels, 1, 1, 2)) * settings.misalignment_mm
    slip[:, channels // 2] = 0
    return ((grid + slip) * (2 / (window * window_mm))).flatten(0, 1)


def warp(images: Tensor, grid: Tensor) -> Tensor:
    """Images (B, C, H, W) linearly at ``grid`` (B * C, h, w, 2); zero outside."""
    moved = F.grid_sample(images.flatten(0, 1)[:, None], grid, "bilinear", "zeros", align_corners=False)
    return moved.reshape(*images.shape[:2], *grid.shape[1:3])


def warp_labels(labels: Tensor, grid: Tensor) -> Tensor:
    """Labels (B, C, H, W) by the nearest at ``grid`` (B * C, h, w, 2); 0 outside."""
    moved = F.grid_sample(labels.flatten(0, 1)[:, None].float(), grid, "nearest", "zeros", align_corners=False)
    return moved.reshape(*labels.shape[:2], *grid.shape[1:3]).round().long()
