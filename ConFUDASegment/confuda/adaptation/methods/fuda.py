"""FUDA: few-shot unsupervised domain adaptation by style (Gu et al., BVM 2022).

RAIN styles of the target on labelled source images, eps moved against the segmenter (both in
``confuda.adaptation.loop``), and bottleneck features that stay the same under a change of style.
"""

from typing import Dict

import torch.nn.functional as F
from torch import Tensor

from confuda.adaptation.methods.base import Method, Views


class FUDA(Method):
    """Segmentation on source and stylised source, plus the consistency of their bottleneck features."""

    name = "fuda"
    uses_style = True

    def compute_terms(self, views: Views) -> Dict[str, Tensor]:
        stylised, source = views.stylised.bottleneck.float(), views.source.bottleneck.float()
        # Relative to the feature's own size: nothing normalises the bottleneck, so its scale is arbitrary.
        difference = F.mse_loss(stylised, source) / source.detach().square().mean().clamp_min(1e-12)
        return {"consistency": self.settings.lambda_consistency * difference}
