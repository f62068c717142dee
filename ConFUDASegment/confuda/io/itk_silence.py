"""Keeping ITK and the file libraries beneath it off the standard error."""

import os
from contextlib import contextmanager
from typing import Iterator

import SimpleITK as sitk

_STANDARD_ERROR = 2


@contextmanager
def keep_itk_quiet() -> Iterator[None]:
    """Nothing reaches the standard error meanwhile: the user is told the same in one sentence.

    ITK's own warnings can be switched off; those of the libraries that read NIfTI and MetaImage go to the descriptor.
    """
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
