"""From slices to soft labels: the network's answer averaged over flips, and its clean-up."""

from typing import Callable, Iterator, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from confuda.device import compute_in_mixed_precision
from confuda.networks.drunet import DRUNet

ALL_FLIPS: Tuple[Tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
NO_FLIP: Tuple[Tuple[int, ...], ...] = ((),)


@torch.no_grad()
def predict_views(
    network: DRUNet,
    slices: np.ndarray,
    flips: Sequence[Tuple[int, ...]] = ALL_FLIPS,
    batch: int = 16,
    check_cancelled: Optional[Callable[[], None]] = None,
) -> Iterator[Tensor]:
    """Soft labels (K, S, H, W) float32 on the CPU, once for each of ``flips``, turned back into the slices' frame.

    Args:
        network: runs where its parameters are, in evaluation mode.
        slices: (S, H, W) in [0, 1].
        flips: axes of (B, C, H, W) to mirror; each transposes nothing, so that one grid serves all.
    """
    device = next(network.parameters()).device
    images = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32))[:, None].to(device)
    training = network.training
    network.eval()
    try:
        for axes in flips:
            parts = []
            for part in torch.flip(images, axes).split(batch):
                if check_cancelled is not None:
                    check_cancelled()
                with compute_in_mixed_precision(device):
                    logits = network(part.contiguous(memory_format=torch.channels_last))
                parts.append(torch.flip(torch.softmax(logits.float(), dim=1), axes))
            yield torch.cat(parts).transpose(0, 1).cpu()
    finally:
        network.train(training)


def predict_probabilities(
    network: DRUNet,
    slices: np.ndarray,
    flips: Sequence[Tuple[int, ...]] = ALL_FLIPS,
    check_cancelled: Optional[Callable[[], None]] = None,
) -> np.ndarray:
    """The mean of :func:`predict_views`, (K, S, H, W) float32."""
    total: Optional[Tensor] = None
    for view in predict_views(network, slices, flips, check_cancelled=check_cancelled):
        total = view if total is None else total + view
    return (total / len(flips)).numpy()


def clean_up(probabilities: np.ndarray) -> np.ndarray:
    """Soft labels (K, S, H, W) whose largest class is anatomically tidier; the shape of edges is kept.

    The heart is one piece in space, and so is each structure: what lies apart from the largest piece becomes
    background. Holes in the blood pool become blood pool. Slices are neighbours only where pixels touch face to face.
    """
    cleaned = probabilities.copy()
    labels = cleaned.argmax(axis=0)
    heart = _keep_largest(labels > 0)
    _to_class(cleaned, (labels > 0) & ~heart, 0)
    for label in range(1, len(cleaned)):
        mask = (labels == label) & heart
        _to_class(cleaned, mask & ~_keep_largest(mask), 0)
    labels = cleaned.argmax(axis=0)
    for label in (2, 3):
        for number, plane in enumerate(labels == label):
            holes = _fill_holes(plane) & ~plane
            _to_class(cleaned[:, number], holes, label)
    return cleaned


def _to_class(probabilities: np.ndarray, where: np.ndarray, label: int) -> None:
    probabilities[:, where] = 0.0
    probabilities[label, where] = 1.0


def _keep_largest(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return mask
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    return sitk.GetArrayViewFromImage(sitk.RelabelComponent(pieces, sortByObjectSize=True)) == 1


def _fill_holes(plane: np.ndarray) -> np.ndarray:
    if not plane.any():
        return plane
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(plane.astype(np.uint8)))).astype(bool)
