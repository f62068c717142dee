"""Which names of files SimpleITK can be given."""

import os
from pathlib import Path
from typing import Union


def is_text(path: Union[str, Path]) -> bool:
    """Whether a path is text without a NUL; at one that is not (bytes of another code) SimpleITK ends the process."""
    try:
        return b"\0" not in str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False


def explain_name(path: Union[str, Path]) -> str:
    """What is wrong with a name that is no text, and what to do."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        return "a name that is no valid text: rename it"
    return "a name whose letters the locale of this program does not know: set PYTHONUTF8=1"
