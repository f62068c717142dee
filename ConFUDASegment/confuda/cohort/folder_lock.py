"""One cohort at a time in an output folder: a lock that the system lifts when the process ends, however it ends."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator

from confuda.errors import InputError

LOCK_NAME = ".lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process.

    Raises:
        InputError: if another process holds it, or it cannot be written to.
    """
    try:
        file = open(folder / LOCK_NAME, "w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written to: {error.strerror}.") from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise InputError(f"Another cohort is being written to {folder}: wait for its end.") from error
        yield


def _lock(file: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
