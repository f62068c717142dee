"""Pretraining of the segmentation network on packed slices, with everything of a step on one device.

All slices lie in the device's memory, and so do the random numbers: a step copies nothing from or to the host. A
checkpoint holds weights, their running average and a summary of the optimiser in little space; writing one brings the
run itself to what was written, so that a resumed run is the run that went on.
"""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from confuda.device import to_device
from confuda.imaging.random_geometry import draw_grid, warp, warp_labels
from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.imaging.randomisation import randomise
from confuda.labels import CLASS_NAMES
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.networks.drunet import DRUNet
from confuda.training.checkpoint import (
    expand_squares,
    forget_later_rows,
    load_checkpoint,
    pick_state,
    restore_module,
    save_checkpoint,
    summarise_squares,
)
from confuda.training.packed_slices import PackedSlices

RUN_NAME = "segmenter"
NEAREST_MM, FARTHEST_MM = 4.0, 21.0
"""How far a neighbouring slice may lie that is given to the network beside a slice."""


@dataclass(frozen=True)
class PackedSettings:
    """Settings of a run on packed slices; kept in the checkpoint and in the bundle.

    width, deep_widths, bottleneck: channels of the network's first level, of the others, and of its bottleneck.
    neighbours: whether a slice is seen between its neighbours (3 channels). neighbour_dropout: share of the samples
    without any. plain_share, misalignment_mm: see :class:`confuda.imaging.random_settings.RandomSettings`.
    average_decay: of the running average of the weights that is kept in the end. checkpoint_every: steps.
    """

    width: int = 24
    deep_widths: Tuple[int, ...] = (48, 96, 192)
    bottleneck: int = 192
    normalisation: str = "group"
    neighbours: bool = True
    neighbour_dropout: float = 0.2
    spacing_mm: float = 1.5
    crop: int = 128
    steps: int = 20000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 300
    average_decay: float = 0.999
    plain_share: float = 0.4
    late_share: float = 0.5
    checkpoint_every: int = 500
    seed: int = 0

    @property
    def network(self) -> Dict[str, Any]:
        """What :class:`confuda.networks.drunet.DRUNet` takes."""
        return {
            "channels": 3 if self.neighbours else 1,
            "width": self.width,
            "normalisation": self.normalisation,
            "standardise": True,
            "widths": [self.width, *self.deep_widths],
            "bottleneck": self.bottleneck,
        }


class ResidentSlices:
    """Packed slices in a device's memory, and samples drawn from them."""

    def __init__(self, packed: PackedSlices, device: torch.device) -> None:
        self.images = torch.from_numpy(packed.images).to(device)
        self.labels = torch.from_numpy(packed.labels).to(device)
        volume = torch.from_numpy(packed.volume).long()
        first = torch.searchsorted(volume, volume)
        last = torch.searchsorted(volume, volume, right=True) - 1
        self.first, self.last = first.to(device), last.to(device)
        self.distance_mm = torch.from_numpy(packed.distance_mm)[volume].to(device)
        self.volume = volume
        self.volumes = len(packed.names)
        self.names = packed.names
        self.spacing_mm = packed.spacing_mm

    def find_neighbours(self, index: Tensor, offset: Tensor) -> Tensor:
        """Slices (B, 3) below, at and above ``index`` (B,), ``offset`` (B,) apart; itself where there is none."""
        below, above = index - offset, index + offset
        below = torch.where(below >= self.first[index], below, index)
        above = torch.where(above <= self.last[index], above, index)
        return torch.stack([below, index, above], dim=1)

    def draw(self, dice: Dice, settings: PackedSettings, contrast: RandomSettings) -> Tuple[Tensor, Tensor]:
        """Images (B, C, crop, crop) before any change of contrast, and labels alike."""
        count = settings.batch
        index = dice.integers((count,), len(self.images))
        chosen = index[:, None]
        if settings.neighbours:
            chosen = self._draw_neighbours(dice, index, settings)
        channels = chosen.shape[1]
        images = self.images[chosen].float() / 255
        labels = self.labels[chosen]
        # A thicker slice sees a little of its neighbour.
        share = dice.chance(count, contrast.partial_volume).float() * dice.per_image(count, 0.0, 0.35)
        images = torch.lerp(images, images.roll(1, 1), share)
        grid = draw_grid(
            dice, count, channels, images.shape[2], settings.crop, (settings.spacing_mm, self.spacing_mm), contrast
        )
        return warp(images, grid), warp_labels(labels, grid)

    def _draw_neighbours(self, dice: Dice, index: Tensor, settings: PackedSettings) -> Tensor:
        count = len(index)
        distance = self.distance_mm[index]
        wanted = dice.uniform((count,), NEAREST_MM, FARTHEST_MM)
        offset = (wanted / distance).round().long().clamp_min(1)
        offset = torch.where(offset * distance > FARTHEST_MM + 4, torch.ones_like(offset), offset)
        offset = torch.where(dice.uniform((count,)) < settings.neighbour_dropout, torch.zeros_like(offset), offset)
        chosen = self.find_neighbours(index, offset)
        # Which end is the base is not told: stacks come in both orders.
        turned = dice.uniform((count, 1)) < 0.5
        return torch.where(turned, chosen.flip(1), chosen)


def schedule_learning_rate(step: int, settings: PackedSettings) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine to zero."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@torch.no_grad()
def validate(network: DRUNet, slices: ResidentSlices, settings: PackedSettings) -> Dict[str, float]:
    """Over held-out volumes, by data set: mean Dice per structure on the images as they are and with random contrast,
    and the median ratio of the volume of MYO to that of the labels."""
    network.eval()
    device = slices.images.device
    dice = Dice(torch.Generator(device=device).manual_seed(1))
    still = RandomSettings(rotation=0, scale=(1, 1), shear=0, shift_mm=0, far_shift=0, elastic_mm=0, misalignment_mm=0)
    middle, counts = settings.crop, torch.zeros((2, slices.volumes, 3, 3), device=device)
    for part in torch.arange(len(slices.images), device=device).split(64):
        chosen = part[:, None]
        if settings.neighbours:
            offset = (10.0 / slices.distance_mm[part]).round().long().clamp_min(1)
            chosen = slices.find_neighbours(part, offset)
        images, labels = slices.images[chosen].float() / 255, slices.labels[chosen]
        grid = _center_grid(len(part) * chosen.shape[1], images.shape[2], middle, settings, slices.spacing_mm, device)
        images, labels = warp(images, grid), warp_labels(labels, grid)
        changed = randomise(dice, images, labels, dataclasses.replace(still, plain_share=0.0))
        truth = F.one_hot(labels[:, labels.shape[1] // 2], 4).float()
        for number, variant in enumerate((images, changed)):
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(variant.contiguous(memory_format=torch.channels_last))
            predicted = F.one_hot(logits.argmax(1), 4).float()
            own = slices.volume[part.cpu()].to(device)
            for place, value in enumerate((predicted * truth, predicted, truth)):
                counts[number, :, place].index_add_(0, own, value.sum((1, 2))[:, 1:])
    network.train()
    both, said, true = counts[:, :, 0], counts[:, :, 1], counts[:, :, 2]
    scores = (2 * both / (said + true).clamp_min(1)).cpu()
    ratio = (said[0, :, 0] / true[0, :, 0].clamp_min(1)).cpu()
    row: Dict[str, float] = {}
    for name in sorted({text.split("/")[0] for text in slices.names}):
        own = torch.tensor([text.startswith(name + "/") for text in slices.names])
        for number, kind in enumerate(("plain", "random")):
            row[f"{name}_{kind}"] = round(float(scores[number, own].mean()), 4)
        row.update({f"{name}_{CLASS_NAMES[k + 1]}": round(float(scores[0, own, k].mean()), 4) for k in range(3)})
        row[f"{name}_MYO_ratio"] = round(float(ratio[own].median()), 3)
    return row


def _center_grid(
    count: int, window: int, size: int, settings: PackedSettings, spacing_mm: float, device: torch.device
) -> Tensor:
    axis = (torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2) * settings.spacing_mm
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return (torch.stack([columns, rows], dim=-1) * (2 / (window * spacing_mm))).expand(count, size, size, 2)


class PackedTraining:
    """One run in ``folder``: ``segmenter-checkpoint.safetensors`` and ``segmenter-log.jsonl``.

    Args:
        packed: training and held-out volumes.
        resume: go on from the checkpoint in ``folder``.
        report: hears one line at a time.
        compiled: let torch compile the network (worth its minute on a GPU).
        start: the network whose weights a new run begins with, one of the same settings; random ones by default.
    """

    def __init__(
        self,
        packed: PackedSlices,
        folder: Path,
        settings: PackedSettings,
        device: torch.device,
        resume: bool = False,
        report: Callable[[str], None] = print,
        compiled: bool = False,
        start: Optional[DRUNet] = None,
    ) -> None:
        self.settings, self.device, self.report = settings, device, report
        self.training = ResidentSlices(packed.select(False), device)
        self.held_out = ResidentSlices(packed.select(True), device)
        torch.manual_seed(settings.seed)
        self.network = to_device(DRUNet(**settings.network), device)
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        self.averaged = DRUNet(**settings.network).to(device).requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.dice = Dice(torch.Generator(device=device).manual_seed(settings.seed))
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{RUN_NAME}-checkpoint.safetensors"
        self._log_path = folder / f"{RUN_NAME}-log.jsonl"
        if resume:
            self._restore(*load_checkpoint(self.path))
            forget_later_rows(self._log_path, self.step)
        self.forward = torch.compile(self.network) if compiled else self.network

    def run(self, validate_every: int = 2000, limit_s: Optional[float] = None) -> DRUNet:
        """Train to the last step, or until ``limit_s`` seconds have passed; returns the averaged network."""
        settings = self.settings
        began, running = time.monotonic(), None
        contrast = RandomSettings(plain_share=settings.plain_share, late_enhancement=settings.late_share)
        first = self.step
        self.network.train()
        while self.step < settings.steps:
            running = self._take_step(contrast, running)
            self.step += 1
            done = self.step == settings.steps
            due = done or self.step % settings.checkpoint_every == 0
            # Asking the time is cheap, but a step is only over when the device says so: ask where it is asked anyway.
            if self.step % 100 == 0 or due:
                spent, loss = time.monotonic() - began, float(running)
                self.report(
                    f"step {self.step}/{settings.steps}  loss {loss:.4f}  {spent / (self.step - first):.4f} s/step"
                )
                if limit_s is not None and spent > limit_s:
                    due = done = True
            if due:
                self._keep()
            if done or self.step % validate_every == 0:
                row = {"step": self.step, "loss": round(float(running), 4)}
                row.update(validate(self.averaged, self.held_out, settings))
                self._log({**row, "seconds": round(time.monotonic() - began, 1)})
            if done:
                break
        return self.averaged

    def _take_step(self, contrast: RandomSettings, running: Optional[Tensor]) -> Tensor:
        settings = self.settings
        rate = settings.learning_rate * schedule_learning_rate(self.step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            images, labels = self.training.draw(self.dice, settings, contrast)
            images = randomise(self.dice, images, labels, contrast)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.forward(images.contiguous(memory_format=torch.channels_last))
        loss = compute_segmentation_loss(logits.float(), labels[:, labels.shape[1] // 2])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0, foreach=True)
        self.optimizer.step()
        decay = min(settings.average_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.network.parameters()), 1 - decay)
        loss = loss.detach()
        return loss if running is None else torch.lerp(running, loss, 0.02)

    def _log(self, row: Dict[str, float]) -> None:
        with open(self._log_path, "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        self.report(f"held out: {json.dumps(row)}")

    def _keep(self) -> None:
        """Write the checkpoint, and go on from what was written."""
        tensors = {"generator": self.dice.generator.get_state()}
        for name, module in (("network", self.network), ("averaged", self.averaged)):
            tensors.update(
                {f"{name}.{key}": value.half().cpu().contiguous() for key, value in module.state_dict().items()}
            )
        for number, parameter in enumerate(self.network.parameters()):
            state = self.optimizer.state[parameter]
            for side, mean in enumerate(summarise_squares(state["exp_avg_sq"])):
                tensors[f"optimizer.{number}.{side}"] = mean.cpu()
        record = {"step": self.step, "settings": dataclasses.asdict(self.settings)}
        save_checkpoint(self.path, tensors, record)
        self._restore(tensors, record)

    def _restore(self, tensors: Dict[str, Tensor], record: Dict[str, Any]) -> None:
        for name, module in (("network", self.network), ("averaged", self.averaged)):
            restore_module(module, {key: value.float() for key, value in pick_state(name, tensors).items()})
        self.dice.generator.set_state(tensors["generator"])
        self.step = int(record["step"])
        for number, parameter in enumerate(self.network.parameters()):
            sides = [tensors[f"optimizer.{number}.{side}"].to(self.device) for side in range(2)]
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.step), device=self.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": expand_squares(sides, parameter),
            }


def is_packed_run(folder: Path) -> bool:
    """Whether ``folder`` holds the checkpoint of a run on packed slices."""
    path = folder / f"{RUN_NAME}-checkpoint.safetensors"
    return path.exists() and "deep_widths" in load_checkpoint(path)[1]["settings"]


def load_averaged(folder: Path) -> Tuple[DRUNet, PackedSettings, int]:
    """The averaged network of a run, its settings, and the steps it took.

    Raises:
        InputError: where there is no checkpoint.
    """
    tensors, record = load_checkpoint(folder / f"{RUN_NAME}-checkpoint.safetensors")
    values = record["settings"]
    settings = PackedSettings(**{**values, "deep_widths": tuple(values["deep_widths"])})
    network = DRUNet(**settings.network)
    network.load_state_dict({key: value.float() for key, value in pick_state("averaged", tensors).items()})
    return network.eval().requires_grad_(False), settings, int(record["step"])
