"""BlockCL: contrast of pixels inside blocks (Hu et al., MICCAI 2021), as ConFUDA compares itself with it."""

from typing import Dict

import torch.nn.functional as F
from torch import Tensor

from confuda.adaptation.methods.base import Method, Views
from confuda.losses.blocks import contrast_blocks


class BlockCL(Method):
    """Segmentation on source images, and the unsupervised block contrast between the target and its augmented copy.

    ConFUDA's introduction describes the unsupervised form, names BlockCL a contrastive method beside the adaptation
    methods (table 1), and says of no method but FUDA and itself that it has RAIN: there is no style here. It gives
    neither weight nor block size. The weight (``lambda_block``) is that of ConFUDA's own contrast, 1; on the toy heart
    of the tests under three shifts it was worth 0.03 to 0.04 of Dice over the control, and a tenth of it 0.005.

    "The same coordinate" has to be made: the loop moves the copy by a random affine and elastic grid, so the target's
    features are sampled by the same grid first; pixels from beyond the target's border take no part. Every
    ``block_stride``-th pixel in each direction is compared, in blocks of ``block_size`` of them, to limit the cost
    (the authors' code has strides of 4 or blocks of 32).
    """

    name = "blockcl"

    def compute_terms(self, views: Views) -> Dict[str, Tensor]:
        settings, stride = self.settings, self.settings.block_stride
        grid = views.motion[:, ::stride, ::stride]
        inside = (grid.abs() <= 1).all(dim=-1)
        moved = F.grid_sample(views.target.features.float(), grid, padding_mode="border", align_corners=False)
        copy = views.augmented.features[:, :, ::stride, ::stride]
        term = contrast_blocks(moved, copy, inside, settings.block_size, settings.temperature)
        return {"blocks": self.ramp_up(views.progress) * settings.lambda_block * term}
