"""What must not get out: paths in a report, which tell who the user and often who the patient is, and folders that
libraries make."""

import os
import re
import tempfile
from typing import Iterable

HIDDEN_PATH = "<path>"

# An absolute path, or what follows a hidden one. A space belongs to it where the same line has one more separator.
_PATH = re.compile(r"""(?<![\w.\\/-])(?:<path>)?(?:[A-Za-z]:)?[\\/](?:[^\s"'()<>]|[ ](?=[^\n"'()<>]*[\\/]))+""")


def keep_torch_from_making_folders() -> None:
    """For a program of ours, before torch is imported: torch makes a folder ``torchinductor_USER`` among the temporary
    ones as soon as an optimizer steps, for a compiler that is not used here, and leaves it there. It makes none where
    the one it is told of exists."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())


def hide_paths(text: str, known: Iterable[object] = ()) -> str:
    """``text`` with every absolute path replaced by ``<path>``.

    Args:
        known: paths that may occur, relative ones too; only of these is it known where they end if there are spaces in
            their last name.
    """
    for path in sorted({str(path) for path in known if path}, key=len, reverse=True):
        # Python's errors quote a path as a literal, with its odd characters escaped.
        for form in (path, repr(path)[1:-1]):
            if len(form) > 2:
                text = text.replace(form, HIDDEN_PATH)
    return _PATH.sub(HIDDEN_PATH, text)
