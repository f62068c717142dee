"""Names of files: what their endings mean, and which ones SimpleITK can be given."""

import glob
import os
import re
import unicodedata
from pathlib import Path
from typing import List, Sequence, Union

from confuda.errors import UsageError

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


_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\x00-\x1f]')


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


def is_device(name: str) -> bool:
    """Whether Windows takes a file of this name for a device, whatever its ending: ``con.nii.gz``."""
    return _DEVICE.fullmatch(name.strip()) is not None


def is_good_on_windows(name: str) -> bool:
    """Whether Windows can have a file of this name, without its folder. One with a colon would be hidden in another."""
    return not _NOT_ON_WINDOWS.search(name) and not is_device(name)


def fold_name(name: str) -> str:
    """The same for any two names that some file system takes for one: Windows and macOS do not tell a from A, and macOS
    not an accented letter from a letter and its accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_same_file(one: Union[str, Path], other: Union[str, Path]) -> bool:
    """Whether both paths lead to one file, or would: where a from A is not told, ``LGE.nrrd`` is ``lge.nrrd``."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # One of them does not exist yet.
        return Path(one).resolve() == Path(other).resolve()


def check_name_here(path: Union[str, Path]) -> None:
    """Raises UsageError for a file that this system cannot have, before any work is done for it."""
    if os.name == "nt" and not is_good_on_windows(Path(path).name):
        raise UsageError(f"Windows has no file of the name '{Path(path).name}': give another one.")


def expand_patterns(paths: Sequence[Path]) -> List[Path]:
    """``paths``, where one that does not exist, such as ``scans/*.nii.gz``, is replaced by the files that it fits, in
    order. Windows's shells leave that to each program."""
    expanded: List[Path] = []
    for path in paths:
        fitting = [] if os.path.lexists(path) else sorted(glob.glob(str(path)))
        expanded += [Path(found) for found in fitting] or [path]
    return expanded
