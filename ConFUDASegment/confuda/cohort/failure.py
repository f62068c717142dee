"""A case that failed: what may be told of it where others read, and the log that is left of it.

Log files of a cluster's workers, and these logs, are read by administrators and sent along with questions. They name a
case by its study number, which is its number in ``results.csv`` and on the contact sheet, and by nothing else.
"""

import platform
import re
import traceback
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from confuda import __version__
from confuda.errors import ConfudaError
from confuda.io.atomic import write_text

LOGS_NAME = "logs"
HIDDEN_NAME = "<name>"
SHORTEST_NAME = 3
"""Characters. A shorter part of a path is no name, and would be found in ordinary words."""

_OWN_FOLDERS = ("confuda", "site-packages")


class CaseFailure(Exception):
    """An error that nobody foresaw, from a worker: one sentence without names, and where it came from."""

    def __init__(self, sentence: str, trail: Sequence[str]) -> None:
        # Both as arguments, so that it travels as a pickle.
        super().__init__(sentence, tuple(trail))
        self.sentence = sentence
        self.trail: Tuple[str, ...] = tuple(trail)

    def __str__(self) -> str:
        return self.sentence


def hide_parts(text: str, relative: str) -> str:
    """``text`` without the names of the files and folders of which the path ``relative`` is made, whole or without
    their endings."""
    names = {name for part in re.split(r"[/\\]", relative) for name in (part, part.partition(".")[0])}
    for name in sorted(names, key=len, reverse=True):
        if len(name) >= SHORTEST_NAME:
            text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", HIDDEN_NAME, text)
    return text


@contextmanager
def tell_no_names(hide: Callable[[str], str]) -> Iterator[None]:
    """What is raised within leaves as it may be written into logs, which Dask does with all that a task raises.

    hide: takes the names out of a sentence.

    Raises:
        ConfudaError: of the kind that was raised. CaseFailure: for what nobody foresaw.
    """
    try:
        yield
    except ConfudaError as error:
        raise type(error)(hide(str(error))) from None
    except Exception as error:  # noqa: BLE001 (whatever it is, Dask tries again)
        told = str(error).splitlines()[0] if str(error) else "no message"
        raise CaseFailure(f"Unexpected {type(error).__name__}: {hide(told)}", list_trail(error.__traceback__)) from None


def list_trail(trace: Optional[TracebackType]) -> List[str]:
    """Where an error came from, from the outermost call inwards: file (without the folders of this machine), line, and
    function. No value of a variable is in it."""
    return [f"{_shorten(frame.filename)}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


def _shorten(filename: str) -> str:
    parts = Path(filename).parts
    own = [place for place, part in enumerate(parts[:-1]) if part in _OWN_FOLDERS]
    return "/".join(parts[own[-1] if own else -1 :])


def name_log(output: Path, number: int) -> Path:
    """The log of the case with this study number."""
    return output / LOGS_NAME / f"case-{number:05d}.log"


def write_log(
    output: Path, number: int, relative: str, reason: str, error: Optional[BaseException], facts: Dict[str, Any]
) -> Path:
    """Write what is known of a failure.

    Args:
        relative: the volume's path below the cohort's folder, none of whose names may be told.
        reason: the sentence of ``results.csv``; error: behind it, None where the volume was refused.
        facts: settings by name.
    """
    trail = error.trail if isinstance(error, CaseFailure) else list_trail(error.__traceback__) if error else ()
    worker = getattr(error, "last_worker", None)  # Dask's KilledWorker knows where it was.
    if worker is not None:
        facts = {**facts, "worker": worker.address}
    path = name_log(output, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"case {number}",
        f"reason: {hide_parts(reason, relative)}",
        *(f"{name}: {value}" for name, value in facts.items() if value != {}),
        f"confuda {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    ]
    if trail:
        lines += ["where it came from, the outermost call first:", *(f"  {step}" for step in trail)]
    write_text(path, "\n".join(lines) + "\n")
    return path


def remove_logs(output: Path) -> None:
    """Those of an earlier run: its failed cases are tried anew, and may have other numbers now."""
    for path in (output / LOGS_NAME).glob("case-*.log"):
        if re.fullmatch(r"case-\d+", path.stem):
            path.unlink(missing_ok=True)
