"""Where the worker runs: the Python that Slicer offers for it, its environment, and a private temporary folder."""

import logging
import os
import shutil
import sys
import tempfile
import time
from typing import Dict, List, Optional

import qt
from slicer.i18n import tr as _

from confuda.threads import let_threads_sleep

from .errors import JobFailedError

PREFIX = "confuda-"
_LOCK = "owner.lock"
_SETTLING_SECONDS = 60.0  # a folder without a lock may be another Slicer's that is just being made

_firstSeen: Dict[str, float] = {}  # folders without a lock, by this process's own clock: file times and clocks may jump


def findInterpreter() -> str:
    """PythonSlicer where Slicer offers it, else a true Python interpreter of the same installation.

    Inside Slicer `sys.executable` may be the application itself: started with `-m`, it would open a second Slicer.
    """
    fromPath = shutil.which("PythonSlicer")
    if fromPath:
        return fromPath
    suffix = ".exe" if os.name == "nt" else ""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates: List[Optional[str]] = [sys.executable]
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix):
        candidates.append(os.path.join(prefix, "bin", "PythonSlicer" + suffix))
        candidates.append(os.path.join(prefix, "bin", "python" + version + suffix))
        candidates.append(os.path.join(prefix, "python" + suffix))
    for candidate in candidates:
        if candidate and isPython(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise JobFailedError(
        _("Slicer's Python interpreter (PythonSlicer) was not found, so the segmentation can't be started."),
        details=f"looked on PATH and at: {[os.path.basename(c) for c in candidates if c]}",
    )


def isPython(path: str) -> bool:
    name = os.path.basename(path).lower()
    return os.path.isfile(path) and name.startswith("python")


def workerEnvironment(moduleFolder: str) -> Dict[str, str]:
    """This process's environment, where the worker finds the module folder and the same packages as Slicer."""
    environment = dict(os.environ)
    folders = [moduleFolder]
    for folder in sys.path:
        if folder and folder not in folders and os.path.isdir(folder):
            folders.append(folder)
    environment["PYTHONPATH"] = os.pathsep.join(folders)
    environment["PYTHONIOENCODING"] = "utf-8"
    environment["PYTHONUTF8"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    # The worker is one quiet process: no bytecode is written into an extension folder that may be read-only.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    let_threads_sleep(environment)
    return environment


class Workspace:
    """Folder with mode 0700. The lock inside tells other Slicers that its owner is alive."""

    def __init__(self, baseFolder: Optional[str] = None) -> None:
        base = baseFolder or tempfile.gettempdir()
        os.makedirs(base, exist_ok=True)
        removeOrphans(base)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=base)
        self._lock = qt.QLockFile(os.path.join(self.path, _LOCK))
        self._lock.setStaleLockTime(0)  # a long job is not a dead one
        self._lock.tryLock(0)
        self.previewFolder = self.file("preview")
        os.mkdir(self.previewFolder)

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def remove(self) -> None:
        """Safe to call twice."""
        self._lock.unlock()
        shutil.rmtree(self.path, ignore_errors=True)
        if os.path.exists(self.path):
            logging.warning("ConFUDA: a temporary folder could not be removed; the next run tries again")


def removeOrphans(baseFolder: str) -> None:
    """Removes job folders whose owner no longer runs (a crashed or killed Slicer could not do it itself)."""
    for name in os.listdir(baseFolder):
        path = os.path.join(baseFolder, name)
        if not name.startswith(PREFIX) or os.path.islink(path) or not os.path.isdir(path):
            continue
        lockPath = os.path.join(path, _LOCK)
        if not os.path.exists(lockPath):
            now = time.monotonic()
            if now - _firstSeen.setdefault(path, now) < _SETTLING_SECONDS:
                continue
        lock = qt.QLockFile(lockPath)
        lock.setStaleLockTime(0)
        if lock.tryLock(0):
            lock.unlock()
            shutil.rmtree(path, ignore_errors=True)
