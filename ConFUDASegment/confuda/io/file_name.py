"""Which file names SimpleITK can be given."""

from pathlib import Path
from typing import Union


def is_text(path: Union[str, Path]) -> bool:
    """Whether a path is text without a NUL; at one that is not (bytes of another code) SimpleITK ends the process."""
    try:
        return b"\0" not in str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
