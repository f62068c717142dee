"""How long a table will take, before it starts: by the cells that are there, or by a few steps of its own scale."""

import dataclasses
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch

from confuda.adaptation.runs import adapt
from confuda.benchmark.cells import CONTROL, UNADAPTED, Cell
from confuda.benchmark.recipe import Recipe
from confuda.bundle.exemplars import compute_source_bank
from confuda.bundle.format import Bundle
from confuda.labels import CLASS_NAMES
from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN

PROBE_IMAGES = 8
"""Source images of a step that is timed; a step of more takes as much longer as it has more images."""

PROBE_STEPS = 3
"""The first of them is not counted: it is slower than those that follow."""

CONTROL_SHARE = 0.5
"""What a step of the control takes of one of ConFUDA's: it has neither styles nor target."""

RAIN_SHARE = 1.5
"""What an image takes in RAIN's training of what it takes in the segmenter's (measured at the scale small)."""


def measure_step_s(recipe: Recipe, device: torch.device) -> float:
    """Seconds of a step of ConFUDA at the scale of ``recipe``, on images of noise and networks that know nothing."""
    settings = recipe.make_settings(PROBE_IMAGES, {})
    probe = dataclasses.replace(
        settings, steps=PROBE_STEPS, warmup_share=0.0, source_batch=min(settings.source_batch, PROBE_IMAGES)
    )
    bundle = _make_bundle(recipe, device)
    target = np.random.default_rng(0).random((probe.target_batch, bundle.crop, bundle.crop), dtype=np.float32)
    times: List[float] = []
    adapt(bundle, target, "confuda", probe, device, report=lambda *_: times.append(time.monotonic()))
    per_step = (times[-1] - times[0]) / (len(times) - 1)
    return per_step * _count_images(settings) / _count_images(probe)


def _count_images(settings: Any) -> int:
    return 2 * (settings.source_batch + settings.target_batch)


def _make_bundle(recipe: Recipe, device: torch.device) -> Bundle:
    source = recipe.source
    generator = torch.Generator().manual_seed(0)
    network = DRUNet(**source.network).eval().requires_grad_(False)
    rain = RAIN(recipe.rain.widths, recipe.rain.latent).eval().requires_grad_(False)
    images = torch.rand((PROBE_IMAGES, 1, source.window, source.window), generator=generator)
    labels = torch.randint(len(CLASS_NAMES), images[:, 0].shape, generator=generator)
    bank = compute_source_bank(network.to(device), images[:1], labels[:1])
    description = {"spacing_mm": source.spacing_mm, "crop": source.crop}
    return Bundle(description, network.cpu(), rain, images, labels, bank)


def estimate_cells_s(cells: Sequence[Cell], step_s: float, records: Mapping[str, Sequence[Dict[str, Any]]]) -> float:
    """Seconds of ``cells`` that are to be run.

    records: of cells that are there, by method: they know best, step for step; step_s: where there are none.
    """
    known = {method: _measure_pace(some) for method, some in records.items()}
    total = 0.0
    for cell in cells:
        if cell.method == UNADAPTED:
            continue
        pace = known.get(cell.method)
        share = CONTROL_SHARE if cell.method == CONTROL else 1.0
        total += cell.settings.steps * (step_s * share if pace is None else pace)
    return total


def _measure_pace(records: Sequence[Dict[str, Any]]) -> Optional[float]:
    """Seconds a step, the scoring of a cell included."""
    paces = [record["seconds"]["total"] / record["settings"]["steps"] for record in records if record["settings"]]
    return float(np.median(paces)) if paces else None


def estimate_source_s(recipe: Recipe, slices: int, step_s: float) -> float:
    """Seconds of a fold's source network and RAIN, with ``slices`` source slices."""
    image_s = step_s / _count_images(recipe.make_settings(slices, {}))
    rain_images = (recipe.rain.autoencoder_steps + recipe.rain.style_steps) * recipe.rain.batch
    return image_s * (recipe.source.count_steps(slices) * recipe.source.batch + RAIN_SHARE * rain_images)
