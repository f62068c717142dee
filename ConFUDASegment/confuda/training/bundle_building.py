"""The bundle that ``confuda bundle build`` makes of a trained segmenter and a trained RAIN, with exemplars."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from confuda import __version__
from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.exemplars import choose_exemplars, compute_source_bank, crop_exemplars
from confuda.bundle.format import Bundle, load_bundle, save_bundle
from confuda.errors import BundleError, InputError
from confuda.imaging.neighbours import count_offset
from confuda.labels import CLASS_NAMES
from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN
from confuda.training import rain as rain_training
from confuda.training import segmenter as segmenter_training
from confuda.training.acdc import find_acdc_cases, is_always_held_out
from confuda.training.checkpoint import load_checkpoint, pick_state
from confuda.training.command import load_split, make_training_settings
from confuda.training.packed_segmenter import PackedSettings, is_packed_run, load_averaged
from confuda.training.rain import RainSettings
from confuda.training.run import name_checkpoint
from confuda.training.segmenter import SegmenterSettings
from confuda.training.slices import load_slices
from confuda.training.source_record import read_source_record

EXEMPLARS = 64
EXEMPLAR_MARGIN = 32
"""Exemplars are this much larger than the crop, so that they can turn and move without black corners."""
EXEMPLAR_STACKS = 9
EXEMPLAR_STACK_MARGIN = 16
"""The same for exemplars that are whole stacks, which are many more slices."""
LARGEST_CHANGE_OF_SPACING = 1.3
"""RAIN, which sees texture rather than sizes, serves a grid up to this much finer or coarser than its own."""

DATA_TERMS = {
    "acdc": {
        "data": "ACDC training set, end-diastole and end-systole, bSSFP; patients 10, 20, ..., 100 held out",
        "licence": "CC BY-NC-SA 4.0",
        "citation": (
            "O. Bernard et al.: Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and "
            "Diagnosis: Is the Problem Solved? IEEE Transactions on Medical Imaging 37(11), 2018"
        ),
    }
}

OWN_DATA_TERMS = {"data": "own data in ACDC's layout", "licence": "not stated", "citation": ""}
"""Where labels have values of their own and nothing else is said."""

PACKED_TERMS = {
    "data": "ACDC and M&Ms training sets, end-diastole and end-systole, bSSFP; held out: patients 10, 20, ..., 100 of "
    "ACDC, and of M&Ms those whose number ends in 5",
    "licence": "CC BY-NC-SA 4.0",
    "citation": "O. Bernard et al.: Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation "
    "and Diagnosis: Is the Problem Solved? IEEE Transactions on Medical Imaging 37(11), 2018; V. M. Campello et al.: "
    "Multi-Centre, Multi-Vendor and Multi-Disease Cardiac Segmentation: The M&Ms Challenge. IEEE Transactions on "
    "Medical Imaging 40(12), 2021",
}


@dataclass(frozen=True)
class _Parts:
    """What is put into a bundle: networks, exemplars, and what its description says of them.

    segmenter, rain_widths: what the networks are made with. training: data terms, and the record of both trainings.
    views: of a prediction, where the bundle says so. samples: see :class:`confuda.bundle.format.Bundle`.
    """

    network: DRUNet
    rain: RAIN
    spacing_mm: float
    crop: int
    segmenter: Dict[str, Any]
    rain_widths: Dict[str, Any]
    data_terms: Mapping[str, str]
    segmenter_training: Dict[str, Any]
    rain_training: Dict[str, Any]
    images: Tensor
    labels: Tensor
    samples: Tensor
    views: Optional[int] = None


def build_bundle(
    segmenter_folder: Path,
    rain_folder: Path,
    dataset: str,
    data: Path,
    name: str,
    scores: Dict[str, Any],
    output: Path,
    class_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    scar_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    terms: Optional[Mapping[str, Optional[str]]] = None,
) -> Bundle:
    """Make a bundle of the averaged segmenter in one training folder and of RAIN, with exemplars from ``data``.

    ``segmenter_folder`` may be that of a run on packed slices; the exemplars are then whole stacks of ACDC.
    ``rain_folder`` is a training folder or, as it has to be for such a run, a bundle whose RAIN is kept.
    ``class_weights`` are those of :func:`confuda.inference.prediction.weigh_classes`, ``scar_weights`` those of
    ``confuda.inference.scar_weights``. ``terms``: "data", "licence" and
    "citation" of the source, for the description.

    Raises:
        BundleError: if the two were trained at different spacings or crops.
    """
    if is_packed_run(segmenter_folder):
        parts = _gather_packed_parts(segmenter_folder, rain_folder, data)
    else:
        parts = _gather_parts(segmenter_folder, rain_folder, dataset, data)
    description = {
        "name": name,
        "version": __version__,
        "classes": list(CLASS_NAMES),
        "spacing_mm": parts.spacing_mm,
        "crop": parts.crop,
        "class_weights": list(class_weights),
        "scar_weights": list(scar_weights),
        **({} if parts.views is None else {"views": parts.views}),
        "segmenter": parts.segmenter,
        "rain": parts.rain_widths,
        "training": {
            **parts.data_terms,
            **{key: text for key, text in (terms or {}).items() if text},
            "segmenter": parts.segmenter_training,
            "rain": parts.rain_training,
        },
        "scores": scores,
    }
    middle = parts.samples[:, parts.samples.shape[1] // 2]
    bank = compute_source_bank(parts.network, parts.images[parts.samples, 0], parts.labels[middle])
    bundle = Bundle(description, parts.network, parts.rain, parts.images, parts.labels, bank, parts.samples)
    save_bundle(bundle, output)
    return bundle


def _gather_parts(segmenter_folder: Path, rain_folder: Path, dataset: str, data: Path) -> _Parts:
    tensors, record = load_checkpoint(name_checkpoint(segmenter_folder, segmenter_training.RUN_NAME))
    settings = make_training_settings(SegmenterSettings, record["settings"])
    segmenter: Dict[str, Any] = {"width": settings.width, "normalisation": settings.normalisation, "standardise": True}
    network = DRUNet(**segmenter)
    network.load_state_dict(pick_state("averaged.module", tensors))
    rain, rain_record = _load_rain(rain_folder, settings)
    source = read_source_record(segmenter_folder, dataset)
    slices = load_split(data, False, settings, source)
    chosen = choose_exemplars(slices.labels, slices.volume, EXEMPLARS, settings.seed)
    images, labels = crop_exemplars(slices.images[chosen], slices.labels[chosen], settings.crop + EXEMPLAR_MARGIN)
    return _Parts(
        network=network.eval().requires_grad_(False),
        rain=rain.eval().requires_grad_(False),
        spacing_mm=settings.spacing_mm,
        crop=settings.crop,
        segmenter=segmenter,
        rain_widths={"widths": rain_record["widths"], "latent": rain_record["latent"]},
        data_terms=DATA_TERMS[source.dataset] if source.labels is None else OWN_DATA_TERMS,
        segmenter_training={**dataclasses.asdict(settings), "steps_done": record["step"]},
        rain_training=rain_record,
        images=images,
        labels=labels,
        samples=torch.arange(len(images))[:, None],
    )


def _gather_packed_parts(segmenter_folder: Path, rain_folder: Path, data: Path) -> _Parts:
    network, settings, steps = load_averaged(segmenter_folder)
    other = load_bundle(rain_folder)
    change = max(other.spacing_mm / settings.spacing_mm, settings.spacing_mm / other.spacing_mm)
    if change > LARGEST_CHANGE_OF_SPACING:
        raise BundleError("RAIN and segmenter were trained at spacings too far apart: train them alike.")
    images, labels, samples = gather_exemplars(data, settings, settings.seed)
    rain_widths = other.description["rain"]
    return _Parts(
        network=network,
        rain=other.rain,
        spacing_mm=settings.spacing_mm,
        crop=settings.crop,
        segmenter=dict(settings.network),
        rain_widths=rain_widths,
        data_terms=PACKED_TERMS,
        segmenter_training={
            **dataclasses.asdict(settings),
            "deep_widths": list(settings.deep_widths),
            "steps_done": steps,
        },
        rain_training=other.description.get("training", {}).get("rain", rain_widths),
        images=images,
        labels=labels,
        samples=samples,
        views=4,
    )


def _load_rain(folder: Path, settings: SegmenterSettings) -> Tuple[RAIN, Dict[str, Any]]:
    """RAIN from a training folder or a bundle, and the record of its training; it must fit the segmenter's grid."""
    if (folder / DESCRIPTION_NAME).exists():
        bundle = load_bundle(folder)
        grid, rain = (bundle.spacing_mm, bundle.crop), bundle.rain
        record = {**bundle.description["rain"], **bundle.description["training"]["rain"]}
    else:
        tensors, own = load_checkpoint(name_checkpoint(folder, rain_training.RUN_NAME))
        rain_settings = make_training_settings(RainSettings, own["settings"])
        grid, rain = (rain_settings.spacing_mm, rain_settings.crop), RAIN(rain_settings.widths, rain_settings.latent)
        rain.load_state_dict(pick_state("rain", tensors))
        record = {**dataclasses.asdict(rain_settings), "steps_done": own["step"]}
        record["widths"] = list(record["widths"])
    if grid != (settings.spacing_mm, settings.crop):
        raise BundleError("RAIN and segmenter were trained at different spacings or crops: train them alike.")
    return rain, record


def choose_stacks(cases: Sequence[Any], seed: int) -> List[Any]:
    """Cases of ``EXEMPLAR_STACKS`` patients in training, spread over their numbers (ACDC's go by disease), one frame
    each, early and late ones in turn."""
    patients = sorted({case.patient for case in cases if not is_always_held_out(case.patient)})
    if not patients:
        raise InputError("There is no patient in training to take exemplars from.")
    parts = np.array_split(np.array(patients), min(EXEMPLAR_STACKS, len(patients)))
    random = np.random.default_rng(seed)
    chosen = []
    for turn, part in enumerate(parts):
        own = [case for case in cases if case.patient == random.choice(part)]
        own = own or [case for case in cases if case.patient == part[0]]
        chosen.append(own[turn % len(own)])
    return chosen


def gather_exemplars(data: Path, settings: PackedSettings, seed: int) -> Tuple[Tensor, Tensor, Tensor]:
    """Whole stacks of ACDC: images (N, 1, H, W), labels (N, H, W), and samples (M, C) of the slices that show a heart.

    Raises:
        InputError: if ``data`` is not ACDC in its official layout.
    """
    cases = choose_stacks(find_acdc_cases(data), seed)
    size = settings.crop + EXEMPLAR_STACK_MARGIN
    slices = load_slices(cases, settings.spacing_mm, size)
    images, labels = crop_exemplars(slices.images, slices.labels, size)
    samples = []
    reach = 1 if settings.neighbours else 0
    for number in np.flatnonzero(slices.labels.reshape(len(slices.labels), -1).any(axis=1)):
        offset = count_offset(slices.distance_mm[slices.volume[number]])
        steps = np.arange(-reach, reach + 1) * offset
        samples.append([int(slices.neighbour(np.array([number]), np.array([step]))[0]) for step in steps])
    return images, labels, torch.tensor(samples)
