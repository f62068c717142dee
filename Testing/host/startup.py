"""Brings the host up, once in a process."""

import os
import sys
from pathlib import Path
from typing import Any, Optional

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE_FOLDER = REPOSITORY / "ConFUDASegment"


class HostMissingError(RuntimeError):
    """The wheels or the system libraries of the host are not installed."""


_host: Optional[Any] = None


def start(moduleFolder: Path = MODULE_FOLDER) -> Any:
    """The one host of this process, with the extension of this folder (at the first call).

    Raises:
        HostMissingError: with what to install.
    """
    global _host
    if _host is None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        try:
            import PySide6.QtUiTools  # noqa: F401
            import PySide6.QtWidgets  # noqa: F401
        except ImportError as error:
            raise HostMissingError(
                f"Qt can't be loaded ({error}): pip install PySide6-Essentials; on Debian also "
                "apt-get install libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 fonts-dejavu-core"
            ) from error
        if PySide6.__version_info__[:2] >= (6, 12) and sys.version_info < (3, 12):
            raise HostMissingError(
                "PySide6 6.12 loses references to None on Python before 3.12, until the process dies: "
                "pip install PySide6-Essentials==6.9.3"
            )
        try:
            import slicer  # noqa: F401
        except ImportError as error:
            raise HostMissingError(f"Slicer's core can't be loaded ({error}): pip install slicer-core") from error
        from Testing.host.application import Host

        _host = Host(moduleFolder)
        sys.path.insert(0, str(moduleFolder))
    return _host
