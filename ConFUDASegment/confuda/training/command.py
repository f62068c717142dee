"""What ``confuda train`` does: data, settings, training."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Type, TypeVar, Union

import torch

from confuda.bundle.format import load_bundle
from confuda.errors import UsageError
from confuda.networks.drunet import DRUNet
from confuda.training import rain as rain_training
from confuda.training import segmenter as segmenter_training
from confuda.training.acdc import SliceSet, check_split, find_acdc_cases, load_slices, split_acdc_cases
from confuda.training.checkpoint import load_checkpoint
from confuda.training.launch import LaunchOptions
from confuda.training.packed_segmenter import PackedSettings
from confuda.training.processes import Team
from confuda.training.rain import RainSettings, train_rain
from confuda.training.run import check_new_run, name_checkpoint
from confuda.training.segmenter import SegmenterSettings, train_segmenter
from confuda.training.source_record import SourceRecord, agree_on_source, write_source_record

KINDS = {segmenter_training.RUN_NAME: SegmenterSettings, rain_training.RUN_NAME: RainSettings}
"""The settings of each training by its name, in the order of ``confuda train all``."""

Settings = TypeVar("Settings", RainSettings, SegmenterSettings, PackedSettings)


def make_training_settings(kind: Type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings of ``kind`` with ``values`` by name.

    Raises:
        UsageError: for an unknown name or a value of the wrong kind.
    """
    defaults, given = kind(), dict(values)
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"Unknown setting '{name}': known are {', '.join(known)}.")
        wanted = type(getattr(defaults, name))
        if wanted is tuple and isinstance(value, list):
            given[name] = tuple(value)
        elif not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise UsageError(f"The setting '{name}' takes a value of type {wanted.__name__}.")
    return dataclasses.replace(defaults, **given)


def load_split(
    data: Path, held_out: bool, settings: Union[RainSettings, SegmenterSettings], source: SourceRecord
) -> SliceSet:
    """ACDC's slices in ``data`` that are for training, or those that are ``held_out``."""
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


@dataclass(frozen=True)
class TrainingOrder:
    """What ``confuda train`` is asked for: checkpoint and log of a training on ``data`` go to ``output``.

    values: settings by name, over the defaults; with ``resume`` over those of the checkpoint. threads: CPU threads.
    report: hears one line at a time. start: the bundle whose network a new run of the segmenter begins with.
    labels: the label value of each structure where they are not the data set's; a resumed run knows them. team: the
    processes that share the work, by default this one on the CPU.
    """

    dataset: str
    data: Path
    output: Path
    values: Dict[str, Any]
    resume: bool
    threads: Optional[int]
    report: Callable[[str], None]
    start: Optional[Path] = None
    labels: Optional[Dict[str, int]] = None
    team: Optional[Team] = None


def run_training(what: str, order: TrainingOrder) -> None:
    """Train ``what`` ("rain" or "segmenter").

    Raises:
        UsageError: if there is a ``start`` for RAIN, or one that does not fit the settings, or a checkpoint that a new
            run would replace.
    """
    output, values, resume, report = order.output, order.values, order.resume, order.report
    kind: Type[Any] = RainSettings if what == rain_training.RUN_NAME else SegmenterSettings
    if resume:
        _, record = load_checkpoint(name_checkpoint(output, what))
        values = {**record["settings"], **values}
    else:
        check_new_run(output, what)
    settings = make_training_settings(kind, values)
    network = None
    if order.start is not None and not resume:
        network, settings = _begin_with(order.start, settings)
    source = agree_on_source(output, SourceRecord(order.dataset, order.labels), resume)
    process = (order.team or Team(LaunchOptions(device="cpu"))).join(settings.batch, _name_normalisation(settings))
    if order.threads is not None:  # After the start of several processes, which sets a number of its own.
        torch.set_num_threads(order.threads)
    if process.is_first:
        report(f"reading {order.dataset} from {order.data}")
    train_slices = load_split(order.data, False, settings, source)
    if process.is_first:
        write_source_record(output, source)
    if what == rain_training.RUN_NAME:
        train_rain(train_slices, output, settings, resume, report, process=process)
    else:
        held_out = load_split(order.data, True, settings, source)
        train_segmenter(train_slices, held_out, output, settings, resume, report, start=network, process=process)


def _name_normalisation(settings: Union[RainSettings, SegmenterSettings]) -> str:
    return settings.normalisation if isinstance(settings, SegmenterSettings) else ""


def run_both_trainings(order: TrainingOrder) -> None:
    """Train segmenter and RAIN, one after the other, in the one output folder: see :func:`run_training`.

    Settings go where their names are known (:func:`pick_values`). With ``resume`` each goes on from its checkpoint,
    and begins where it has none.
    """
    if not order.resume:
        check_new_run(order.output, *KINDS)
    wanted = {what: pick_values(what, order.values) for what in KINDS}
    for what, kind in KINDS.items():
        settings = make_training_settings(kind, wanted[what])
        if order.team is not None:
            order.team.check(settings.batch, _name_normalisation(settings))
    for what in KINDS:
        order.report(f"training of {what}")
        # Where the first run stopped before RAIN, its labels hold for RAIN as well.
        source = agree_on_source(order.output, SourceRecord(order.dataset, order.labels), order.resume)
        own = dataclasses.replace(
            order,
            dataset=source.dataset,
            values=wanted[what],
            resume=order.resume and name_checkpoint(order.output, what).exists(),
            start=order.start if what == segmenter_training.RUN_NAME else None,
            labels=source.labels,
        )
        run_training(what, own)


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
