"""Text for a bug report: versions, settings, what the worker said. No names, no folders that tell who the user is."""

import json
import os
import platform
import re
import tempfile
from typing import Any, Dict, List, Sequence

import slicer

_PATIENT_FIELDS = re.compile(r"(?i)(patient[a-z ]*name\s*[:=]\s*).*")


def environmentLines() -> List[str]:
    """Which program on which machine."""
    return [
        f"Slicer {slicer.app.applicationVersion}",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}",
        f"CPU cores {os.cpu_count()}",
    ]


def anonymize(text: str, secrets: Sequence[str] = ()) -> str:
    """Folders of the user and `secrets` (node names, temporary folders) are replaced."""
    for secret in sorted({s for s in secrets if len(s) > 2}, key=len, reverse=True):
        text = text.replace(secret, "***")
    for folder, mark in ((os.path.expanduser("~"), "~"), (tempfile.gettempdir(), "<temp>")):
        if len(folder) > 1:
            text = text.replace(folder, mark)
    return _PATIENT_FIELDS.sub(r"\1***", text)


def report(request: Dict[str, Any], outcome: str, notes: Sequence[str], secrets: Sequence[str] = ()) -> str:
    """The whole text of the details box."""
    lines = ["ConFUDA report", *environmentLines(), "settings " + json.dumps(request, sort_keys=True), outcome, *notes]
    return anonymize("\n".join(lines), secrets)
