"""What a method adds to the common loop of ``confuda.adapt``: its own terms, from the views of one step."""

from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional

import torch
from torch import Tensor

from confuda.losses.centroids import SourceBank
from confuda.settings import AdaptationSettings


class ViewOutput(NamedTuple):
    """What the network says about one kind of image: bottleneck (B, C, H/16, W/16), features (B, D, H, W) = D(E(x)),
    logits (B, K, H, W)."""

    bottleneck: Tensor
    features: Tensor
    logits: Tensor


@dataclass
class Views:
    """The four kinds of image of one step (figure 2 of the paper).

    labels (B, H, W) belong to ``source`` and ``stylised``. ``progress`` runs from 0 to 1 over the adaptation.
    """

    labels: Tensor
    source: ViewOutput
    stylised: ViewOutput
    target: ViewOutput
    augmented: ViewOutput
    progress: float


class Method:
    """Base of all methods. The loop itself trains on the labelled source images and, where ``uses_style`` says so, on
    their stylised copies; a method adds weighted terms by name."""

    name = "source"
    uses_style = False

    def __init__(self, settings: AdaptationSettings, bank: SourceBank, generator: Optional[torch.Generator]) -> None:
        self.settings = settings
        self.bank = bank
        self.generator = generator

    def compute_terms(self, views: Views) -> Dict[str, Tensor]:
        """Weighted scalar terms by name, to be added to the segmentation loss."""
        return {}
