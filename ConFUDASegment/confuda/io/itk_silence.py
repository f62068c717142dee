"""Keeping ITK and the file libraries beneath it off the standard error."""

import os
import threading
from contextlib import contextmanager
from typing import Iterator, Optional, Tuple

import SimpleITK as sitk

_STANDARD_ERROR = 2

_lock = threading.Lock()
_users = 0
_former: Tuple[bool, Optional[int]] = (False, None)
"""Whether ITK showed its warnings before the first user, and a descriptor of what the standard error was."""


@contextmanager
def keep_itk_quiet() -> Iterator[None]:
    """Nothing reaches the standard error meanwhile: the user is told the same in one sentence.

    ITK's own warnings can be switched off; those of the libraries that read NIfTI and MetaImage go to the descriptor.
    Both belong to the whole process: of several threads the first one in switches them off, and the last one out on.
    """
    global _users
    with _lock:
        if _users == 0:
            _silence()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _restore()


def _silence() -> None:
    global _former
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    kept: Optional[int] = None
    try:
        kept = os.dup(_STANDARD_ERROR)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STANDARD_ERROR)
        os.close(nowhere)
    except OSError:  # A program without a console has no standard error.
        pass
    _former = (shown, kept)


def _restore() -> None:
    shown, kept = _former
    if kept is not None:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
    sitk.ProcessObject.SetGlobalWarningDisplay(shown)
