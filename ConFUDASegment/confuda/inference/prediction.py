"""From slices to soft labels: the network's answer in several views, and its clean-up."""

from itertools import combinations
from typing import Callable, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from confuda.device import compute_in_mixed_precision, release_memory
from confuda.errors import is_out_of_memory
from confuda.imaging.neighbours import count_offset, join_neighbours
from confuda.labels import CLASS_NAMES, STRUCTURES
from confuda.measure.overlap import measure_dice
from confuda.networks.drunet import DRUNet


class View(NamedTuple):
    """A way to look at slices (B, C, H, W): rows and columns swapped first where ``transposed``, then mirrored along
    the axes ``mirrored``."""

    transposed: bool = False
    mirrored: Tuple[int, ...] = ()


NO_FLIP = (View(),)
ALL_FLIPS = tuple(View(False, axes) for axes in ((), (2,), (3,), (2, 3)))
ALL_VIEWS = ALL_FLIPS + tuple(View(True, axes) for axes in ((), (2,), (3,), (2, 3)))
"""All eight symmetries of a square: the network was trained on hearts in every direction, so all are equally good."""


class Predictor:
    """From the slices of a stack to soft labels: everything that asks a network about images does it here.

    Args:
        network: is asked where its parameters are, in evaluation mode.
        class_weights: what its soft labels are multiplied by, see :func:`weigh_classes`; none by default.
        check_cancelled: called before each batch; may raise Cancelled.
        slice_distance_mm: between neighbouring slices; it decides which neighbours a network is shown that asks for
            them.
        views: those whose mean is the answer about a volume.
        scar_weights: what comes on top of the class weights where a volume shows bright scar; see
            ``confuda.inference.scar_weights``.
    """

    def __init__(
        self,
        network: DRUNet,
        class_weights: Optional[Sequence[float]] = None,
        check_cancelled: Optional[Callable[[], None]] = None,
        slice_distance_mm: Optional[float] = None,
        views: Sequence[View] = ALL_VIEWS,
        scar_weights: Optional[Sequence[float]] = None,
    ) -> None:
        self.network = network
        self.views = views
        self.offset = count_offset(slice_distance_mm) if slice_distance_mm is not None else 1
        self.class_weights = [1.0] * len(CLASS_NAMES) if class_weights is None else class_weights
        self.scar_weights = [1.0] * len(CLASS_NAMES) if scar_weights is None else scar_weights
        self._check_cancelled = check_cancelled

    @torch.no_grad()
    def predict_views(
        self,
        slices: np.ndarray,
        views: Sequence[View] = ALL_FLIPS,
        chosen: Optional[np.ndarray] = None,
        batch: int = 16,
    ) -> Iterator[Tensor]:
        """Soft labels (K, S, H, W) float32 on the CPU, not weighed, once for each of ``views``, turned back into the
        slices' frame.

        Args:
            slices: (S, H, W) in [0, 1], neighbours in the heart side by side; or samples (S, C, H, W) as
                :func:`confuda.imaging.neighbours.join_neighbours` makes them.
            views: a transposed one needs H = W.
            chosen: numbers of the slices to answer for; all of them by default.
            batch: images that go through the network at a time.
        """
        device = next(self.network.parameters()).device
        images = self._make_inputs(slices, chosen).to(device)
        training = self.network.training
        self.network.eval()
        try:
            for view in views:
                parts = []
                seen = images.transpose(2, 3) if view.transposed else images
                for part in torch.flip(seen, view.mirrored).split(batch):
                    parts.append(torch.flip(self._predict_part(part), view.mirrored))
                whole = torch.cat(parts)
                whole = whole.transpose(2, 3) if view.transposed else whole
                yield whole.transpose(0, 1).cpu()
        finally:
            self.network.train(training)

    def predict(
        self, slices: np.ndarray, views: Sequence[View] = ALL_FLIPS, chosen: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """The mean of :meth:`predict_views`, (K, S, H, W) float32."""
        total: Optional[Tensor] = None
        for view in self.predict_views(slices, views, chosen):
            total = view if total is None else total + view
        if total is None:
            raise ValueError("at least one view is needed")
        return (total / len(views)).numpy()

    def weigh(self, probabilities: np.ndarray) -> np.ndarray:
        """Soft labels (K, ...) after :func:`weigh_classes`."""
        return weigh_classes(probabilities, self.class_weights)

    def _make_inputs(self, slices: np.ndarray, chosen: Optional[np.ndarray]) -> Tensor:
        """What the network is shown for each of the chosen slices, (B, C, H, W)."""
        samples = slices if slices.ndim == 4 else join_neighbours(slices, self.network.channels, self.offset)
        shown = samples if chosen is None else samples[chosen]
        return torch.from_numpy(np.ascontiguousarray(shown, dtype=np.float32))

    def _predict_part(self, part: Tensor) -> Tensor:
        """Soft labels (B, K, H, W) of images (B, C, H, W); where memory does not suffice for all, half at a time."""
        if self._check_cancelled is not None:
            self._check_cancelled()
        try:
            with compute_in_mixed_precision(part.device):
                logits = self.network(part.contiguous(memory_format=torch.channels_last))
            return torch.softmax(logits.float(), dim=1)
        except (MemoryError, RuntimeError) as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
        # After the except clause, since its error keeps alive what the attempt had allocated.
        release_memory()
        halves = part.split((len(part) + 1) // 2)
        return torch.cat([self._predict_part(half) for half in halves])


def weigh_classes(probabilities: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Soft labels (K, ...) times ``weights`` (K,), made to sum to one again.

    With a bundle's weights classes that its network marks too rarely on unknown sequences are marked more often.
    """
    weighted = probabilities * np.asarray(weights, np.float32).reshape(-1, *[1] * (probabilities.ndim - 1))
    return weighted / weighted.sum(axis=0, keepdims=True)


def compute_entropy(probabilities: np.ndarray, least: float = float(np.finfo(np.float32).tiny)) -> np.ndarray:
    """Shannon entropy of soft labels (K, ...), as a share of the largest one: 0 (sure) to 1 (all classes alike).

    least: what a probability counts at least inside the logarithm.
    """
    logs = np.log(np.maximum(probabilities, least))
    return np.clip(-(probabilities * logs).sum(axis=0) / np.log(len(probabilities)), 0.0, 1.0)


REACH_MM = 15.0
"""Distance at which a neighbouring slice counts 1/e of a pixel's own, where the pixel is in doubt."""

FULL_DOUBT = 0.6
"""Entropy from which a pixel is fully in doubt."""

LEAST_PROBABILITY = 1e-3
"""The least that a class counts in the geometric mean, so that no slice can rule out a class in another one."""


def consult_neighbours(probabilities: np.ndarray, distance_mm: float) -> np.ndarray:
    """Soft labels (K, S, H, W) in which uncertain pixels follow the slices above and below, and certain ones stay.

    The heart goes on from slice to slice, less so the further these lie apart. A weighted geometric mean with the two
    neighbours (the first and the last slice stand in for the missing one), whose weight grows with the pixel's entropy.

    Args:
        distance_mm: between the middles of neighbouring slices.
    """
    count = probabilities.shape[1]
    logs = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    doubt = compute_entropy(probabilities, LEAST_PROBABILITY) / FULL_DOUBT
    influence = np.exp(-distance_mm / REACH_MM)
    share = np.clip(doubt, 0, 1) * (2 * influence / (1 + 2 * influence))
    number = np.arange(count)
    below, above = np.maximum(number - 1, 0), np.minimum(number + 1, count - 1)
    mixed = np.exp((1 - share) * logs + share * 0.5 * (logs[:, below] + logs[:, above]))
    return (mixed / mixed.sum(axis=0, keepdims=True)).astype(np.float32)


def measure_agreement(labels: Sequence[np.ndarray], absent: Optional[float] = None) -> float:
    """Mean Dice, over the structures, between each two of ``labels`` (S, H, W): how far views say the same (0 to 1).

    Args:
        absent: what a structure that neither view shows counts as; None leaves it out.
    """
    scores = []
    for one, other in combinations(labels, 2):
        for structure in STRUCTURES:
            first, second = one == structure.label, other == structure.label
            if first.any() or second.any():
                scores.append(measure_dice(first, second))
            elif absent is not None:
                scores.append(absent)
    return float(np.mean(scores)) if scores else 0.0


def clean_up(probabilities: np.ndarray) -> np.ndarray:
    """Soft labels (K, S, H, W) cleaned up by anatomy; the shape of edges is kept.

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
    return sitk.GetArrayFromImage(sitk.RelabelComponent(pieces, sortByObjectSize=True)) == 1


def _fill_holes(plane: np.ndarray) -> np.ndarray:
    if not plane.any():
        return plane
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(plane.astype(np.uint8)))).astype(bool)
