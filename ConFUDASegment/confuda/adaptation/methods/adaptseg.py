"""AdaptSeg: adversarial adaptation of the output space (Tsai et al., CVPR 2018), single level."""

from torch import Tensor

from confuda.adaptation.methods.adversarial import AdversarialMethod
from confuda.losses.adversarial import compute_softmax_maps


class AdaptSeg(AdversarialMethod):
    """The discriminator sees softmax maps."""

    name = "adaptseg"

    def make_maps(self, logits: Tensor) -> Tensor:
        return compute_softmax_maps(logits)
