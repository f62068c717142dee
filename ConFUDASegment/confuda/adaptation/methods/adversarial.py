"""What AdaptSeg and AdvEnt share: a discriminator that tells target maps from source maps, and a segmenter that is
moved so that it cannot."""

from typing import Dict

import torch
from torch import Tensor

from confuda.adaptation.methods.base import Method, Views, decay_rate
from confuda.losses.adversarial import compute_domain_loss
from confuda.networks.discriminator import Discriminator

ADAM_BETAS = (0.9, 0.99)


class AdversarialMethod(Method):
    """All but the maps that the discriminator sees, which a subclass defines.

    As published: the segmenter's term has the weight 1e-3 (``lambda_adversarial``), the discriminator takes one Adam
    step after each of the segmenter's, from 1e-4 on (``discriminator_rate``), with the segmenter's polynomial decay.

    Two things are ours. The target is represented by its augmented copy: the loop turns and moves source images at
    random, but not the target's own, and a discriminator would know the domain by the heart's pose. (Toy heart of the
    tests, AdaptSeg at two seeds: average Dice 0.66 and 0.73 with the target itself, 0.93 and 0.90 with the copy; 0.90
    for the control.) And the term ramps up over the warm-up (``warmup_share``), since a discriminator that has learned
    nothing yet pushes the segmenter anywhere; this is reasoned, not compared.
    """

    def __init__(self, *arguments, **named) -> None:
        super().__init__(*arguments, **named)
        classes = len(self.bank.mass)
        self.discriminator = Discriminator(classes, self.settings.discriminator_width)
        self.networks["discriminator"] = self.discriminator
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), self.settings.discriminator_rate, betas=ADAM_BETAS
        )

    def make_maps(self, logits: Tensor) -> Tensor:
        """What the discriminator sees of logits (B, K, H, W): maps of the same shape."""
        raise NotImplementedError

    def compute_terms(self, views: Views) -> Dict[str, Tensor]:
        # The segmenter's gradient goes through the discriminator, but not into its weights.
        self.discriminator.requires_grad_(False)
        scores = self.discriminator(self.make_maps(views.augmented.logits))
        weight = self.ramp_up(views.progress) * self.settings.lambda_adversarial
        return {"adversarial": weight * compute_domain_loss(scores, from_source=True)}

    def update_own_networks(self, views: Views) -> Dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.discriminator_rate * decay_rate(views.progress)
        self.discriminator.requires_grad_(True)
        source, target = (self.discriminator(self.make_maps(kind.logits)) for kind in (views.source, views.augmented))
        loss = 0.5 * (compute_domain_loss(source, from_source=True) + compute_domain_loss(target, from_source=False))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"discriminator": loss.detach()}
