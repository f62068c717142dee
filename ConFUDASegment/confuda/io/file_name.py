"""Names of files: what their endings mean, and which ones SimpleITK can be given."""

import os
from pathlib import Path
from typing import Sequence, Union

SLICER_ENDING = ".seg.nrrd"
DICOM_ENDING = ".dcm"
NIFTI_ENDINGS = (".nii.gz", ".nii")
PAIR_ENDINGS = (".hdr", ".img")
"""Of a header and its voxels, in NIfTI and Analyze."""

LABEL_ENDINGS = (SLICER_ENDING, *NIFTI_ENDINGS, ".nrrd", ".mha")
"""Of segmentations that are written; those of uncertainty maps are the same without Slicer's."""

SEQUENCE_ENDING = ".seq.nrrd"
CINE_ENDINGS = (SEQUENCE_ENDING, *NIFTI_ENDINGS)
"""Of cines that are written, all frames in one file."""

VOLUME_ENDINGS = (*NIFTI_ENDINGS, *PAIR_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd")
"""Of volumes that are read, beside DICOM, which goes by its content."""


def find_ending(name: str, endings: Sequence[str]) -> str:
    """The first of ``endings`` (longest first) that a file's name has, whatever its case; "" where none, or all of it,
    is one."""
    for ending in endings:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return ending
    return ""


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
