"""What is written beside its place before it is renamed into it, and what a killed process left there.

A draft is a hidden file or folder ``.confuda-`` and 32 hexadecimal digits, with the ending of what it will become. A
process removes its drafts itself, unless it is killed outright; those of a killed one go with the next job that writes
into the folder.
"""

import os
import re
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional, Set, Tuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_DRAFT = re.compile(r"\.confuda-[0-9a-f]{32}(\.[a-z.]+)?")

_held: List[Tuple[Path, int]] = []
"""The folders that this process is writing into, with the descriptors that lock them."""


def name_draft() -> str:
    """A new name for a draft without an ending."""
    return f".confuda-{uuid.uuid4().hex}"


class TargetFolder:
    """A folder that a job will write into. Made at the job's beginning, since drafts that lie there from then on until
    the job writes, while nobody holds the folder, are a killed process's: writing takes a second, a job much longer.

    No clock is asked, for those of two machines and of a file server differ.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._found: Set[Tuple[str, int, int]] = set(_list_drafts(self.folder))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """For as long as something is written: removes what was left there, and keeps others from taking our drafts
        for left ones. Holders do not wait for each other. Where folders cannot be locked (Windows, some network
        drives) nothing is removed."""
        descriptor = self._open()
        try:
            if descriptor is not None:
                if _lock(descriptor, exclusive=True):
                    for draft in self._found & set(_list_drafts(self.folder)):
                        _remove(self.folder / draft[0])
                _lock(descriptor, exclusive=False)
                _held.append((self.folder, descriptor))
            yield
        finally:
            if descriptor is not None:
                # A signal may have come before it was put there.
                if (self.folder, descriptor) in _held:
                    _held.remove((self.folder, descriptor))
                os.close(descriptor)

    def _open(self) -> Optional[int]:
        if fcntl is None:
            return None
        try:
            return os.open(self.folder, os.O_RDONLY)
        except OSError:
            return None


def remove_own_drafts() -> None:
    """For a process that is about to end without unwinding: remove what it is writing at this moment. Where another
    process writes into the same folder nothing is removed, for whose a draft is cannot be told."""
    for folder, descriptor in list(_held):
        if _lock(descriptor, exclusive=True):
            for name, _, _ in _list_drafts(folder):
                _remove(folder / name)


def _lock(descriptor: int, exclusive: bool) -> bool:
    """Whether the lock was had. It is not waited for: a file server may never answer."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _list_drafts(folder: Path) -> Iterator[Tuple[str, int, int]]:
    """Name, inode and time of change of every draft: two looks at the same one agree in all three."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _DRAFT.fullmatch(entry.name):
                    state = entry.stat(follow_symlinks=False)
                    yield entry.name, state.st_ino, state.st_mtime_ns
    except OSError:
        return


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    except OSError:
        pass
