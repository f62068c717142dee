"""Block contrastive loss on pixels (Hu et al., MICCAI 2021, unsupervised form): InfoNCE inside each block."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_FEWEST_COORDINATES = 2  # a block with a single coordinate has no negative


def contrast_blocks(
    features: Tensor, counterparts: Tensor, inside: Tensor, block_size: int, temperature: float
) -> Tensor:
    """Contrast each pixel with the others of its block, in the image and in its counterpart; mean over the blocks.

    Of an anchor, in either image, the positive is the same coordinate in the other image; the negatives are all other
    coordinates of the block in both images. As in NT-Xent, -log of exp(cos / tau) of the positive over its sum with
    those of the negatives; mean over the anchors of a block, then over the blocks.

    features, counterparts: (B, D, H, W), aligned pixel by pixel; inside: (B, H, W) bool, False for pixels that only one
    of the images has: neither anchors nor negatives; block_size: side of a block in pixels, >= 1 (blocks at the right
    and lower border may be smaller); temperature: tau > 0. Memory grows with B*H*W * 4*block_size^2. Returns a scalar
    >= 0 in float32 or float64; exactly 0, with a graph, where no block has two pixels inside. Raises ValueError for
    sizes that do not match or values out of range.
    """
    if features.dim() != 4 or features.shape != counterparts.shape or inside.shape != features[:, 0].shape:
        raise ValueError(
            f"Features and counterparts (B, D, H, W) and inside (B, H, W) must cover the same pixels, got "
            f"{tuple(features.shape)}, {tuple(counterparts.shape)} and {tuple(inside.shape)}."
        )
    if block_size < 1 or not temperature > 0:
        raise ValueError(f"Block size and temperature must be positive, got {block_size} and {temperature}.")
    places = _cut_into_blocks(inside.unsqueeze(1), block_size).squeeze(-1)  # (N, n)
    usable = places.sum(1) >= _FEWEST_COORDINATES
    dtype = torch.promote_types(torch.promote_types(features.dtype, counterparts.dtype), torch.float32)
    units = (functional.normalize(image.to(dtype), dim=1, eps=1e-6) for image in (features, counterparts))
    here, there = (_cut_into_blocks(image, block_size) for image in units)  # (N, n, D)
    # Blocks that cannot be used are counted out in the end: to pick the others, a GPU would have to be waited for.
    both, counts = torch.cat([here, there], dim=1), (places & usable.unsqueeze(1)).repeat(1, 2)
    with torch.autocast(device_type=features.device.type, enabled=False):
        logits = both @ both.transpose(1, 2) / temperature  # (N, 2n, 2n)
    itself = torch.eye(both.shape[1], dtype=torch.bool, device=both.device)
    # In place: this is by far the largest tensor.
    others = torch.logsumexp(logits.masked_fill_(itself | ~counts.unsqueeze(1), -math.inf), dim=2)
    positive = ((here * there).sum(2) / temperature).repeat(1, 2)
    losses = (others - positive).masked_fill(~counts, 0.0)
    return (losses.sum(1) / counts.sum(1).clamp(min=1)).sum() / usable.sum().clamp(min=1)


def _cut_into_blocks(image: Tensor, size: int) -> Tensor:
    """(B, C, H, W) as blocks (N, size * size, C) of pixels; what the last ones lack is filled with 0 (False)."""
    batch, channels, height, width = image.shape
    padded = functional.pad(image, (0, -width % size, 0, -height % size))
    rows, columns = padded.shape[2] // size, padded.shape[3] // size
    blocks = padded.reshape(batch, channels, rows, size, columns, size)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(batch * rows * columns, size * size, channels)
