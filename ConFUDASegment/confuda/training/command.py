"""What ``confuda train`` and ``confuda bundle build`` do: data, settings, training, and the bundle of both networks."""

import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Type, TypeVar, Union

import torch

from confuda import __version__
from confuda.bundle import DESCRIPTION_NAME, Bundle, load_bundle, save_bundle
from confuda.data.acdc import SliceSet, find_acdc_cases, load_slices, split_acdc_cases
from confuda.errors import BundleError, UsageError
from confuda.exemplars import choose_exemplars, compute_source_bank, crop_exemplars
from confuda.labels import CLASS_NAMES
from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN
from confuda.training import rain as rain_training
from confuda.training import segmenter as segmenter_training
from confuda.training.checkpoint import load_checkpoint, pick_state
from confuda.training.rain import RainSettings, train_rain
from confuda.training.run import name_checkpoint
from confuda.training.segmenter import SegmenterSettings, train_segmenter

EXEMPLARS = 64
EXEMPLAR_MARGIN = 32
"""Exemplars are this much larger than the crop, so that they can turn and move without black corners."""

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

Settings = TypeVar("Settings", RainSettings, SegmenterSettings)


def make_training_settings(kind: Type[Settings], values: Dict[str, Any]) -> Settings:
    """Settings of ``kind`` with ``values`` by name.

    Raises:
        UsageError: for an unknown name or a value of the wrong kind.
    """
    defaults = kind()
    for name, value in values.items():
        if not hasattr(defaults, name):
            known = ", ".join(field.name for field in dataclasses.fields(kind))
            raise UsageError(f"Unknown setting '{name}': known are {known}.")
        wanted = type(getattr(defaults, name))
        if wanted is tuple and isinstance(value, list):
            values = {**values, name: tuple(value)}
        elif not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise UsageError(f"The setting '{name}' takes a value of type {wanted.__name__}.")
    return dataclasses.replace(defaults, **values)


def _load(data: Path, held_out: bool, settings: Union[RainSettings, SegmenterSettings]) -> SliceSet:
    cases = split_acdc_cases(find_acdc_cases(data), held_out)
    return load_slices(cases, settings.spacing_mm, settings.window)


def run_training(
    what: str,
    dataset: str,
    data: Path,
    output: Path,
    values: Dict[str, Any],
    resume: bool,
    threads: Optional[int],
    report: Callable[[str], None],
    start: Optional[Path] = None,
) -> None:
    """Train ``what`` ("rain" or "segmenter") on ``data``; checkpoint and log go to ``output``.

    With ``resume`` the settings are those of the checkpoint, with ``values`` on top. A new run of the segmenter begins
    with the network of the bundle ``start``, where one is given.

    Raises:
        UsageError: if ``start`` is given for RAIN or does not fit the settings.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    kind = RainSettings if what == rain_training.RUN_NAME else SegmenterSettings
    if resume:
        _, record = load_checkpoint(name_checkpoint(output, what))
        values = {**record["settings"], **values}
    settings = make_training_settings(kind, values)
    network = None
    if start is not None and not resume:
        network, settings = _begin_with(start, settings)
    report(f"reading {dataset} from {data}")
    train_slices = _load(data, False, settings)
    if what == rain_training.RUN_NAME:
        train_rain(train_slices, output, settings, resume, report)
    else:
        train_segmenter(train_slices, _load(data, True, settings), output, settings, resume, report, start=network)


def _begin_with(
    bundle: Path, settings: Union[RainSettings, SegmenterSettings]
) -> Tuple[DRUNet, Union[RainSettings, SegmenterSettings]]:
    if not isinstance(settings, SegmenterSettings):
        raise UsageError("Only the segmenter can begin with the weights of a bundle.")
    loaded = load_bundle(bundle)
    own = loaded.description["segmenter"]
    if (own["width"], own["normalisation"]) != (settings.width, settings.normalisation):
        raise UsageError(f"The network in {bundle.name} has another width or normalisation: set them alike.")
    origin = f"{loaded.description.get('name', bundle.name)} {loaded.description.get('version', '')}".strip()
    return loaded.segmenter, dataclasses.replace(settings, began_with=origin)


def build_bundle(
    segmenter_folder: Path,
    rain_folder: Path,
    dataset: str,
    data: Path,
    name: str,
    scores: Dict[str, Any],
    output: Path,
    class_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> Bundle:
    """Make a bundle of the averaged segmenter and RAIN in two training folders, with exemplars from ``data``.

    ``rain_folder`` may be a bundle, too: its RAIN is kept. ``class_weights`` are those of
    :func:`confuda.predict.weigh_classes`.

    Raises:
        BundleError: if the two were trained at different spacings or crops.
    """
    tensors, record = load_checkpoint(name_checkpoint(segmenter_folder, segmenter_training.RUN_NAME))
    settings = make_training_settings(SegmenterSettings, record["settings"])
    segmenter_settings = {"width": settings.width, "normalisation": settings.normalisation, "standardise": True}
    network = DRUNet(**segmenter_settings)
    averaged = pick_state("averaged.module", tensors)
    network.load_state_dict(averaged)
    network.eval().requires_grad_(False)

    rain, rain_training_record = _load_rain(rain_folder, settings)
    slices = _load(data, False, settings)
    chosen = choose_exemplars(slices.labels, slices.volume, EXEMPLARS, settings.seed)
    images, labels = crop_exemplars(slices.images[chosen], slices.labels[chosen], settings.crop + EXEMPLAR_MARGIN)
    bank = compute_source_bank(network, images, labels)
    description = {
        "name": name,
        "version": __version__,
        "classes": list(CLASS_NAMES),
        "spacing_mm": settings.spacing_mm,
        "crop": settings.crop,
        "class_weights": list(class_weights),
        "segmenter": segmenter_settings,
        "rain": {"widths": rain_training_record["widths"], "latent": rain_training_record["latent"]},
        "training": {
            **DATA_TERMS[dataset],
            "segmenter": {**dataclasses.asdict(settings), "steps_done": record["step"]},
            "rain": rain_training_record,
        },
        "scores": scores,
    }
    bundle = Bundle(description, network, rain.eval().requires_grad_(False), images, labels, bank)
    save_bundle(bundle, output)
    return bundle


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
