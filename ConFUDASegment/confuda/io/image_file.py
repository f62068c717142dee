"""Image files that SimpleITK reads, frame by frame where they hold several: NIfTI, Analyze, NRRD, MetaImage."""

import os
import re
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.imaging.volume_checks import SHEAR_REFUSED, SHEARED
from confuda.io.completeness import has_all_voxels, is_packed
from confuda.io.file_name import explain_name, find_ending, is_text
from confuda.io.itk_names import any_letters
from confuda.io.itk_silence import keep_itk_quiet
from confuda.io.memory import check_memory
from confuda.io.nifti_header import find_pair, is_nifti_2, is_nifti_name, measure_shear, read_nifti_header
from confuda.io.readable_copy import make_readable

LARGEST_COMPRESSION = 1100
"""gzip cannot compress anything further than this."""

SEGMENT_KEY = "Segment0_ID"
"""In the header of each segmentation that 3D Slicer writes."""

_ARCHIVES = (".zip", ".7z", ".rar", ".tar.gz", ".tgz", ".tar")
"""In which scanners and archives of images hand studies out."""

_LIST_KEY = "NRRD_kinds[pixel]"
_TIMES_KEY, _UNIT_KEY = "axis 0 index values", "NRRD_units[pixel]"
_UNITS_MS = {"ms": 1.0, "s": 1000.0}
_PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
_permissive_lock = threading.RLock()
_DETACHED = re.compile(
    rb"^(?:ElementDataFile[ \t]*=|data ?file[ \t]*:)[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE
)
_DAMAGED = "{path} is damaged or incomplete: copy or export it again."
_NO_SPACING = "{path} states no usable voxel spacing: correct its header, or give it with --spacing."

ChooseFrames = Callable[[int], Sequence[int]]
"""The frames to read, from 0, of as many as there are; raises InputError where one has to be chosen."""


def read_frames(path: Path, choose: ChooseFrames, is_spacing_given: bool = False) -> List[sitk.Image]:
    """Frames of an image file, each a 3-D image of any kind of voxel, whole and with its header's texts.

    The frames of a cine are those of the fourth axis, or of a list such as 3D Slicer's ``.seq.nrrd`` has. A spacing
    that is no use is let pass where ``is_spacing_given``.

    Raises:
        InputError: if it is missing, no image, cut off, 2-D, or of an impossible geometry.
        MemoryExhausted: if its voxels do not fit into this machine's memory.
    """
    _check_place(path)
    voxels = find_voxels(path)
    with keep_itk_quiet(), any_letters(), make_readable(path) as readable:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(readable))
        try:
            with _tolerating_rounded_axes(path):
                reader.ReadImageInformation()
                if len(reader.GetSize()) < 3:
                    raise InputError(f"{path} is a 2-D image: give a volume, even if it has one slice only.")
                if not is_spacing_given:
                    _check_spacing(reader, path)
                _check_size(reader, path, voxels if readable == path else readable)
                if sum(count > 1 for count in reader.GetSize()[3:]) > 1:
                    raise InputError(f"{path} holds several cines: give one, an image of four axes.")
                frames = _read_chosen(reader, choose)
        except RuntimeError as error:
            raise InputError(_explain(error, path)) from error
    if not has_all_voxels(path):
        raise InputError(_DAMAGED.format(path=path))
    return frames


def find_times_ms(frame: sitk.Image, count: int) -> Optional[Tuple[float, ...]]:
    """When each of ``count`` frames was taken, in ms, as the header of a ``.seq.nrrd`` tells it, which ``frame`` came
    with; None where it tells no times, or none that grow from frame to frame."""
    if not frame.HasMetaDataKey(_TIMES_KEY) or not frame.HasMetaDataKey(_UNIT_KEY):
        return None
    factor = _UNITS_MS.get(frame.GetMetaData(_UNIT_KEY))
    try:
        times = np.array(frame.GetMetaData(_TIMES_KEY).split(), dtype=float)
    except ValueError:
        return None
    if factor is None or len(times) != count or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return None
    return tuple((factor * times).tolist())


def check_name(path: Path) -> None:
    """Raises InputError for a name that is no text, at which SimpleITK ends the process."""
    if not is_text(path):
        raise InputError(f"{path} is {explain_name(path)}.")


def is_slicer_segmentation(image: sitk.Image) -> bool:
    """Whether 3D Slicer wrote the image as a segmentation."""
    return image.HasMetaDataKey(SEGMENT_KEY)


def _check_place(path: Path) -> None:
    check_name(path)
    # os.path answers where pathlib raises: on names that are too long, and in folders that may not be looked into.
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: give an image file.")
    if not os.path.exists(path):
        raise InputError(f"No such file: {path}")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError(f"{path} is no ordinary file: give an image file.")


def find_voxels(path: Path) -> Path:
    """The file of the voxels: the file itself, or the one beside a header.

    A header from elsewhere could name any file, and reading a pipe never ends.

    Raises:
        InputError: if it is missing, in another folder, or there are several.
    """
    if is_nifti_name(path):
        header, voxels = find_pair(path)
        for partner in (header, voxels):
            if not os.path.isfile(partner):
                raise InputError(f"{path} is one file of a pair, and the other is missing: {partner.name}.")
        return voxels
    if not path.name.lower().endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        return path
    try:
        with open(path, "rb") as file:
            header_text = file.read(1 << 16)
    except OSError:
        return path
    # NRRD's header ends at an empty line, MetaImage's with the very line that is looked for.
    found = _DETACHED.search(header_text.partition(b"\n\n")[0] if header_text.startswith(b"NRRD") else header_text)
    if found is None or found[1].upper() == b"LOCAL":
        return path
    name = os.fsdecode(found[1])
    if re.match(r"LIST\b", name) or "%" in name:
        raise InputError(f"{path} spreads its voxels over several files: give a file or a folder that holds them all.")
    partner = path.parent / name
    folder = os.path.realpath(path.parent)
    try:
        inside = os.path.commonpath([folder, os.path.realpath(partner)]) == folder
    except ValueError:  # On another drive of a Windows computer.
        inside = False
    if not inside:
        raise InputError(f"{path} names voxels in another folder: put both files into one.")
    if not os.path.isfile(partner):
        raise InputError(f"{path} names a file of voxels that is missing: {name}.")
    return partner


def _read_chosen(reader: sitk.ImageFileReader, choose: ChooseFrames) -> List[sitk.Image]:
    size = reader.GetSize()
    is_list = reader.HasMetaDataKey(_LIST_KEY) and reader.GetMetaData(_LIST_KEY) == "list"
    if is_list and not reader.HasMetaDataKey(SEGMENT_KEY):
        numbers = choose(reader.GetNumberOfComponents())
        image = reader.Execute()
        frames = [sitk.VectorIndexSelectionCast(image, int(number)) for number in numbers]
        for frame in frames:
            for key in image.GetMetaDataKeys():
                frame.SetMetaData(key, image.GetMetaData(key))
        return frames
    numbers = choose(int(np.prod(size[3:])))
    if len(numbers) > 1 and len(size) == 4:
        whole = reader.Execute()
        return [whole[:, :, :, number] for number in numbers]
    frames = []
    for number in numbers:
        # 0 drops an axis: of a 4-D file a 3-D frame remains.
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        reader.SetExtractIndex([0, 0, 0, *(int(index) for index in np.unravel_index(number, size[3:], order="F"))])
        frames.append(reader.Execute())
    return frames


@contextmanager
def _tolerating_rounded_axes(path: Path) -> Iterator[None]:
    """ITK refuses a sform whose axes are off the right angle by rounding, unless told to take the nearest grid: by the
    environment, and so for all threads, of which the others wait."""
    header = read_nifti_header(path)
    if header is None or header.sform is None or header.qform is not None or _is_permissive_anyway():
        yield
        return
    with _permissive_lock:
        if not measure_shear(header.sform) <= SHEAR_REFUSED:
            yield
            return
        os.environ[_PERMISSIVE] = "YES"
        try:
            yield
        finally:
            os.environ.pop(_PERMISSIVE, None)


def _is_permissive_anyway() -> bool:
    """Whether the user, and no other thread of ours, has told ITK to take the nearest grid."""
    with _permissive_lock:
        return bool(os.environ.get(_PERMISSIVE))


def _explain(error: RuntimeError, path: Path) -> str:
    text = str(error)
    if not os.access(path, os.R_OK):
        return f"{path} cannot be opened: permission denied."
    if is_nifti_name(path) and is_nifti_2(path):
        return f"{path} is a NIfTI-2 file, which cannot be read here: save it as NIfTI-1 or NRRD."
    if find_ending(path.name, _ARCHIVES):
        return f"{path} is an archive: unpack it, and give the folder or the image in it."
    if "Unable to determine ImageIO" in text and not is_packed(path):
        return (
            f"{path} is not an image that can be read: give NIfTI, Analyze, NRRD, MetaImage or a folder of DICOM files."
        )
    if "orthonormal" in text:
        return SHEARED.format(path=path)
    if "spacing" in text.lower():
        return _NO_SPACING.format(path=path)
    return _DAMAGED.format(path=path)


def _check_spacing(reader: sitk.ImageFileReader, path: Path) -> None:
    # What ITK cannot use of a NIfTI header (zero, NaN) it takes for 1 mm, and says nothing.
    header = read_nifti_header(path)
    spacing: Tuple[float, ...] = reader.GetSpacing()[:3] + (tuple(np.abs(header.spacing_mm)) if header else ())
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise InputError(_NO_SPACING.format(path=path))


def _check_size(reader: sitk.ImageFileReader, path: Path, voxels: Path) -> None:
    """Refuse what the header promises and the file cannot hold, and what this machine's memory cannot."""
    needed = float(np.prod(np.array(reader.GetSize(), dtype=float))) * _count_voxel_bytes(reader)
    if needed > LARGEST_COMPRESSION * os.path.getsize(voxels) + 1e6:
        raise InputError(_DAMAGED.format(path=path))
    check_memory(needed, path)


def _count_voxel_bytes(reader: sitk.ImageFileReader) -> int:
    bits: Optional["re.Match[str]"] = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return reader.GetNumberOfComponents() * (int(bits[1]) // 8 if bits else 1)
