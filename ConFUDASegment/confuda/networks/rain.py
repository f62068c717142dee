"""RAIN, random adaptive instance normalisation: style transfer with a distribution over styles (ConFUDA, section 2.1).

Encoder, AdaIN and decoder after Huang and Belongie (ICCV 2017); the VAE over style statistics after Luo et al.
("Adversarial style mining", NeurIPS 2020), as FUDA and ConFUDA use it. ImageNet's VGG weights are replaced by a narrow
one-channel encoder of the same shape that is trained as an autoencoder on cardiac slices.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STYLE_WEIGHT, KL_WEIGHT, RECONSTRUCTION_WEIGHT = 5.0, 1.0, 5.0
"""lambda_s, lambda_KL and lambda_Rec of L_RAIN."""

_STABILITY = 1e-5


class StyleCode(NamedTuple):
    """A normal distribution over styles: ``mu`` and ``log_sigma``, each (B, latent)."""

    mu: Tensor
    log_sigma: Tensor


def measure_style(features: Tensor) -> Tensor:
    """Channel means and standard deviations of ``features`` (B, C, H, W) as (B, 2 C): the AdaIN style statistics."""
    variance, mean = torch.var_mean(features.float(), dim=(2, 3), correction=0)
    return torch.cat([mean, torch.sqrt(variance + _STABILITY)], dim=1)


def renormalise(features: Tensor, style: Tensor) -> Tensor:
    """AdaIN: ``features`` (B, C, H, W) with the statistics ``style`` (B, 2 C) instead of their own."""
    own_mean, own_deviation = measure_style(features)[:, :, None, None].chunk(2, dim=1)
    mean, deviation = style[:, :, None, None].chunk(2, dim=1)
    return (features - own_mean) / own_deviation * deviation + mean


def _convolve(channels_in: int, channels_out: int) -> List[nn.Module]:
    return [nn.Conv2d(channels_in, channels_out, 3, padding=1, padding_mode="reflect"), nn.ReLU(inplace=True)]


class Encoder(nn.Module):
    """VGG-like encoder; its outputs are the first activation at each of the depths (as relu1_1 .. relu4_1 of
    VGG-19)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.depths = nn.ModuleList()
        previous = 1
        for depth, width in enumerate(widths):
            layers: List[nn.Module] = []
            if depth > 0:
                layers += [*_convolve(previous, previous), nn.MaxPool2d(2)]
            self.depths.append(nn.Sequential(*layers, *_convolve(previous, width)))
            previous = width

    def forward(self, images: Tensor) -> List[Tensor]:
        """Features of ``images`` (B, 1, H, W), shallow first; the last is (B, C, H / 8, W / 8) for four depths."""
        features = []
        x = images
        for depth in self.depths:
            x = depth(x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """The encoder's mirror image; output in [0, 1]."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        layers: List[nn.Module] = []
        for width, shallower in zip(reversed(widths[1:]), reversed(widths[:-1])):
            layers += [*_convolve(width, shallower), nn.Upsample(scale_factor=2, mode="nearest")]
            layers += _convolve(shallower, shallower)
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[0], 1, 3, padding=1, padding_mode="reflect"))

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(features))


class StyleAutoencoder(nn.Module):
    """The VAE over style statistics (fc_encoder and fc_decoder): 2 C numbers to a latent normal distribution and back.

    Statistics are brought to zero mean and unit variance over the training set first, so that every channel counts.
    """

    def __init__(self, statistics: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.fc_encoder = nn.Sequential(nn.Linear(statistics, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.fc_decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, statistics))
        self.center: Tensor
        self.scale: Tensor
        self.register_buffer("center", torch.zeros(statistics))
        self.register_buffer("scale", torch.ones(statistics))

    def encode(self, style: Tensor) -> StyleCode:
        mu, log_sigma = self.fc_encoder((style - self.center) / self.scale).chunk(2, dim=1)
        return StyleCode(mu, log_sigma.clamp(-6, 3))

    def decode(self, z: Tensor) -> Tensor:
        """Style statistics (B, 2 C) for latent ``z`` (B, latent); standard deviations stay positive."""
        mean, deviation = (self.fc_decoder(z) * self.scale + self.center).chunk(2, dim=1)
        return torch.cat([mean, F.softplus(deviation, beta=20.0)], dim=1)


class RAIN(nn.Module):
    """Encoder, decoder and style autoencoder.

    Args:
        widths: channels at each depth (VGG-19 has 64, 128, 256, 512).
        latent: size of the style code.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128), latent: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(widths)
        self.decoder = Decoder(widths)
        self.style = StyleAutoencoder(2 * widths[-1], latent, hidden=2 * latent)
        self.latent = latent

    def encode_style(self, images: Tensor) -> StyleCode:
        """The style distribution of ``images`` (B, 1, H, W) in [0, 1]."""
        return self.style.encode(measure_style(self.encoder(images)[-1]))

    def stylise(self, content: Tensor, code: StyleCode, epsilon: Optional[Tensor] = None) -> Tensor:
        """Images with the content features ``content`` (B, C, h, w) in a style drawn from ``code``.

        ``z = mu + epsilon * sigma``; without ``epsilon`` the mean style. Differentiable in ``epsilon``, which is how
        styles are made harder (section 2.1).
        """
        z = code.mu if epsilon is None else code.mu + epsilon * torch.exp(code.log_sigma)
        return self.decoder(renormalise(content, self.style.decode(z)))

    def compute_losses(self, content: Tensor, style: Tensor, epsilon: Tensor) -> Dict[str, Tensor]:
        """The four terms of L_RAIN and their weighted sum ``total``, for images (B, 1, H, W) in [0, 1].

        content: MSE of the output's deepest feature against the AdaIN target; style: MSE of channel means and
        deviations at every depth; kl: KL(N(mu, sigma) || N(0, 1)), mean over the code; reconstruction: MSE between
        decoded and true style statistics in units of their spread.
        """
        with torch.no_grad():
            content_feature = self.encoder(content)[-1]
            style_features = self.encoder(style)
            true_style = measure_style(style_features[-1])
        code = self.style.encode(true_style)
        decoded_style = self.style.decode(code.mu + epsilon * torch.exp(code.log_sigma))
        target = renormalise(content_feature, decoded_style)
        output_features = self.encoder(self.decoder(target))
        losses = {
            "content": F.mse_loss(output_features[-1], target.detach()),
            "style": torch.stack(
                [F.mse_loss(measure_style(o), measure_style(s)) for o, s in zip(output_features, style_features)]
            ).sum(),
            "kl": (0.5 * (code.mu**2 + torch.exp(2 * code.log_sigma) - 1) - code.log_sigma).mean(),
            "reconstruction": F.mse_loss(decoded_style / self.style.scale, true_style / self.style.scale),
        }
        losses["total"] = (
            losses["content"]
            + STYLE_WEIGHT * losses["style"]
            + KL_WEIGHT * losses["kl"]
            + RECONSTRUCTION_WEIGHT * losses["reconstruction"]
        )
        return losses
