"""The one definition of a job: what it takes, of which kind, in which bounds, and what is said about it.

Command line, worker and the panel's request come from it: :func:`add_options` gives the options to a parser and
:func:`read_options` reads them, :func:`parse_job` reads a job's JSON, :func:`check_values` checks both, and what Python
gives. Nothing here loads torch. docs/developers.md shows how an option is added.
"""

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from confuda.adaptation.settings import DEFAULT_PRESET, METHODS, MODES, PRESETS, make_settings
from confuda.app.kinds import (
    DEVICE,
    FILE,
    FOLDER,
    FRAMES,
    PATH,
    SCAR_METHOD,
    SETTINGS,
    SWITCH,
    Kind,
    choice,
    number,
    numbers,
    text,
    whole,
)
from confuda.errors import UsageError
from confuda.labels import find_label_values
from confuda.measure.function import ALL_FRAMES, ED_AND_ES, HEIGHT_CM, WEIGHT_KG
from confuda.threads import MOST_THREADS

READ, ADAPT = "read", "adapt"
"""What an option is for: :func:`confuda.read_volume`, or :meth:`confuda.Segmenter.adapt_and_segment`."""


def option(kind: Kind, help: str = "", flag: Optional[str] = "", use: str = "", **default: Any) -> Any:
    """A field of :class:`Job`.

    Args:
        help: what is said about it; no full stop.
        flag: on the command line; made of the field's name by default, None for none there.
        use: ``READ`` or ``ADAPT``, whose arguments have the same name.
        default: ``default`` or ``default_factory``; none for what has to be given.
    """
    return field(metadata={"kind": kind, "help": help, "flag": flag, "use": use}, **default)


@dataclass
class Job:
    """What to do with one volume.

    report: folder for ``report.html``, with ``uncertainty.nrrd`` beside it unless ``uncertainty`` names another file.
    Both are written after the segmentation: what goes wrong with them does not cost it. preview_folder: for early label
    maps, which the worker tells of. threads: to be set by whoever starts the process
    (:func:`confuda.threads.use_threads`). dicom_seg: for a DICOM SEG beside the output. series, spacing_mm, and frames
    where it is a number: see :func:`confuda.io.volume_file.read_volume`. Wall and scar are measured in the segmentation
    that is written; their files lie beside it.
    """

    volume: Path = option(PATH, "NIfTI, Analyze, NRRD, MetaImage, or a DICOM folder, file or DICOMDIR", flag="volume")
    output: Path = option(
        PATH,
        ".seg.nrrd, or .nii.gz/.nrrd labelmap; of DICOM also .dcm, a DICOM SEG, which names the patient as "
        "its images do",
        flag="-o/--output",
    )
    mode: str = option(choice(MODES), "all slices of the heart, or one", use=ADAPT, default="few-shot")
    slice: Optional[int] = option(
        whole(0, 100_000, optional=True, automatic="auto"),
        "the slice of the one-shot mode, from 0 (one in the middle of the heart by default)",
        use=ADAPT,
        default=None,
    )
    method: str = option(choice(METHODS), "a row of the paper's table; none as it is", use=ADAPT, default="confuda")
    preset: str = option(choice(PRESETS), "how long and how to adapt", use=ADAPT, default=DEFAULT_PRESET)
    bundle: Optional[Path] = option(PATH, "a bundle's folder (the shipped one by default)", default=None)
    device: str = option(DEVICE, "auto, cpu, cuda or cuda:N", default="auto")
    seed: int = option(whole(0, 2**32 - 1), "of everything random", use=ADAPT, default=0)
    center: Optional[Tuple[float, float]] = option(
        numbers(2, "I,J", "pair I,J"), "in-plane voxel indices of the heart's middle", use=ADAPT, default=None
    )
    settings: Dict[str, Any] = option(
        SETTINGS,
        "override one setting of the preset, e.g. --set steps=30",
        flag="--set",
        use=ADAPT,
        default_factory=dict,
    )
    preview_folder: Optional[Path] = option(PATH, flag=None, default=None)
    save_bundle: Optional[Path] = option(FOLDER, "keep the adapted network as a bundle", default=None)
    report: Optional[Path] = option(FOLDER, "a page about this case, DIR/report.html", default=None)
    uncertainty: Optional[Path] = option(
        FILE, "entropy from 0 to 1 on the volume's grid, .nrrd or .nii.gz", default=None
    )
    threads: Optional[int] = option(
        whole(1, MOST_THREADS, optional=True),
        "CPU threads (all cores, less one for other programs where there are more than two, by default)",
        default=None,
    )

    dicom_seg: Optional[Path] = option(PATH, flag=None, default=None)
    frames: Union[str, int, None] = option(
        FRAMES,
        "of a cine: one, from 0, or all, or the two near end-diastole and end-systole, with one adaptation for them",
        default=None,
    )
    series: Optional[int] = option(
        whole(0, 100_000, optional=True),
        "which DICOM series or stack, by its number in the list that --series 0 gives",
        use=READ,
        default=None,
    )
    spacing_mm: Optional[Tuple[float, float, float]] = option(
        numbers(3, "A,B,C", "spacing in mm such as 1.4,1.4,8", least=0.0),
        "mm between columns, rows and slices, where the file states none or a wrong one",
        flag="--spacing",
        use=READ,
        default=None,
    )

    height_cm: Optional[float] = option(
        number(*HEIGHT_CM, "cm"),
        "of the patient, for what a cine gives per body surface (DICOM may tell)",
        default=None,
    )
    weight_kg: Optional[float] = option(number(*WEIGHT_KG, "kg"), "likewise", default=None)
    wall: bool = option(SWITCH, "thickness, area and mass of the wall by AHA segment", default=False)
    scar: Optional[str] = option(
        SCAR_METHOD,
        "measure scar on late enhancement: full width at half maximum, or any number of standard deviations",
        default=None,
    )
    output_labels: Optional[str] = option(
        text(find_label_values, "acdc|MYO=2,LV=3,RV=1"),
        "label values of the output: acdc, mnms, ms-cmrseg, confuda, or which",
        default=None,
    )
    csv: Optional[Path] = option(FILE, "all numbers of the case as comma-separated values", default=None)

    def __post_init__(self) -> None:
        for entry in list_fields(type(self)):
            kind, value = entry.metadata["kind"], getattr(self, entry.name)
            if kind.is_good(value):
                setattr(self, entry.name, kind.make(value))

    def check(self) -> None:
        """See :func:`check_values`."""
        check_values({entry.name: getattr(self, entry.name) for entry in list_fields(type(self))}, type(self))

    def list_for(self, use: str) -> Dict[str, Any]:
        """The arguments for ``READ`` or ``ADAPT``, by name."""
        return {
            entry.name: getattr(self, entry.name) for entry in list_fields(type(self)) if entry.metadata["use"] == use
        }

    def list_paths(self) -> List[Path]:
        """All that are named: they may tell who the patient is."""
        paths = (getattr(self, entry.name) for entry in list_fields(type(self)) if _is_path_kind(entry))
        return [Path(path) for path in paths if path is not None]


JobType = TypeVar("JobType", bound=Job)


def list_fields(job: Type[Job] = Job) -> List["dataclasses.Field[Any]"]:
    """The fields of a job that are declared by :func:`option`, in their order."""
    return [entry for entry in dataclasses.fields(job) if "kind" in entry.metadata]


def check_values(values: Mapping[str, Any], job: Type[Job] = Job) -> None:
    """Check values, by the names of a job's fields, as far as no file has to be looked at.

    Raises:
        UsageError: naming the field and what it takes.
    """
    kinds = {entry.name: entry.metadata["kind"] for entry in list_fields(job)}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise UsageError(f"The job has unknown fields: {', '.join(unknown)[:200]}.")
    for name, value in values.items():
        if not kinds[name].is_good(value):
            raise UsageError(f"The job's field '{name}' has a value of the wrong kind.")
        refused = kinds[name].refuse(name, value)
        if refused:
            raise UsageError(refused)
    _check_read_outs(values)
    if values.get("slice") is not None and values.get("mode", Job.mode) != "one-shot":
        raise UsageError("A slice goes with the one-shot mode only.")
    make_settings(values.get("preset", DEFAULT_PRESET), values.get("settings", {}))


def _check_read_outs(values: Mapping[str, Any]) -> None:
    if is_cine(values.get("frames")):
        if values.get("scar") is not None:
            raise UsageError("Scar is measured on late enhancement, not on a cine: give one volume.")
        for name in ("slice", "uncertainty"):
            if values.get(name) is not None:
                raise UsageError(f"{name} goes with one frame of a cine: give its number to --frames.")
    elif values.get("height_cm") is not None or values.get("weight_kg") is not None:
        raise UsageError("Height and weight go with a cine: give --frames all or --frames ed,es.")


def is_cine(frames: Union[str, int, None]) -> bool:
    """Whether several frames of a cine are asked for."""
    return frames in (ALL_FRAMES, ED_AND_ES)


def parse_job(line: str, job: Type[JobType] = Job) -> JobType:  # type: ignore[assignment]
    """A job from its JSON line.

    Raises:
        UsageError: if it is no JSON object, lacks or misnames a field, or a value is not what its field takes.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("The job is not valid JSON.") from error
    if not isinstance(values, dict):
        raise UsageError("The job must be a JSON object.")
    for entry in list_fields(job):
        if _is_required(entry) and (not isinstance(values.get(entry.name), str) or not values[entry.name]):
            raise UsageError(f"The job needs a path in '{entry.name}'.")
    check_values(values, job)
    return job(**values)


def add_options(
    parser: argparse.ArgumentParser, names: Optional[Sequence[str]] = None, job: Type[Job] = Job, **changes: Any
) -> None:
    """Give ``parser`` the options of a job: all, or those of ``names``.

    changes: what argparse is told otherwise about all of them.
    """
    for entry in list_fields(job):
        flag, kind = entry.metadata["flag"], entry.metadata["kind"]
        if flag is None or (names is not None and entry.name not in names):
            continue
        told: Dict[str, Any] = {"type": _for_argparse(kind.read), "help": _describe(entry)}
        told.update({key: getattr(kind, key) for key in ("choices", "metavar") if getattr(kind, key) is not None})
        flags = flag.split("/") if flag else [f"--{entry.name.replace('_', '-')}"]
        if flags[0].startswith("-"):
            told.update(dest=entry.name, default=entry.default, required=_is_required(entry))
        if kind is SETTINGS:
            told.update(action="append", default=[])
        if kind is SWITCH:
            told = {"help": told["help"], "dest": entry.name, "action": "store_true"}
        parser.add_argument(*flags, **{**told, **changes})


def read_options(
    arguments: argparse.Namespace, names: Optional[Sequence[str]] = None, job: Type[Job] = Job
) -> Dict[str, Any]:
    """The values by field of a job's options, all or those of ``names``, from parsed arguments.

    Raises:
        UsageError: as :func:`check_values`.
    """
    values = {
        entry.name: entry.metadata["kind"].make(getattr(arguments, entry.name))
        for entry in list_fields(job)
        if entry.metadata["flag"] is not None and (names is None or entry.name in names)
    }
    check_values(values, job)
    return values


def _describe(entry: "dataclasses.Field[Any]") -> str:
    # That a switch is off says itself.
    has_default = isinstance(entry.default, (str, int)) and entry.metadata["kind"] is not SWITCH
    return entry.metadata["help"] + (f" ({entry.default} by default)" if has_default else "")


def _is_required(entry: "dataclasses.Field[Any]") -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _is_path_kind(entry: "dataclasses.Field[Any]") -> bool:
    return entry.metadata["kind"] in (PATH, FOLDER, FILE)


def _for_argparse(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def read_or_explain(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_or_explain
