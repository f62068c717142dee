"""A private temporary folder for one job, removed at its end; what a crashed Slicer left behind is removed later."""

import logging
import os
import shutil
import tempfile
import time
from typing import Dict, Optional

import qt

PREFIX = "confuda-"
_LOCK = "owner.lock"
_SETTLING_SECONDS = 60.0  # a folder without a lock may be another Slicer's that is just being made

_firstSeen: Dict[str, float] = {}  # folders without a lock, by this process's own clock: file times and clocks may jump


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
