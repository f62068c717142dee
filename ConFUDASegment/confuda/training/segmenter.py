"""Source pretraining of the segmentation network on labelled slices with random geometry and contrast.

What the network learns here is what adaptation starts from; the strong randomisation of
``confuda.imaging.randomisation`` is worth more than any length of plain training (docs/results.md).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Optional, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from confuda.device import to_device
from confuda.imaging.random_geometry import draw_grid, warp, warp_labels
from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.imaging.randomisation import randomise
from confuda.labels import CLASS_NAMES
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.networks.drunet import DRUNet
from confuda.training.acdc import SliceSet
from confuda.training.processes import SingleProcess
from confuda.training.run import TrainingRun

RUN_NAME = "segmenter"


@dataclass(frozen=True)
class SegmenterSettings:
    """Settings of a pretraining run; kept in the checkpoint and in the bundle.

    began_with: name and version of the bundle whose weights the run began with, "" for random ones; set by the command.
    """

    width: int = 16
    normalisation: str = "group"
    spacing_mm: float = 1.5
    crop: int = 128
    window: int = 224
    steps: int = 7000
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 200
    average_decay: float = 0.998
    partial_volume: float = 0.3
    seed: int = 0
    began_with: str = ""


def schedule_learning_rate(step: int, settings: SegmenterSettings) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine to zero."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def draw_batch(slices: SliceSet, settings: SegmenterSettings, generator: torch.Generator) -> Dict[str, Tensor]:
    """A random batch: images (B, 1, crop, crop) in [0, 1] before contrast changes, and labels (B, crop, crop)."""
    count = len(slices.images)
    index = torch.randint(count, (settings.batch,), generator=generator).numpy()
    offset = np.where(torch.rand(settings.batch, generator=generator).numpy() < 0.5, -1, 1)
    images = torch.from_numpy(slices.images[index]).float()[:, None] / 255
    # A thick slice sees a little of its neighbour: the labels stay those of the larger share.
    share = 0.45 * torch.rand(settings.batch, generator=generator)
    share *= (torch.rand(settings.batch, generator=generator) < settings.partial_volume).float()
    neighbours = torch.from_numpy(slices.images[slices.neighbour(index, offset)]).float()[:, None] / 255
    images = torch.lerp(images, neighbours, share[:, None, None, None])
    labels = torch.from_numpy(slices.labels[index]).long()
    spacings = (settings.spacing_mm, settings.spacing_mm)
    grid = draw_grid(Dice(generator), settings.batch, 1, images.shape[-1], settings.crop, spacings, RandomSettings())
    return {"images": warp(images, grid), "labels": warp_labels(labels[:, None], grid)[:, 0]}


@torch.no_grad()
def validate(
    network: torch.nn.Module, slices: SliceSet, settings: SegmenterSettings, process: SingleProcess
) -> Dict[str, float]:
    """Mean Dice over held-out volumes, per structure, on the bSSFP images and on the same with random contrast."""
    network.eval()
    margin = (slices.images.shape[1] - settings.crop) // 2
    window = np.s_[:, margin : margin + settings.crop, margin : margin + settings.crop]
    images = torch.from_numpy(slices.images[window]).float()[:, None] / 255
    labels = torch.from_numpy(slices.labels[window]).long()
    dice = Dice(torch.Generator().manual_seed(1))
    changed = randomise(dice, images, labels[:, None], RandomSettings(plain_share=0.0))
    scores = {}
    for name, variant in (("bssfp", images), ("random", changed)):
        with process.autocast():
            predicted = torch.cat([network(part.to(process.device)).argmax(1).cpu() for part in variant.split(32)])
        table = []
        for volume in range(len(slices.names)):
            own = torch.from_numpy(slices.volume == volume)
            p, t = F.one_hot(predicted[own], 4).float(), F.one_hot(labels[own], 4).float()
            both, total = (p * t).sum((0, 1, 2)), (p + t).sum((0, 1, 2))
            table.append(2 * both / total.clamp_min(1))
        mean = torch.stack(table).mean(0)
        scores.update({f"{name}_{CLASS_NAMES[k]}": round(float(mean[k]), 4) for k in (1, 2, 3)})
        scores[name] = round(float(mean[1:].mean()), 4)
    network.train()
    return scores


def train_segmenter(
    train_slices: SliceSet,
    held_out_slices: SliceSet,
    folder: Path,
    settings: SegmenterSettings,
    resume: bool = False,
    report: Optional[Callable[[str], None]] = None,
    checkpoint_every_s: float = 180.0,
    validate_every: int = 500,
    start: Optional[DRUNet] = None,
    process: Optional[SingleProcess] = None,
) -> DRUNet:
    """Train, keep a checkpoint and a JSON-lines log in ``folder``, and return the averaged network.

    With ``resume`` the run goes on from the checkpoint in ``folder`` exactly as if it had not stopped. A new run begins
    with the weights of ``start`` where it is given, a network of the same settings, and with random ones otherwise.
    Several processes may share the run (``process``, by default one on the CPU): the loss, whose Jaccard part is a
    ratio of sums over the batch, is that of the whole batch in each of them.
    """
    process = process or SingleProcess()
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = process.prepare(DRUNet(width=settings.width, normalisation=settings.normalisation))
    network = to_device(network, process.device)
    if start is not None:
        network.load_state_dict(start.state_dict())
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=not process.scales_gradients,
    )
    modules = {"network": network, "averaged": averaged}
    run = TrainingRun(
        folder, RUN_NAME, modules, optimizer, generator, settings, resume, report, checkpoint_every_s, process
    )
    network.train()
    running = None
    for step in run.count_steps(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * schedule_learning_rate(step, settings)
        batch = draw_batch(train_slices, settings, generator)
        images = randomise(Dice(generator), batch["images"], batch["labels"][:, None], RandomSettings())
        with process.autocast():
            logits = network(process.take_share(images).contiguous(memory_format=torch.channels_last))
        loss = compute_segmentation_loss(process.gather(logits.float()), batch["labels"].to(process.device))
        process.take_step(loss, network, optimizer, 5.0)
        averaged.update_parameters(network)
        running = float(loss.detach()) if running is None else 0.98 * running + 0.02 * float(loss.detach())

        done = step + 1
        if done % 20 == 0 or done == settings.steps:
            run.tell_progress(done, settings.steps, f"loss {running:.4f}")
        if process.is_first and (done % validate_every == 0 or done == settings.steps):
            row = {"step": done, "loss": round(running, 4)}
            row.update(validate(averaged.module, held_out_slices, settings, process))
            run.write_log(row)
            run.tell(f"held out at step {done}: {json.dumps(row)}")
    return cast(DRUNet, averaged.module)
