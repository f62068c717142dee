"""Gaussian blur of a batch, each sample with a width of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each sample (B, C, H, W) with its own ``sigma`` (B,) in pixels; all channels alike."""
    count, channels, height, width = images.shape
    radius = 4
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets[None] / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = images.reshape(1, count * channels, height, width)
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), "replicate"), kernel[:, None, :, None], groups=count * channels)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), "replicate"), kernel[:, None, None, :], groups=count * channels)
    return flat.reshape(images.shape)
