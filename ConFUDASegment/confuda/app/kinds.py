"""The kinds of values that a job's options take: how each is read, checked and refused. Nothing here loads torch."""

import json
import os
import re
from pathlib import Path
from typing import Any, Callable, Iterable, NamedTuple, Optional, Sequence, Tuple

from confuda.errors import UsageError
from confuda.measure.function import ALL_FRAMES, ED_AND_ES, parse_frames

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


def number(least: float, most: float, unit: str) -> Kind:
    """A number from ``least`` to ``most``, or None."""

    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"'{text}' is no number") from None

    def is_good(value: Any) -> bool:
        return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))

    def refuse(name: str, value: Optional[float]) -> str:
        good = value is None or least <= value <= most
        return "" if good else f"{name} must lie between {least:g} and {most:g} {unit}."

    return Kind(read, is_good, refuse=refuse, metavar=unit.upper())


def text(check: Callable[[str], Any], metavar: str) -> Kind:
    """A text, or None. check: raises UsageError for one that makes no sense."""

    def refuse(name: str, value: Optional[str]) -> str:
        try:
            if value is not None:
                check(value)
        except UsageError as error:
            return str(error)
        return ""

    return Kind(str, lambda value: value is None or _is_name(value), refuse=refuse, metavar=metavar)


def _read_frames(value: str) -> Any:
    try:
        return parse_frames(value)
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _are_frames(value: Any) -> bool:
    return value is None or value in (ALL_FRAMES, ED_AND_ES) or (isinstance(value, int) and not isinstance(value, bool))


def _refuse_frames(name: str, value: Any) -> str:
    return f"{name} must not lie below 0." if isinstance(value, int) and value < 0 else ""


def _check_scar(value: str) -> None:
    from confuda.measure.scar import parse_scar_method  # Brings SimpleITK along: only where it is asked for.

    parse_scar_method(value)


PATH = Kind(Path, _is_path, lambda value: None if value is None else Path(value))
FOLDER = PATH._replace(metavar="DIR")
FILE = PATH._replace(metavar="FILE")
DEVICE = Kind(str, _is_name, refuse=_refuse_device)
FRAMES = Kind(_read_frames, _are_frames, refuse=_refuse_frames, metavar="N|all|ed,es")
SWITCH = Kind(bool, lambda value: isinstance(value, bool))
SETTINGS = Kind(read_setting, lambda value: isinstance(value, dict), dict, metavar="NAME=VALUE")
SCAR_METHOD = text(_check_scar, "fwhm|5sd")
