"""Text for a bug report: versions, settings, what the worker said. No names, no folders that tell who the user is."""

import json
import os
import platform
import re
import tempfile
from typing import Any, Dict, List, Sequence

import slicer

from confuda.privacy import hide_paths

_PATIENT_FIELDS = re.compile(r"(?i)(patient[a-z' ]*(?:name|id|birth[a-z ]*)\s*[:=]\s*).*")
_UID = re.compile(r"\b[0-2](?:\.\d+){5,}\b")  # DICOM's, of a study or an image: six numbers with dots or more
_CODE_LINE = re.compile(r'File "[^"\n]*?([^"\n/\\]+\.py)"')


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
