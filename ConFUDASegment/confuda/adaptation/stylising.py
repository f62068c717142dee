"""Labelled source images in the target's style, by RAIN and by tissue; and eps, which makes RAIN's styles harder."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from confuda.adaptation.settings import AdaptationSettings
from confuda.adaptation.styles import TissueStyle
from confuda.imaging.disturbance import disturb
from confuda.imaging.random_contrast import map_intensity
from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN, StyleCode

COPY_MAP = 0.3
"""Share of the target's copies, and of the images in tissue style, whose intensities are mapped at random."""

FARTHEST_STYLE = 1.5
"""Length of eps, in units of its usual one, beyond which lies no style that RAIN has seen."""


class RainStyle(NamedTuple):
    """What RAIN needs to draw images (B, C, H, W) in some style, but for eps.

    content: features of the images; images, styles: (B, 1, H, W), their middle slices, and the target's slices whose
    style they take; code: of these styles, one for each slice of ``content``; detail: what is added to what RAIN draws.
    """

    content: Tensor
    images: Tensor
    styles: Tensor
    code: StyleCode
    detail: Tensor
    channels: int


class StyledBatch(NamedTuple):
    """Source images whose style is chosen: the first by RAIN, the others, already drawn, by tissue."""

    rain: Optional[RainStyle]
    tissue: Optional[Tensor]


class Stylist:
    """Gives source images the style of ``target`` (T, C, H, W). ``tissue`` is set as soon as it is known.

    Args:
        rain: is not trained here. dice: of the styles. copies: how images in tissue style are disturbed.
    """

    def __init__(
        self, rain: RAIN, target: Tensor, settings: AdaptationSettings, dice: Dice, copies: RandomSettings
    ) -> None:
        self.rain, self.target, self.settings, self.dice, self.copies = rain, target, settings, dice, copies
        self.tissue: Optional[TissueStyle] = None

    @torch.no_grad()
    def choose_styles(self, images: Tensor, labels: Tensor) -> StyledBatch:
        """Styles for source samples (B, C, H, W) with their labels; the last ``tissue_share`` of them by tissue."""
        count = len(images)
        by_tissue = int(round(self.settings.tissue_share * count)) if self.tissue is not None else 0
        by_rain = count - by_tissue
        rain = self._choose_rain(images[:by_rain]) if by_rain else None
        tissue = None
        if by_tissue and self.tissue is not None:
            styled = self.tissue.apply(self.dice, images[by_rain:], labels[by_rain:])
            tissue = change_contrast(self.dice, styled, self.copies)
        return StyledBatch(rain, tissue)

    def _choose_rain(self, images: Tensor) -> RainStyle:
        count, channels = images.shape[:2]
        middle = self.target.shape[1] // 2
        # RAIN sees single slices: those of a sample get one style.
        here = images.flatten(0, 1)[:, None]
        chosen = self.dice.integers((count,), len(self.target))
        styles = self.target[chosen, middle][:, None]
        content = self.rain.encoder(here)[-1]
        code = self.rain.encode_style(styles)
        # What the decoder cannot draw even in the image's own style: fine edges, which carry the labels.
        detail = here - self.rain.decoder(content).float() if self.settings.keep_detail else torch.zeros_like(here)
        code = type(code)(*(part.repeat_interleave(channels, 0) for part in code))
        return RainStyle(content, images[:, channels // 2][:, None], styles, code, detail, channels)

    def draw_epsilon(self, style: RainStyle) -> Tensor:
        """(B, latent), one for each sample."""
        return self.dice.normal((len(style.images), self.rain.latent))

    def draw(self, style: RainStyle, epsilon: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1]; differentiable in ``epsilon`` (B, latent)."""
        noise = epsilon.repeat_interleave(style.channels, 0)
        styled = self.rain.stylise(style.content.float(), style.code, noise).float()
        return (styled + style.detail).clamp(0, 1)[:, 0].unflatten(0, (len(style.images), style.channels))

    def harden(self, style: RainStyle, epsilon: Tensor, labels: Tensor, network: DRUNet) -> Tensor:
        """``epsilon`` after a step up the gradient of the segmentation loss of the very images that it styles, with
        their labels (B, H, W): harder ones (section 2.1)."""
        epsilon = epsilon.detach().requires_grad_(True)
        loss = compute_segmentation_loss(network(self.draw(style, epsilon)).float(), labels)
        (gradient,) = torch.autograd.grad(loss, epsilon)
        length = gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        moved = epsilon.detach() + self.settings.epsilon_step * gradient / length
        most = FARTHEST_STYLE * self.rain.latent**0.5
        return moved * (most / moved.norm(dim=1, keepdim=True).clamp_min(most))


def change_contrast(dice: Dice, images: Tensor, random: RandomSettings) -> Tensor:
    """Images (B, C, H, W) as another scan of the same contrast might be."""
    mapped = torch.where(dice.chance(len(images), COPY_MAP), map_intensity(dice, images), images)
    return disturb(dice, mapped, random)
