"""Keeping ITK and the file libraries beneath it off the standard error."""

import os
from contextlib import contextmanager
from typing import ContextManager, Iterator

import SimpleITK as sitk

from confuda.io.process_state import ProcessState

_STANDARD_ERROR = 2


def keep_itk_quiet() -> ContextManager[None]:
    """Nothing reaches the standard error meanwhile: the user is told the same in one sentence.

    ITK's own warnings can be switched off; those of the libraries that read NIfTI and MetaImage go to the descriptor.
    """
    return _SILENCE.hold()


@contextmanager
def _silence() -> Iterator[None]:
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        kept, nowhere = os.dup(_STANDARD_ERROR), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # A program without a console has no standard error.
        kept, nowhere = -1, -1
    try:
        if kept >= 0:
            os.dup2(nowhere, _STANDARD_ERROR)
        yield
    finally:
        if kept >= 0:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
            os.close(nowhere)
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


_SILENCE = ProcessState(_silence)
