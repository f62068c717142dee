"""Pretraining of RAIN on source slices: first encoder and decoder as an autoencoder, then L_RAIN with the encoder
frozen.

The styles it learns come from slices with random contrast, so that the style code spans far more than the source's look
although no target image is seen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.imaging.randomisation import randomise
from confuda.networks.rain import RAIN, measure_style
from confuda.training.acdc import SliceSet
from confuda.training.processes import SingleProcess
from confuda.training.run import TrainingRun
from confuda.training.segmenter import SegmenterSettings, draw_batch

RUN_NAME = "rain"

IDENTITY_WEIGHT = 10.0
"""Weight of the autoencoder's own loss, which goes on beside L_RAIN."""

WORST_OWN_ERROR = 0.8
"""Of a network that draws something (:func:`measure_own_error`); one that draws nothing has no style to give."""


@dataclass(frozen=True)
class RainSettings:
    """Settings of a RAIN run; ``autoencoder_steps`` come first, ``style_steps`` after them. random_share: of the images
    that get a random contrast."""

    widths: Tuple[int, ...] = (16, 32, 64, 128)
    latent: int = 64
    spacing_mm: float = 1.5
    crop: int = 128
    window: int = 224
    autoencoder_steps: int = 1000
    style_steps: int = 1200
    batch: int = 8
    learning_rate: float = 1e-3
    random_share: float = 0.5
    seed: int = 0


def _draw_images(slices: SliceSet, settings: RainSettings, generator: torch.Generator) -> Tensor:
    """Slices (B, 1, crop, crop) in [0, 1], ``random_share`` of them with random contrast."""
    sampling = SegmenterSettings(batch=settings.batch, crop=settings.crop, spacing_mm=settings.spacing_mm)
    batch = draw_batch(slices, sampling, generator)
    random = RandomSettings(plain_share=0.0)
    changed = randomise(Dice(generator), batch["images"], batch["labels"][:, None], random)
    keep = torch.rand((settings.batch, 1, 1, 1), generator=generator) >= settings.random_share
    return torch.where(keep, batch["images"], changed)


def _prepare_weights(rain: RAIN) -> None:
    """Weights that keep the size of a signal (He et al., ICCV 2015). With smaller ones the decoder becomes black
    everywhere if most of the images is black."""
    for part in rain.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@torch.no_grad()
def measure_own_error(rain: RAIN, images: Tensor) -> float:
    """How far images (B, 1, H, W) drawn in their own style are from themselves: 0 not at all, 1 as far as black is."""
    drawn = rain.decoder(rain.encoder(images)[-1]).float()
    return float((drawn - images).abs().mean() / images.mean().clamp_min(1e-6))


@torch.no_grad()
def _measure_style_spread(
    rain: RAIN, slices: SliceSet, settings: RainSettings, generator: torch.Generator, device: torch.device
) -> None:
    """Set centre and scale of the style autoencoder from 40 batches."""
    drawn = (_draw_images(slices, settings, generator).to(device) for _ in range(40))
    styles = torch.cat([measure_style(rain.encoder(images)[-1]) for images in drawn])
    rain.style.center.copy_(styles.mean(0))
    rain.style.scale.copy_(styles.std(0).clamp_min(1e-2))


def train_rain(
    slices: SliceSet,
    folder: Path,
    settings: RainSettings,
    resume: bool = False,
    report: Optional[Callable[[str], None]] = None,
    checkpoint_every_s: float = 180.0,
    process: Optional[SingleProcess] = None,
) -> RAIN:
    """Train RAIN, keep a checkpoint and a JSON-lines log in ``folder``, and return it.

    With ``resume`` the run goes on from the checkpoint in ``folder`` exactly as if it had not stopped. Several
    processes may share it (``process``, by default one on the CPU): every term is a mean over the images, so that the
    mean over equal shares is that of the whole batch.
    """
    process = process or SingleProcess()
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    rain = RAIN(settings.widths, settings.latent)
    _prepare_weights(rain)
    rain = process.prepare(rain)
    optimizer = torch.optim.Adam(rain.parameters(), lr=settings.learning_rate)
    total = settings.autoencoder_steps + settings.style_steps
    modules = {"rain": rain}
    run = TrainingRun(
        folder, RUN_NAME, modules, optimizer, generator, settings, resume, report, checkpoint_every_s, process
    )
    for step in run.count_steps(total):
        styling = step >= settings.autoencoder_steps
        if step == settings.autoencoder_steps:
            _measure_style_spread(rain, slices, settings, generator, process.device)
        for parameter in rain.encoder.parameters():
            parameter.requires_grad_(not styling)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 - 0.9 * step / total)
        drawn = _draw_images(slices, settings, generator)
        images = process.take_share(drawn)
        with process.autocast(by_default=False):
            if styling:
                # The style of one slice on the content of the next one in the batch.
                epsilon = torch.randn((len(drawn), rain.latent), generator=generator)
                losses = rain.compute_losses(images, process.take_share(drawn.roll(1, 0)), process.take_share(epsilon))
                # The paper's decoder must still invert the encoder, or stylised anatomy blurs away from its labels.
                losses["identity"] = F.l1_loss(rain.decoder(rain.encoder(images)[-1]), images)
                loss = losses["total"] + IDENTITY_WEIGHT * losses["identity"]
            else:
                loss = F.l1_loss(rain.decoder(rain.encoder(images)[-1]), images)
                losses = {"autoencoder": loss}
        process.take_step(loss, rain, optimizer, 1.0)

        done = step + 1
        if done % 20 == 0 or done == total:
            row = {name: round(value, 4) for name, value in process.average(losses).items()}
            run.write_log({"step": done, **row})
            run.tell_progress(done, total, "  ".join(f"{name} {value:.4f}" for name, value in row.items()))
    own_error = measure_own_error(rain, _draw_images(slices, settings, generator).to(process.device))
    if own_error > WORST_OWN_ERROR and report is not None:
        report(f"Warning: RAIN draws hardly anything (own error {own_error:.2f}): give it more steps or another seed.")
    return rain
