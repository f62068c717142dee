"""The one way in which files and folders of ours are written: beside their place, then renamed into it.

Until then they are drafts: hidden files or folders ``.confuda-`` and 32 hexadecimal digits, with the ending of what
they will become. A process removes its drafts itself, unless it is killed outright; those of a killed one are removed
by the next job that writes into the folder.
"""

import ctypes
import os
import re
import shutil
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Collection, Iterator, List, Optional, Set, Tuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DRAFT_PREFIX = ".confuda-"
_DRAFT = re.compile(re.escape(DRAFT_PREFIX) + r"[0-9a-f]{32}(\.[a-z0-9.]+)?")
_Draft = Tuple[str, int, int]

_TRIES, _PAUSE_S = (8, 0.125) if os.name == "nt" else (1, 0.0)
"""On Windows a file that another program looks into cannot be renamed or replaced; virus scanners look into each new
one, for a moment."""

_held: List[Tuple[Path, int]] = []
"""The folders that this process is writing into, with the descriptors that lock them."""


def name_draft() -> str:
    """A new name for a draft without an ending."""
    return f"{DRAFT_PREFIX}{uuid.uuid4().hex}"


@contextmanager
def replace_file(path: Path, ending: Optional[str] = None) -> Iterator[Path]:
    """Gives a draft to write to; it becomes ``path``, replacing an older file, when the block ends without an error.

    ending: of the draft, where a library goes by it (that of ``path`` by default). What was written is brought to the
    disk before it is renamed.

    Raises:
        OSError: with the system's reason, also where the block has written nothing.
    """
    path = Path(path)
    draft = path.with_name(name_draft() + (path.suffix if ending is None else ending).lower())
    with _hold(path.parent):
        try:
            yield draft
            with open(draft, "rb+") as file:
                os.fsync(file.fileno())
            _rename(draft, path)
        finally:
            # A read-only disk refuses to remove even what is not there.
            with suppress(OSError):
                draft.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, its line ends as they are; see :func:`replace_file`."""
    with replace_file(path) as draft, open(draft, "w", encoding="utf-8", newline="") as file:
        file.write(text)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """As :func:`replace_file`, for a folder; the draft is there already, and only its owner can look into it."""
    folder = Path(folder)
    draft = folder.with_name(name_draft())
    with _hold(folder.parent):
        try:
            # On Windows the mode would become a list of rights that stays; there the folder inherits its place's.
            draft.mkdir(mode=0o777 if os.name == "nt" else 0o700)
            yield draft
            draft.chmod(0o755)
            _put_in_place(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class TargetFolder:
    """A folder that a job will write into. Made at the job's beginning, since drafts that lie there from then on until
    the job writes, while nobody holds the folder, are a killed process's: writing takes a second, a job much longer.

    No clock is asked, for those of two machines and of a file server differ.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._found: Set[_Draft] = set(_list_drafts(self.folder))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """For as long as something is written: removes what was left there, and keeps others from taking our drafts
        for left ones. Holders do not wait for each other. Where folders cannot be locked (Windows, some network
        drives) nothing is removed."""
        with _hold(self.folder, self._found):
            yield


def remove_left_drafts(folder: Path) -> None:
    """Remove the drafts in ``folder``, unless somebody is writing there at this moment."""
    with TargetFolder(folder).hold():
        pass


def remove_own_drafts() -> None:
    """For a process that is about to end without unwinding: remove what it is writing at this moment. Where another
    process writes into the same folder nothing is removed, for whose a draft is cannot be told."""
    for folder, descriptor in list(_held):
        if _lock(descriptor, exclusive=True):
            for name, _, _ in _list_drafts(folder):
                _remove(folder / name)


@contextmanager
def _hold(folder: Path, left: Collection[_Draft] = ()) -> Iterator[None]:
    """Share the lock of ``folder`` with all who write there; before, where there is nobody else, remove ``left``.

    A library's lock is no use here: these know no lock that is shared, or wait for it.
    """
    descriptor = None if any(folder == held for held, _ in _held) else _open(folder)
    try:
        if descriptor is not None:
            if left and _lock(descriptor, exclusive=True):
                for draft in set(left) & set(_list_drafts(folder)):
                    _remove(folder / draft[0])
            _lock(descriptor, exclusive=False)
            _held.append((folder, descriptor))
        yield
    finally:
        if descriptor is not None:
            # A signal may have come before it was put there.
            if (folder, descriptor) in _held:
                _held.remove((folder, descriptor))
            os.close(descriptor)


def _open(folder: Path) -> Optional[int]:
    if fcntl is None:
        return None
    try:
        return os.open(folder, os.O_RDONLY)
    except OSError:
        return None


def _lock(descriptor: int, exclusive: bool) -> bool:
    """Whether the lock was had. It is not waited for: a file server may never answer."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _list_drafts(folder: Path) -> Iterator[_Draft]:
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


def _rename(one: Path, other: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            os.replace(one, other)
            return
        except PermissionError:
            if not tries_left:
                raise
            time.sleep(_PAUSE_S)


def _put_in_place(draft: Path, folder: Path) -> None:
    """Rename ``draft`` to ``folder``; what was there is at ``draft`` afterwards, or gone."""
    if not os.path.lexists(folder):
        _rename(draft, folder)
    elif not _exchange(draft, folder):
        # In two steps, then; if the second one fails, the first is undone.
        former = name_former(folder)
        # One that a killed process left behind the whole folder would be in the way for good.
        shutil.rmtree(former, ignore_errors=True)
        _rename(folder, former)
        try:
            _rename(draft, folder)
        except OSError:
            _rename(former, folder)
            raise
        shutil.rmtree(former, ignore_errors=True)


def name_former(folder: Path) -> Path:
    """Where a folder is while another one takes its place, on systems that cannot exchange two."""
    return folder.with_name(f".{folder.name}-former")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot.

    Python has no call for this. Measured on Linux (ext4), 3000 replacements of a folder beside a process that kept
    looking for a file in it: with this call it was always there, with two renames it was missing 29,006 times out of
    1.6 million, that is for some 70 microseconds each time.
    """
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
