"""ConFUDA: FUDA plus centroid contrastive learning, norm regulariser and partitions (Gu et al., 2022; equation (4))."""

from typing import Dict

import torch
from torch import Tensor

from confuda.adaptation.methods.base import Views
from confuda.adaptation.methods.fuda import FUDA
from confuda.losses.centroids import compute_centroids
from confuda.losses.contrastive import ContrastiveLoss, ContrastiveSettings
from confuda.losses.labels import encode_labels


class ConFUDA(FUDA):
    """The source centroids go through the memory bank; MPCCL and CNR pull the target's centroids towards them."""

    name = "confuda"

    def __init__(self, *arguments, **named) -> None:
        super().__init__(*arguments, **named)
        settings = self.settings
        self.contrastive = ContrastiveLoss(
            ContrastiveSettings(
                temperature=settings.temperature,
                partitions=settings.partitions,
                include_background=settings.include_background,
                gradient_through_weights=settings.gradient_through_weights,
                minimum_mass=settings.minimum_mass,
                relative_norm=settings.relative_norm,
                reduction="mean" if settings.mean_over_classes else "sum",
            )
        )

    def compute_terms(self, views: Views) -> Dict[str, Tensor]:
        terms = super().compute_terms(views)
        one_hot = encode_labels(views.labels, views.source.logits.shape[1], torch.float32)
        features = views.source.features.detach()
        if self.settings.stylised_in_bank:
            features = torch.cat([features, views.stylised.features.detach()])
            one_hot = torch.cat([one_hot, one_hot])
        self.bank.update(compute_centroids(features, one_hot))
        parts = self.contrastive(
            views.target.features,
            torch.softmax(views.target.logits.float(), dim=1),
            views.augmented.features,
            torch.softmax(views.augmented.logits.float(), dim=1),
            self.bank,
        )
        ramp = self.ramp_up(views.progress)
        terms["contrast"] = ramp * self.settings.lambda_contrast * (parts["inter"] + parts["intra"])
        terms["norm"] = ramp * self.settings.lambda_norm * parts["norm"]
        return terms
