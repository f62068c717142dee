"""What can go wrong on the Slicer side, each as one clear sentence, and the text for a bug report.

The report holds versions, settings and what the worker said; no names, and no folders that tell who the user is.
"""

import json
import os
import platform
import re
import tempfile
from typing import Any, Dict, List, Optional, Sequence

import slicer

from confuda.privacy import hide_paths

_PATIENT_FIELDS = re.compile(r"(?i)(patient[a-z' ]*(?:name|id|birth[a-z ]*)\s*[:=]\s*).*")
_UID = re.compile(r"\b[0-2](?:\.\d+){5,}\b")  # DICOM's, of a study or an image: six numbers with dots or more
_CODE_LINE = re.compile(r'File "[^"\n]*?([^"\n/\\]+\.py)"')


class ConFUDAError(RuntimeError):
    """The message is meant for the user; `details` is for a bug report; `code` is the worker's exit code or None."""

    def __init__(self, message: str, details: str = "", code: Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.code = code


class InvalidInputError(ConFUDAError):
    """The volume or a setting can't be used; nothing was started and the scene is as it was."""


class DependencyError(ConFUDAError):
    """A Python package is missing or could not be installed."""


class JobFailedError(ConFUDAError):
    """The worker reported a failure, died, or gave an unusable result; the scene is as it was."""


class JobCancelledError(ConFUDAError):
    """The job was cancelled; the scene is as it was."""


def environmentLines() -> List[str]:
    """Which program on which machine."""
    return [
        f"Slicer {slicer.app.applicationVersion}",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}",
        f"CPU cores {os.cpu_count()}",
    ]


def anonymize(text: str, secrets: Sequence[str] = ()) -> str:
    """`secrets` (node names, temporary folders), paths, UIDs and what stands in a patient's fields are replaced.

    Of Python's own lines on where an error happened the file's name stays: it is the program's.
    """
    for secret in sorted({s for s in secrets if len(s) > 2}, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _CODE_LINE.sub(r'File "\1"', text)
    text = hide_paths(text, (os.path.expanduser("~"), tempfile.gettempdir()))
    return _UID.sub("***", _PATIENT_FIELDS.sub(r"\1***", text))


def report(request: Dict[str, Any], outcome: str, notes: Sequence[str], secrets: Sequence[str] = ()) -> str:
    """The whole text of the details box."""
    lines = ["ConFUDA report", *environmentLines(), "settings " + json.dumps(request, sort_keys=True), outcome, *notes]
    return anonymize("\n".join(lines), secrets)
