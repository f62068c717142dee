"""Label maps as one channel a class, the form in which the losses take the labels of source images."""

import torch
from torch import Tensor


def encode_labels(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Give each class of a label map its own channel of zeros and ones (y_k in the paper's equation (1)).

    labels: (B, H, W) int64 in 0..classes-1. Returns (B, classes, H, W) of ``dtype``, on the labels' device.
    Raises ValueError for labels of another type, number of dimensions or range. Only on the CPU is the range looked at:
    a GPU would have to be waited for, and its kernel refuses such labels by itself.
    """
    if labels.dim() != 3 or labels.dtype != torch.int64:
        raise ValueError(f"Labels must be int64 of shape (B, H, W), got {labels.dtype} of {tuple(labels.shape)}.")
    if labels.device.type == "cpu" and labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise ValueError(
            f"Labels must lie in 0..{classes - 1}, found {int(labels.min())}..{int(labels.max())}: "
            "map the data set's own label values to classes first."
        )
    batch, height, width = labels.shape
    # scatter_ rather than one_hot, which would first build the channels in int64.
    channels = torch.zeros(batch, classes, height, width, dtype=dtype, device=labels.device)
    return channels.scatter_(1, labels.unsqueeze(1), 1.0)
