"""AdvEnt: adversarial entropy minimisation (Vu et al., CVPR 2019)."""

from torch import Tensor

from confuda.adaptation.methods.adversarial import AdversarialMethod
from confuda.losses.adversarial import compute_information_maps


class AdvEnt(AdversarialMethod):
    """The discriminator sees maps of weighted self-information: target predictions become as sure as source ones."""

    name = "advent"

    def make_maps(self, logits: Tensor) -> Tensor:
        return compute_information_maps(logits)
