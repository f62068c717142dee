"""What a method adds to ``confuda.adaptation.loop``: its own terms, from the views of one step, and the steps of
networks of its own, where it has any."""

from dataclasses import dataclass, replace
from typing import Dict, NamedTuple

from torch import Tensor, nn

from confuda.adaptation.settings import AdaptationSettings
from confuda.losses.centroids import SourceBank


def decay_rate(progress: float) -> float:
    """The share of a learning rate that is left at ``progress`` (0 to 1): polynomial decay (section 3.1)."""
    return (1.0 - progress) ** 0.9


class ViewOutput(NamedTuple):
    """What the network says about one kind of image: bottleneck (B, C, H/16, W/16), features (B, D, H, W) = D(E(x)),
    logits (B, K, H, W)."""

    bottleneck: Tensor
    features: Tensor
    logits: Tensor

    def detach(self) -> "ViewOutput":
        """The same values without their graph."""
        return ViewOutput(*(part.detach() for part in self))


@dataclass
class Views:
    """The four kinds of image of one step (figure 2 of the paper).

    labels (B, H, W) belong to ``source`` and ``stylised``. A kind that the method does not ask for (``uses_style``,
    ``uses_target``) holds no image: B is 0. motion (B, H, W, 2) is the sampling grid, as
    ``torch.nn.functional.grid_sample`` takes it, that made ``augmented`` from ``target``: what the copy shows at a
    pixel, the target shows at the grid's place. ``progress`` runs from 0 to 1 over the adaptation.
    """

    labels: Tensor
    source: ViewOutput
    stylised: ViewOutput
    target: ViewOutput
    augmented: ViewOutput
    motion: Tensor
    progress: float

    def detach(self) -> "Views":
        """The same values without their graph."""
        kinds = ("source", "stylised", "target", "augmented")
        return replace(self, **{kind: getattr(self, kind).detach() for kind in kinds})


class Method:
    """Base of all methods.

    The loop itself trains on the labelled source images and, where ``uses_style`` says so, on their stylised copies; a
    method adds weighted terms by name. Where ``uses_target`` is False, no target image is looked at. ``networks`` holds
    the method's own networks by name, if it has any: the loop moves them to its device, the method takes their steps
    (:meth:`update_own_networks`), a caller may keep their ``state_dict``.
    """

    name: str
    uses_style = False
    uses_target = True

    def __init__(self, settings: AdaptationSettings, bank: SourceBank) -> None:
        self.settings = settings
        self.bank = bank
        self.networks = nn.ModuleDict()

    def compute_terms(self, views: Views) -> Dict[str, Tensor]:
        """Weighted scalar terms by name, to be added to the segmentation loss; their gradient moves the segmenter."""
        return {}

    def update_own_networks(self, views: Views) -> Dict[str, Tensor]:
        """One step of the method's own networks, after the segmenter's, from the same ``views`` without their graph.

        Returns what they cost by name, scalars without a graph: reported beside the losses, part of no total.
        """
        return {}

    def ramp_up(self, progress: float) -> float:
        """The share, 0 to 1, at which terms count that lean on predictions too poor at first (``warmup_share``)."""
        warmup = self.settings.warmup_share
        return min(1.0, progress / warmup) if warmup > 0 else 1.0
