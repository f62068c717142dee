"""Who does what, among processes that fill one folder: a lock file stands for a piece of work while it is done."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator

from confuda.errors import InputError

_WAIT_S = 0.05


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` alone, and remove it in the end; gives False where another process holds it.

    The system itself lets go of the lock of a process that ended, however it ended: nothing has to be cleaned up before
    another one can go on. The folder must lie on a file system whose locks hold between all machines that share it, as
    they do on NFS 4, GPFS, and Lustre mounted with ``flock``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as stream:
        # Of two processes one may get hold of a file that the other has just removed: then the work is not its own.
        ours = _try_to_lock(stream) and _is_still(stream, path)
        try:
            yield ours
        finally:
            if ours:
                _remove(path)


@contextmanager
def wait_for_claim(path: Path) -> Iterator[None]:
    """As :func:`claim`, but waits until the other process is done."""
    while True:
        with claim(path) as ours:
            if ours:
                yield
                return
        time.sleep(_WAIT_S)


def _is_still(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        # Windows keeps open files; one that is left over is no lock.
        return


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(stream: IO[bytes]) -> bool:
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_to_lock(stream: IO[bytes]) -> bool:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise InputError(f"File locks do not work in this folder ({error.strerror}): use another one.") from error
        return True
