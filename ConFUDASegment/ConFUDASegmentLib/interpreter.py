"""Finds the Python that runs the worker, and its environment."""

import os
import shutil
import sys
from typing import Dict, List, Optional

from slicer.i18n import tr as _

from .errors import JobFailedError


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
    return environment
