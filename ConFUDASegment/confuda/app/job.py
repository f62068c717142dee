"""The one definition of a job: what it takes, of which kind, in which bounds, and what is said about it.

Command line, worker and the panel's request come from it: :func:`add_options` gives the options to a parser and
:func:`read_options` reads them, :func:`parse_job` reads a job's JSON, :func:`check_values` checks both, and what Python
gives. Nothing here loads torch. docs/developers.md shows how an option is added.
"""

import argparse
import dataclasses
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar

from confuda.adaptation.settings import DEFAULT_PRESET, METHODS, MODES, PRESETS, make_settings
from confuda.errors import UsageError
from confuda.threads import MOST_THREADS

READ, ADAPT = "read", "adapt"
"""What an option is for: :func:`confuda.read_volume`, or :meth:`confuda.Segmenter.adapt_and_segment`."""

LONGEST_NAME = 100
"""Characters of a name: the sentence that refuses it repeats it, and is to stay one sentence."""

LARGEST_NUMBER = 1e6


class Kind(NamedTuple):
    """What values an option takes.

    read: from the text on the command line; raises ValueError with the end of a sentence. is_good: whether a value that
    JSON or Python gives is of this kind. make: the job's value of it. refuse: a sentence for a value of this kind that
    is out of bounds, "" for all others. choices: what to choose from, where that is a list. metavar: stands for the
    value in the help.
    """

    read: Callable[[str], Any]
    is_good: Callable[[Any], bool]
    make: Callable[[Any], Any] = lambda value: value
    refuse: Callable[[str, Any], str] = lambda name, value: ""
    choices: Optional[Sequence[str]] = None
    metavar: Optional[str] = None


def choice(names: Iterable[str]) -> Kind:
    """One of ``names``."""
    known = tuple(names)

    def refuse(name: str, value: str) -> str:
        return "" if value in known else f"Unknown {name} '{value}': choose one of {', '.join(known)}."

    return Kind(str, _is_name, refuse=refuse, choices=known)


def whole(least: int, most: int, optional: bool = False, automatic: str = "") -> Kind:
    """A whole number from ``least`` to ``most``; where ``optional``, also None, which may be given as ``automatic``."""

    def read(text: str) -> Optional[int]:
        if automatic and text == automatic:
            return None
        try:
            return int(text)
        except ValueError:
            also = f", nor '{automatic}'" if automatic else ""
            raise ValueError(f"'{text}' is no whole number{also}") from None

    def refuse(name: str, value: Optional[int]) -> str:
        good = value is None or least <= value <= most
        return "" if good else f"{name} must lie between {least} and {most}."

    def is_good(value: Any) -> bool:
        return (value is None and optional) or (isinstance(value, int) and not isinstance(value, bool))

    return Kind(read, is_good, refuse=refuse, metavar=f"K|{automatic}" if automatic else "N")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and value.isprintable()


def _is_path(value: Any) -> bool:
    try:
        return value is None or (isinstance(value, (str, Path)) and b"\0" not in os.fsencode(value))
    except UnicodeEncodeError:
        return False


def numbers(count: int, metavar: str, says: str, least: float = -LARGEST_NUMBER) -> Kind:
    """``count`` numbers above ``least``, or None. says: what the text on the command line is not, where it is wrong."""

    def read(text: str) -> Tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not is_good(values):
            raise ValueError(f"'{text}' is no {says}")
        return values

    def is_good(value: Any) -> bool:
        return value is None or (
            isinstance(value, (list, tuple))
            and len(value) == count
            and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
            and all(least < v < LARGEST_NUMBER for v in value)
        )

    return Kind(read, is_good, lambda value: None if value is None else tuple(value), metavar=metavar)


def _refuse_device(name: str, value: str) -> str:
    good = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return "" if good else f"Unknown {name} '{value}': choose auto, cpu, cuda or cuda:N."


def read_setting(text: str) -> Tuple[str, Any]:
    """Name and value of ``NAME=VALUE``, the value as in JSON, else as text.

    Raises:
        ValueError: with the end of a sentence.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"'{text}' is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


PATH = Kind(Path, _is_path, lambda value: None if value is None else Path(value))
FOLDER = PATH._replace(metavar="DIR")
FILE = PATH._replace(metavar="FILE")
DEVICE = Kind(str, _is_name, refuse=_refuse_device)
SETTINGS = Kind(read_setting, lambda value: isinstance(value, dict), dict, metavar="NAME=VALUE")


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
    (:func:`confuda.threads.use_threads`). dicom_seg: for a DICOM SEG beside the output. frame, series, spacing_mm:
    see :func:`confuda.io.volume_file.read_volume`.
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
        "the slice of the one-shot mode, from 0",
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
        "CPU threads (all cores, less one for other programs where there are more than two)",
        default=None,
    )

    dicom_seg: Optional[Path] = option(PATH, flag=None, default=None)
    frame: Optional[int] = option(
        whole(0, 100_000, optional=True), "which frame of a cine, from 0", flag="--frames", use=READ, default=None
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
    if values.get("slice") is not None and values.get("mode", Job.mode) != "one-shot":
        raise UsageError("A slice goes with the one-shot mode only.")
    make_settings(values.get("preset", DEFAULT_PRESET), values.get("settings", {}))


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
        told: Dict[str, Any] = {"type": _for_argparse(kind.read), "help": entry.metadata["help"]}
        told.update({key: getattr(kind, key) for key in ("choices", "metavar") if getattr(kind, key) is not None})
        flags = flag.split("/") if flag else [f"--{entry.name.replace('_', '-')}"]
        if flags[0].startswith("-"):
            told.update(dest=entry.name, default=entry.default, required=_is_required(entry))
        if kind is SETTINGS:
            told.update(action="append", default=[])
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
