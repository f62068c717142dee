"""Pixel-wise contrastive loss: InfoNCE over all pairs of pixels, the loss whose memory ConFUDA sets out to avoid.

No method here trains with it: it is what ``confuda benchmark cost`` measures the others against.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

_SIMILARITY_COPIES = 3
"""Matrices of all pairs that are alive at the worst moment, in the backward pass of the cross-entropy: the logarithm of
the softmax, and the gradients on both sides of it."""


def contrast_pixels(features: Tensor, counterparts: Tensor, temperature: float) -> Tensor:
    """Contrast each pixel with all others of its image and of the counterpart; mean over pixels and images.

    InfoNCE (van den Oord et al., 2018) in the symmetric form of NT-Xent (Chen et al., ICML 2020) with the pixels of a
    dense feature map as the samples (Xie et al., "Propagate yourself", CVPR 2021, section 3.1; Wang et al., "Exploring
    cross-image pixel contrast", ICCV 2021): of an anchor, in either image, the positive is the same coordinate in the
    other image, and the negatives are all other coordinates in both. This is the unsupervised form in which ConFUDA
    describes BlockCL (section 1), with the whole image as the only block.

    features, counterparts: (B, D, H, W), aligned pixel by pixel; temperature: tau > 0. Time and memory grow with
    B * (2*H*W)^2: see :func:`estimate_pixel_contrast_bytes` before calling it. Returns a scalar >= 0 in float32 or
    float64. Raises ValueError for sizes that do not match or a temperature out of range.
    """
    if features.dim() != 4 or features.shape != counterparts.shape:
        raise ValueError(
            f"Features and counterparts (B, D, H, W) must cover the same pixels, got {tuple(features.shape)} and "
            f"{tuple(counterparts.shape)}."
        )
    if not temperature > 0:
        raise ValueError(f"The temperature must be a positive number, got {temperature}.")
    dtype = torch.promote_types(torch.promote_types(features.dtype, counterparts.dtype), torch.float32)
    here, there = (
        functional.normalize(image.to(dtype), dim=1, eps=1e-6).flatten(2).transpose(1, 2)
        for image in (features, counterparts)
    )  # (B, n, D)
    both = torch.cat([here, there], dim=1)
    with torch.autocast(device_type=features.device.type, enabled=False):
        # The temperature goes to the smaller factor: dividing the product would cost another matrix of all pairs.
        logits = (both / temperature) @ both.transpose(1, 2)  # (B, 2n, 2n)
    # No pixel is its own negative. In place: this is by far the largest tensor.
    logits.diagonal(dim1=1, dim2=2).fill_(-math.inf)
    counterpart = torch.arange(both.shape[1], device=both.device).roll(here.shape[1])
    return functional.cross_entropy(logits.flatten(0, 1), counterpart.repeat(len(both)))


def estimate_pixel_contrast_bytes(images: int, height: int, width: int, itemsize: int = 4) -> int:
    """Bytes that one step of :func:`contrast_pixels`, forward and backward, must hold at one time, at least.

    Counts the matrices of all pairs alone; itemsize: bytes of a number.
    """
    return _SIMILARITY_COPIES * images * (2 * height * width) ** 2 * itemsize
