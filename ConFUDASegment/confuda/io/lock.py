"""The one lock of ours: held by a single process, and lifted by the system when that process ends, however it ends."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from filelock import FileLock, Timeout

from confuda.errors import InputError

FOREVER = -1.0


@contextmanager
def hold_lock(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock file ``path``, made where it is missing and left there; gives False where another process holds it
    for longer than ``wait_s`` seconds.

    The folder must lie on a file system whose locks hold between all machines that share it, as they do on NFS 4, GPFS,
    and Lustre mounted with ``flock``.

    Raises:
        InputError: if there can be no lock file at that place.
    """
    lock = FileLock(path, timeout=wait_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(poll_interval=0.05)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or "it knows no locks of files"
        raise InputError(f"The folder {path.parent} cannot be written to: {reason}.") from error
    try:
        yield True
    finally:
        lock.release()
