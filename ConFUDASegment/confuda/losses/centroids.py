"""Class centroids of features (ConFUDA, equation (1)): of a batch, of random partitions of it, and the source's bank.

Everything is accumulated in float32 (float64 for float64 input), also inside ``torch.autocast``: a half-precision sum
over the pixels of an image overflows.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

_EMPTY_MASS = 1e-6  # pixels: a mean over less weight than this is noise, and its gradient would explode


class Centroids(NamedTuple):
    """One mean feature a class, and how many pixels stand behind it.

    vectors: (..., K, D); mass: (..., K), the denominator of equation (1) in pixels, >= 0. A class whose mass is ~ 0
    has the zero vector.
    """

    vectors: Tensor
    mass: Tensor

    def find_present(self, minimum_mass: float) -> Tensor:
        """(..., K) bool: which classes have more than ``minimum_mass`` pixels."""
        return self.mass.detach() > minimum_mass

    def drop_background(self) -> "Centroids":
        """The same without class 0: vectors (..., K-1, D), mass (..., K-1)."""
        return Centroids(self.vectors[..., 1:, :], self.mass[..., 1:])


def compute_centroids(features: Tensor, weights: Tensor) -> Centroids:
    """Weighted mean feature of each class over all pixels of a batch (equation (1)).

    features: (B, D, H, W); weights: (B, K, H, W) >= 0, one-hot labels for the source, softmax predictions for the
    target; any floating types. Returns vectors (K, D) and mass (K,). A class of mass ~ 0 gets the zero vector and
    passes no gradient. Raises ValueError when batch or image size differ.
    """
    _check_same_pixels(features, weights)
    dtype = _accumulation_dtype(features, weights)
    with torch.autocast(device_type=features.device.type, enabled=False):
        sums = torch.einsum("bkn,bdn->kd", weights.flatten(2).to(dtype), features.flatten(2).to(dtype))
    return _divide(sums, weights.to(dtype).sum((0, 2, 3)))


def compute_partition_centroids(
    features: Tensor, weights: Tensor, partitions: int, generator: Optional[torch.Generator] = None
) -> Centroids:
    """Centroids of each of P random, equally large parts of the batch's pixels (MPCCL, section 2.2).

    features: (B, D, H, W); weights: (B, K, H, W) as in ``compute_centroids``. Each of the B*H*W pixels falls into
    exactly one partition; where P does not divide their number, the first (B*H*W mod P) partitions hold one pixel
    more. Returns vectors (P, K, D) and mass (P, K). P = 1 is ``compute_centroids``; at P = B*H*W each centroid is one
    pixel's feature. Memory grows with B*H*W*(D+K) + P*K*D. ``generator`` makes the split repeatable.
    Raises ValueError when sizes differ or P is not in 1..B*H*W.
    """
    _check_same_pixels(features, weights)
    pixels = features.shape[0] * features.shape[2] * features.shape[3]
    if not 1 <= partitions <= pixels:
        raise ValueError(f"The number of partitions must lie in 1..{pixels} (the number of pixels), got {partitions}.")
    members, filled = _deal_pixels(pixels, partitions, features.device, generator)
    dtype = _accumulation_dtype(features, weights)
    feature_rows = features.movedim(1, -1).flatten(0, 2)[members].to(dtype)  # (P, n, D)
    weight_rows = weights.movedim(1, -1).flatten(0, 2)[members].to(dtype) * filled.unsqueeze(-1)  # (P, n, K)
    with torch.autocast(device_type=features.device.type, enabled=False):
        sums = torch.bmm(weight_rows.transpose(1, 2), feature_rows)
    return _divide(sums, weight_rows.sum(1))


class SourceBank(nn.Module):
    """Memory bank of the source centroids: C^s <- rho C^s(step) + (1 - rho) C^s(step - 1) (below equation (1)).

    rho = ``newest_weight`` is the weight of the NEW centroids, 0.9 in the paper. A class is taken as it is the first
    time it is seen; a class with at most ``minimum_mass`` pixels in a step keeps its former value. The bank carries no
    gradient. Buffers (and state_dict): ``vectors`` (K, D), and ``mass`` (K,), the pixels gathered so far, 0 for a
    class never seen; both float32.
    """

    def __init__(self, classes: int, channels: int, newest_weight: float = 0.9, minimum_mass: float = 1.0) -> None:
        """Raises ValueError unless 0 < newest_weight <= 1 and minimum_mass >= 0."""
        super().__init__()
        if not 0.0 < newest_weight <= 1.0:
            raise ValueError(f"The weight of the newest centroids must lie in (0, 1], got {newest_weight}.")
        if not minimum_mass >= 0.0:
            raise ValueError(f"The minimum mass of a centroid must be 0 pixels or more, got {minimum_mass}.")
        self.newest_weight = newest_weight
        self.minimum_mass = minimum_mass
        self.vectors: Tensor
        self.mass: Tensor
        self.register_buffer("vectors", torch.zeros(classes, channels))
        self.register_buffer("mass", torch.zeros(classes))

    @property
    def centroids(self) -> Centroids:
        """The present content; vectors (K, D), mass (K,)."""
        return Centroids(self.vectors, self.mass)

    @torch.no_grad()
    def update(self, step: Centroids) -> None:
        """Move towards the centroids of one step: vectors (K, D), mass (K,). Raises ValueError for another shape.

        A centroid that is not finite (a mixed-precision step that overflowed) counts as absent: one such step would
        spoil the bank for good.
        """
        if step.vectors.shape != self.vectors.shape or step.mass.shape != self.mass.shape:
            raise ValueError(
                f"The bank holds centroids of shape {tuple(self.vectors.shape)}, got {tuple(step.vectors.shape)}."
            )
        vectors, mass = step.vectors.to(self.vectors), step.mass.to(self.mass)
        usable = (mass > self.minimum_mass) & vectors.isfinite().all(-1)
        weight = torch.where(self.mass > 0, self.newest_weight, 1.0).unsqueeze(-1)
        moved = weight * vectors + (1.0 - weight) * self.vectors
        # New tensors, not in-place: whoever holds the former centroids, a graph among them, keeps their values.
        self.vectors = torch.where(usable.unsqueeze(-1), moved, self.vectors)
        self.mass = self.mass + torch.where(usable, mass, torch.zeros_like(mass))


def _check_same_pixels(features: Tensor, weights: Tensor) -> None:
    if (
        features.dim() != 4
        or weights.dim() != 4
        or features.shape[0] != weights.shape[0]
        or features.shape[2:] != weights.shape[2:]
    ):
        raise ValueError(
            f"Features (B, D, H, W) and weights (B, K, H, W) must cover the same pixels, "
            f"got {tuple(features.shape)} and {tuple(weights.shape)}."
        )


def _accumulation_dtype(features: Tensor, weights: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(features.dtype, weights.dtype), torch.float32)


def _deal_pixels(
    pixels: int, partitions: int, device: torch.device, generator: Optional[torch.Generator]
) -> Tuple[Tensor, Tensor]:
    """Random pixel numbers of each partition (P, n), and which of these places count (P, n); n = ceil(pixels / P)."""
    order = torch.randperm(pixels, generator=generator, device=device if generator is None else generator.device)
    smaller, larger_partitions = divmod(pixels, partitions)
    partition = torch.arange(partitions, device=device).unsqueeze(1)
    place = torch.arange(smaller + bool(larger_partitions), device=device)
    first = partition * smaller + partition.clamp(max=larger_partitions)
    filled = place < smaller + (partition < larger_partitions).long()
    # The last partitions may lack their last place; any pixel may stand there, its weight is set to 0.
    members = order.to(device)[(first + place).clamp(max=pixels - 1)]
    return members, filled


def _divide(sums: Tensor, mass: Tensor) -> Centroids:
    present = (mass > _EMPTY_MASS).unsqueeze(-1)
    # The inner where keeps 0/0 out of the gradient as well: the outer one alone would turn it into NaN * 0.
    safe_mass = torch.where(present, mass.unsqueeze(-1), torch.ones_like(mass).unsqueeze(-1))
    return Centroids(torch.where(present, sums / safe_mass, torch.zeros_like(sums)), mass)
