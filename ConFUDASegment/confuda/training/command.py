"""What ``confuda train`` and ``confuda bundle build`` do: data, settings, training, and the bundle of both networks."""

import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

import torch

from confuda import __version__
from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.exemplars import choose_exemplars, compute_source_bank, crop_exemplars
from confuda.bundle.format import Bundle, load_bundle, save_bundle
from confuda.errors import BundleError, UsageError
from confuda.labels import CLASS_NAMES
from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN
from confuda.training import rain as rain_training
from confuda.training import segmenter as segmenter_training
from confuda.training.acdc import SliceSet, check_split, find_acdc_cases, load_slices, split_acdc_cases
from confuda.training.checkpoint import load_checkpoint, pick_state
from confuda.training.launch import LaunchOptions
from confuda.training.processes import Team
from confuda.training.rain import RainSettings, train_rain
from confuda.training.run import name_checkpoint
from confuda.training.segmenter import SegmenterSettings, train_segmenter
from confuda.training.source_record import SourceRecord, agree_on_source, read_source_record, write_source_record

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

OWN_DATA_TERMS = {"data": "own data in ACDC's layout", "licence": "not stated", "citation": ""}
"""Where labels have values of their own and nothing else is said."""

KINDS = {segmenter_training.RUN_NAME: SegmenterSettings, rain_training.RUN_NAME: RainSettings}
"""The settings of each training by its name, in the order of ``confuda train all``."""

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


def _load(
    data: Path, held_out: bool, settings: Union[RainSettings, SegmenterSettings], source: SourceRecord
) -> SliceSet:
    cases = find_acdc_cases(data)
    check_split(cases)
    return load_slices(split_acdc_cases(cases, held_out), settings.spacing_mm, settings.window, source.values)


def pick_values(what: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    """Of the settings given to both trainings, those that are for ``what``: ``rain.batch`` for RAIN alone, ``batch``
    for each that has a setting of this name. A name that neither has stays, to be refused."""
    picked = {}
    for name, value in values.items():
        prefix, dot, rest = name.partition(".")
        if dot and prefix in KINDS:
            if prefix == what:
                picked[rest] = value
        elif hasattr(KINDS[what](), name) or not any(hasattr(kind(), name) for kind in KINDS.values()):
            picked[name] = value
    return picked


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
    labels: Optional[Dict[str, int]] = None,
    team: Optional[Team] = None,
) -> None:
    """Train ``what`` ("rain" or "segmenter") on ``data``; checkpoint and log go to ``output``.

    ``labels``: the label value of each structure where they are not the data set's; a resumed run knows them.
    ``team``: the processes that share the work, by default this one on the CPU.

    With ``resume`` the settings are those of the checkpoint, with ``values`` on top. A new run of the segmenter begins
    with the network of the bundle ``start``, where one is given.

    Raises:
        UsageError: if ``start`` is given for RAIN or does not fit the settings.
    """
    kind: Type[Any] = RainSettings if what == rain_training.RUN_NAME else SegmenterSettings
    if resume:
        _, record = load_checkpoint(name_checkpoint(output, what))
        values = {**record["settings"], **values}
    settings = make_training_settings(kind, values)
    network = None
    if start is not None and not resume:
        network, settings = _begin_with(start, settings)
    source = agree_on_source(output, SourceRecord(dataset, labels), resume)
    process = (team or Team(LaunchOptions(device="cpu"))).join(settings.batch, _name_normalisation(settings))
    if threads is not None:  # After the start of several processes, which sets a number of its own.
        torch.set_num_threads(threads)
    if process.is_first:
        report(f"reading {dataset} from {data}")
    train_slices = _load(data, False, settings, source)
    if process.is_first:
        write_source_record(output, source)
    if what == rain_training.RUN_NAME:
        train_rain(train_slices, output, settings, resume, report, process=process)
    else:
        held_out = _load(data, True, settings, source)
        train_segmenter(train_slices, held_out, output, settings, resume, report, start=network, process=process)


def _name_normalisation(settings: Union[RainSettings, SegmenterSettings]) -> str:
    return settings.normalisation if isinstance(settings, SegmenterSettings) else ""


def run_both_trainings(
    dataset: str,
    data: Path,
    output: Path,
    values: Dict[str, Any],
    resume: bool,
    threads: Optional[int],
    report: Callable[[str], None],
    start: Optional[Path] = None,
    labels: Optional[Dict[str, int]] = None,
    team: Optional[Team] = None,
) -> None:
    """Train segmenter and RAIN, one after the other, in the one folder ``output``: see :func:`run_training`.

    ``values`` go where their names are known (:func:`pick_values`). With ``resume`` each goes on from its checkpoint,
    and begins where it has none.
    """
    wanted = {what: pick_values(what, values) for what in KINDS}
    for what, kind in KINDS.items():
        settings = make_training_settings(kind, wanted[what])
        if team is not None:
            team.check(settings.batch, _name_normalisation(settings))
    for what in KINDS:
        report(f"training of {what}")
        goes_on = resume and name_checkpoint(output, what).exists()
        begins_with = start if what == segmenter_training.RUN_NAME else None
        # Where the first run stopped before RAIN, its labels hold for RAIN as well.
        source = agree_on_source(output, SourceRecord(dataset, labels), resume)
        run_training(
            what, source.dataset, data, output, wanted[what], goes_on, threads, report, begins_with, source.labels, team
        )


def _begin_with(
    bundle: Path, settings: Union[RainSettings, SegmenterSettings]
) -> Tuple[DRUNet, Union[RainSettings, SegmenterSettings]]:
    if not isinstance(settings, SegmenterSettings):
        raise UsageError("Only the segmenter can begin with the weights of a bundle.")
    loaded = load_bundle(bundle)
    own = loaded.description["segmenter"]
    if (own["width"], own["normalisation"]) != (settings.width, settings.normalisation):
        raise UsageError(f"The network in {bundle.name} has another width or normalisation: set them alike.")
    with torch.device("meta"):
        wanted = DRUNet(width=settings.width, normalisation=settings.normalisation).state_dict()
    if {name: value.shape for name, value in wanted.items()} != {
        name: value.shape for name, value in loaded.segmenter.state_dict().items()
    }:
        raise UsageError(
            f"The network in {bundle.name} sees several slices or has widths of its own, as only training on packed "
            "slices gives: begin with another bundle."
        )
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
    terms: Optional[Mapping[str, str]] = None,
) -> Bundle:
    """Make a bundle of the averaged segmenter and RAIN in two training folders, with exemplars from ``data``.

    ``rain_folder`` may be a bundle, too: its RAIN is kept. ``class_weights`` are those of
    :func:`confuda.inference.prediction.weigh_classes`. ``terms``: "data", "licence" and "citation" of the source, for
    the description.

    Raises:
        BundleError: if the two were trained at different spacings or crops.
    """
    tensors, record = load_checkpoint(name_checkpoint(segmenter_folder, segmenter_training.RUN_NAME))
    settings = make_training_settings(SegmenterSettings, record["settings"])
    segmenter_settings: Dict[str, Any] = {
        "width": settings.width,
        "normalisation": settings.normalisation,
        "standardise": True,
    }
    network = DRUNet(**segmenter_settings)
    averaged = pick_state("averaged.module", tensors)
    network.load_state_dict(averaged)
    network.eval().requires_grad_(False)

    rain, rain_training_record = _load_rain(rain_folder, settings)
    source = read_source_record(segmenter_folder, dataset)
    slices = _load(data, False, settings, source)
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
            **(DATA_TERMS[source.dataset] if source.labels is None else OWN_DATA_TERMS),
            **{name: text for name, text in (terms or {}).items() if text},
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
