"""The source side of a fold as a bundle: a segmenter trained on labelled bSSFP alone, RAIN on bSSFP and T2, and the
source slices themselves as exemplars. Made once, kept, and shared by all cells of the fold."""

import dataclasses
import time
from pathlib import Path
from typing import Callable, Iterator, Tuple, cast

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from confuda import __version__
from confuda.adaptation.loop import SOURCE_RANDOM
from confuda.benchmark.folds import Fold
from confuda.benchmark.recipe import Recipe, SourceSettings
from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.exemplars import compute_source_bank
from confuda.bundle.format import Bundle, load_bundle, save_bundle
from confuda.device import compile_where_it_pays, compute_in_mixed_precision, to_device
from confuda.errors import InputError
from confuda.imaging.random_geometry import draw_grid, warp, warp_labels
from confuda.imaging.random_settings import Dice
from confuda.imaging.stack import HeartCrop, ShortAxisStack, find_slice_axis
from confuda.io.volume_file import read_volume
from confuda.labels import CLASS_NAMES
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.networks.drunet import DRUNet
from confuda.training.mscmrseg import BSSFP, DATASET, T2
from confuda.training.processes import SingleProcess
from confuda.training.rain import RUN_NAME as RAIN_RUN
from confuda.training.rain import train_rain
from confuda.training.run import TrainingRun, name_checkpoint
from confuda.training.slices import SliceSet, load_slices, quantise

SOURCE_RUN = "source"
BUNDLE_FOLDER = "bundle"
CHECKPOINT_EVERY_S = 20.0

AFFINE = dataclasses.replace(SOURCE_RANDOM, elastic_mm=0.0)
"""The motion of the source images: the affine part of what they go through while a method adapts (section 3.1)."""

DECAY_POWER = 0.9


def prepare_source(
    fold: Fold, recipe: Recipe, folder: Path, seed: int, device: torch.device, report: Callable[[str], None]
) -> Bundle:
    """The bundle of ``fold`` in ``folder``, which belongs to this fold, recipe and seed alone: read, or made first.

    What was interrupted goes on from its checkpoint. The bundle is always the one on disk (weights in float16), so
    that the cells before and after an interruption begin with the same network.
    """
    bundle_folder = folder / BUNDLE_FOLDER
    if not (bundle_folder / DESCRIPTION_NAME).is_file():
        _make_source(fold, recipe, folder, seed, device, report)
    return load_bundle(bundle_folder)


def _make_source(
    fold: Fold, recipe: Recipe, folder: Path, seed: int, device: torch.device, report: Callable[[str], None]
) -> None:
    began = time.monotonic()
    settings = recipe.source
    slices = load_slices(
        [patient.make_case(BSSFP) for patient in fold.source], settings.spacing_mm, settings.window, DATASET
    )
    network = train_source(slices, settings, folder, seed, device, report)
    rain_settings = dataclasses.replace(recipe.rain, seed=seed)
    resume = name_checkpoint(folder, RAIN_RUN).exists()
    styles, process = gather_styles(fold, slices, settings), SingleProcess(device)
    rain = train_rain(styles, folder, rain_settings, resume, report, CHECKPOINT_EVERY_S, process)
    images = torch.from_numpy(slices.images).float()[:, None] / 255
    labels = torch.from_numpy(slices.labels).long()
    description = {
        "name": f"ms-cmrseg-fold{fold.number}",
        "version": __version__,
        "classes": list(CLASS_NAMES),
        "spacing_mm": settings.spacing_mm,
        "crop": settings.crop,
        "segmenter": settings.network,
        "rain": {"widths": list(rain_settings.widths), "latent": rain_settings.latent},
        "training": {
            "data": f"MS-CMRSeg, bSSFP of {len(fold.source)} patients (RAIN: and their T2)",
            "licence": "research only, no redistribution: this bundle holds its images and may not be passed on",
            "segmenter": dataclasses.asdict(settings),
            "rain": dataclasses.asdict(rain_settings),
            "seconds": round(time.monotonic() - began, 1),
        },
        "scores": {},
    }
    bank = compute_source_bank(network.to(device), images, labels)
    save_bundle(Bundle(description, network.cpu(), rain.cpu().eval(), images, labels, bank), folder / BUNDLE_FOLDER)


def gather_styles(fold: Fold, source: SliceSet, settings: SourceSettings) -> SliceSet:
    """What RAIN learns from: bSSFP and T2 of the source patients, never LGE, and no label of either.

    Raises:
        InputError: if none of them has a T2, naming the path that was expected.
    """
    paths = [patient.images[T2] for patient in fold.source if T2 in patient.images]
    if not paths:
        expected = fold.source[0].expect_image(T2)
        raise InputError(f"RAIN needs the {T2} of the source patients: expected files such as {expected}.")
    parts = [quantise(crop_middle(path, settings.spacing_mm, settings.window).slices) for path in paths]
    images = np.concatenate([source.images, *parts])
    first = len(source.names)
    volume = np.concatenate([source.volume, *(np.full(len(part), first + k) for k, part in enumerate(parts))])
    distances = source.distance_mm + [0.0] * len(paths)
    return SliceSet(images, np.zeros_like(images), volume, source.names + [path.name for path in paths], distances)


def count_source_slices(fold: Fold) -> int:
    """How many slices the source of a fold has; only headers are read."""
    return sum(slices for slices, _ in _read_headers(fold))


def measure_field_mm(fold: Fold) -> float:
    """Side of the smallest square that a source image shows; only headers are read."""
    return min(side_mm for _, side_mm in _read_headers(fold))


def _read_headers(fold: Fold) -> Iterator[Tuple[int, float]]:
    """Number of slices and shorter side in mm of each source image."""
    for patient in fold.source:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(patient.images[BSSFP]))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise InputError(f"{patient.images[BSSFP]} is damaged or incomplete: copy it again.") from error
        size, spacing_mm = reader.GetSize(), reader.GetSpacing()
        across = find_slice_axis(size, spacing_mm)
        yield size[across], min(size[axis] * spacing_mm[axis] for axis in range(3) if axis != across)


def crop_middle(path: Path, spacing_mm: float, size: int) -> HeartCrop:
    """A volume through a window of ``size`` pixels on its middle: the rule for whatever has no labels to look at.

    The middle of the image needs neither labels nor a network whose opinion of LGE would decide what it is tested on.
    """
    return ShortAxisStack(read_volume(path).image, spacing_mm).crop(None, size)


def crop_like_source(path: Path, spacing_mm: float, size: int, field_mm: float) -> HeartCrop:
    """A target volume through the window of :func:`crop_middle`, black beyond ``field_mm`` where the source images are.

    Source images that were cut around the heart show black at the edge of the window wherever they are moved. Where
    targets had none, that frame alone would be a change of domain: on MS-CMRSeg, whose bSSFP is cut to 144 mm, a source
    network had an average Dice of 0.13 on LGE without it and 0.49 with it.
    """
    stack = ShortAxisStack(read_volume(path).image, spacing_mm)
    crop = stack.crop(None, size)
    margin = max(0, (size - int(field_mm / spacing_mm)) // 2)
    if margin:
        inside = stack.crop(None, size - 2 * margin)
        crop.slices = np.pad(inside.slices, ((0, 0), (margin, margin), (margin, margin)))
    return crop


def train_source(
    slices: SliceSet,
    settings: SourceSettings,
    folder: Path,
    seed: int,
    device: torch.device,
    report: Callable[[str], None],
) -> DRUNet:
    """Train a segmenter on labelled source slices in affine motion, and nothing else; on the CPU again when it returns.

    All slices are on ``device``: a step copies a few hundred random numbers to it, and nothing else. It goes on from
    the checkpoint in ``folder``, if there is one, exactly as if it had not stopped.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = to_device(DRUNet(**settings.network), device)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay), use_buffers=True)
    optimizer = make_optimizer(network, settings)
    resume = name_checkpoint(folder, SOURCE_RUN).exists()
    modules = {"network": network, "averaged": averaged}
    run = TrainingRun(folder, SOURCE_RUN, modules, optimizer, generator, settings, resume, report, CHECKPOINT_EVERY_S)
    images, labels = (torch.from_numpy(part).to(device) for part in (slices.images, slices.labels))
    forward, dice = compile_where_it_pays(network, device), Dice(generator, device)
    steps = settings.count_steps(len(images))
    network.train()
    for step in run.count_steps(steps):
        rise = min(1.0, (step + 1) / settings.rise_steps)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rise * (1 - step / steps) ** DECAY_POWER
        some_images, some_labels = _draw_batch(images, labels, settings, dice)
        with compute_in_mixed_precision(device):
            logits = forward(some_images.contiguous(memory_format=torch.channels_last))
        loss = compute_segmentation_loss(logits.float(), some_labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        averaged.update_parameters(network)
        done = step + 1
        if done % 50 == 0 or done == steps:
            run.tell_progress(done, steps, f"loss {loss.item():.4f}")
    return cast(DRUNet, averaged.module.to("cpu").eval().requires_grad_(False))


def make_optimizer(network: DRUNet, settings: SourceSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), settings.learning_rate, momentum=0.9, weight_decay=5e-4)
    return torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=1e-4)


def _draw_batch(images: Tensor, labels: Tensor, settings: SourceSettings, dice: Dice) -> Tuple[Tensor, Tensor]:
    """Images (B, 1, crop, crop) in [0, 1] and labels (B, crop, crop) of uint8 slices (N, window, window)."""
    chosen = dice.integers((settings.batch,), len(images))
    spacings = (settings.spacing_mm, settings.spacing_mm)
    grid = draw_grid(dice, settings.batch, 1, images.shape[-1], settings.crop, spacings, AFFINE)
    return warp(images[chosen][:, None].float() / 255, grid), warp_labels(labels[chosen][:, None], grid)[:, 0]
