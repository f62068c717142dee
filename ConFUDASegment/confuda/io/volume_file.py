"""Reading volumes: NIfTI, NRRD, MetaImage or a folder of DICOM files; what is no use is refused in one sentence."""

import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError, MemoryExhausted
from confuda.imaging.stack import find_slice_axis
from confuda.io.completeness import find_nifti_spacing, has_all_voxels, is_packed
from confuda.io.dicom_folder import list_dicom_files, read_dicom_series
from confuda.io.dicom_structure import is_dicom_whole, starts_as_dicom
from confuda.io.file_name import is_text
from confuda.io.itk_silence import keep_itk_quiet

LARGEST_VALUE = 1e30
"""A grey value beyond this is no measurement: squares and sums of such overflow."""

SHEAR_REFUSED = 0.01
"""Two axes whose directions have a larger dot product than this are not at right angles (0.6 degrees)."""

WIDTH_MM = (10.0, 1000.0)
"""How wide and how high a slice may be: a header in metres or micrometres says otherwise."""

SLICE_SPACING_MM = (0.05, 100.0)

FEWEST_ISOTROPIC_SLICES = 40
"""A volume of fewer slices than this that states 1 x 1 x 1 mm states no spacing at all, as likely as not."""

MEMORY_SHARE = 0.5
"""A volume whose voxels alone need more than this share of the machine's memory is refused."""

LARGEST_COMPRESSION = 1100
"""gzip shrinks nothing by more."""

FRAMES_TAG = "0028|0008"
THICKNESS_TAGS = ("0018|0050", "0018|0088")
"""Slice thickness and spacing between slices, mm: a slice alone stands for its thickness."""

_DETACHED = re.compile(
    rb"^(?:ElementDataFile[ \t]*=|data ?file[ \t]*:)[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE
)
_DAMAGED = "{path} is damaged or incomplete: copy or export it again."
_NO_SPACING = "{path} states no usable voxel spacing: correct its header."
_SHEARED = "{path} has axes that are not at right angles: resample it to a regular grid first."


class Volume(NamedTuple):
    """A scalar 3-D image with its geometry (LPS, mm) and none of the file's metadata, and what the user should know."""

    image: sitk.Image
    warnings: Tuple[str, ...]


def read_volume(path: Union[str, Path]) -> Volume:
    """Read a volume that can be segmented: 3-D, scalar, finite, not constant, of the size of a body part.

    The scalar type of the file is kept. Infinite, NaN and impossibly large voxels become the smallest usable value,
    with a warning. A single slice and a 4-D file of one frame are fine.

    Raises:
        InputError: one sentence on what is wrong with the file and what to do about it.
        MemoryExhausted: if its voxels do not fit into this machine's memory.
    """
    path = Path(path)
    _check_name(path)
    image, warnings = _read_dicom_folder(path) if os.path.isdir(path) else (read_image(path), [])
    if path.suffix.lower() in (".dcm", ".ima") and image.GetDepth() == 1:
        warnings.append("A single DICOM file is a single slice: give the folder to segment the whole series.")
    if image.HasMetaDataKey(FRAMES_TAG) and image.GetDepth() > 1:
        warnings.append("The frames of the DICOM file were taken for slices: if they are a cine, extract one frame.")
    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path} has several values per voxel (colour, complex, vector): make it one grey value.")
    _state_thickness(image)
    warnings += _check_geometry(image, path)
    image, replaced = _replace_unusable(image, path)
    return Volume(_strip_metadata(image), tuple(warnings + replaced + _find_blank_slices(image)))


def _read_dicom_folder(folder: Path) -> Tuple[sitk.Image, List[str]]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"{folder} cannot be opened: permission denied.")
    names = list_dicom_files(folder)
    return (read_image(Path(names[0])), []) if len(names) == 1 else read_dicom_series(names, folder)


def read_image(path: Path) -> sitk.Image:
    """Read a 3-D image file of any kind of voxel, whole; a 4-D file of one frame loses its fourth axis.

    Raises:
        InputError: if it is missing, no image, cut off, 2-D, a cine, or of an impossible geometry.
    """
    _check_name(path)
    # os.path answers where pathlib raises: on names that are too long, and in folders that may not be looked into.
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: give an image file.")
    if not os.path.exists(path):
        raise InputError(f"No such file: {path}")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError(f"{path} is no ordinary file: give an image file.")
    if not is_dicom_whole(path):
        raise InputError(_DAMAGED.format(path=path))
    detached = _check_detached(path)
    reader = sitk.ImageFileReader()
    with keep_itk_quiet(), _apart_from_twin(path) as readable:
        reader.SetFileName(str(readable))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise InputError(_explain(error, path)) from error
        _check_shape(reader.GetSize(), path)
        _check_spacing(reader, path)
        _check_memory(reader, path, detached)
        # 0 drops an axis: of a 4-D file with one frame a 3-D image remains.
        reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (reader.GetDimension() - 3)])
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(_explain(error, path)) from error
    if not has_all_voxels(path, reader):
        raise InputError(_DAMAGED.format(path=path))
    return image


@contextmanager
def _apart_from_twin(path: Path) -> Iterator[Path]:
    """``path``, or a copy in a folder of its own: where NAME.nii lies beside NAME.nii.gz, ITK takes the header of the
    second and the voxels of the first, and says nothing."""
    if not (path.name.lower().endswith(".nii.gz") and os.path.exists(path.with_name(path.name[:-3]))):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "volume.nii.gz"
        try:
            shutil.copyfile(path, copied)
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror}.") from error
        yield copied


def _check_name(path: Path) -> None:
    if not is_text(path):
        raise InputError(f"{path} is a name that is no valid text: rename it.")


def _check_detached(path: Path) -> bool:
    """Whether a header of MetaImage or NRRD names another file for the voxels, which has to lie beside it.

    A header from elsewhere could name any file, and reading a pipe never ends.
    """
    if not path.name.lower().endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        return False
    try:
        with open(path, "rb") as file:
            header = file.read(1 << 16)
    except OSError:
        return False
    # NRRD's header ends at an empty line, MetaImage's with the very line that is looked for.
    found = _DETACHED.search(header.partition(b"\n\n")[0] if header.startswith(b"NRRD") else header)
    if found is None or found[1].upper() == b"LOCAL":
        return False
    name = os.fsdecode(found[1])
    if re.match(r"LIST\b", name) or "%" in name:
        raise InputError(f"{path} spreads its voxels over several files: give a file or a folder that holds them all.")
    partner = path.parent / name
    folder = os.path.realpath(path.parent)
    if os.path.commonpath([folder, os.path.realpath(partner)]) != folder:
        raise InputError(f"{path} names voxels in another folder: put both files into one.")
    if not os.path.isfile(partner):
        raise InputError(f"{path} names a file of voxels that is missing: {name}.")
    return True


def _explain(error: RuntimeError, path: Path) -> str:
    text = str(error)
    if not os.access(path, os.R_OK):
        return f"{path} cannot be opened: permission denied."
    if "Unable to determine ImageIO" in text and not is_packed(path) and not starts_as_dicom(path):
        return f"{path} is not an image that can be read: give NIfTI, NRRD, MetaImage or a folder of DICOM files."
    if "orthonormal" in text:
        return _SHEARED.format(path=path)
    if "spacing" in text.lower():
        return _NO_SPACING.format(path=path)
    return _DAMAGED.format(path=path)


def _check_shape(size: Tuple[int, ...], path: Path) -> None:
    if len(size) < 3:
        raise InputError(f"{path} is a 2-D image: give a volume, even if it has one slice only.")
    frames = int(np.prod(size[3:]))
    if frames > 1:
        raise InputError(f"{path} is a cine of {frames} frames: extract one frame (end-diastole, say) and give that.")


def _check_spacing(reader: sitk.ImageFileReader, path: Path) -> None:
    spacing = [*reader.GetSpacing()[:3], *np.abs(find_nifti_spacing(path) or ())]
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise InputError(_NO_SPACING.format(path=path))


def _check_memory(reader: sitk.ImageFileReader, path: Path, detached: bool) -> None:
    """Refuse what the header promises and the file cannot hold, and what this machine's memory cannot."""
    voxels = float(np.prod(np.array(reader.GetSize(), dtype=float)))
    needed = voxels * _count_voxel_bytes(reader)
    if not detached and needed > LARGEST_COMPRESSION * os.path.getsize(path) + 1e6:
        raise InputError(_DAMAGED.format(path=path))
    memory = _measure_memory()
    if memory is not None and needed > MEMORY_SHARE * memory:
        raise MemoryExhausted(
            f"{path} holds {needed / 1e9:.1f} GB of voxels, too many for {memory / 1e9:.1f} GB of memory: "
            "crop it, or keep fewer slices."
        )


def _count_voxel_bytes(reader: sitk.ImageFileReader) -> int:
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return reader.GetNumberOfComponents() * (int(bits[1]) // 8 if bits else 1)


def _measure_memory() -> Optional[int]:
    """The machine's memory in bytes, None where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _state_thickness(image: sitk.Image) -> None:
    """Give a single DICOM slice its thickness, without which ITK takes 1 mm and volumes in mL are wrong."""
    if image.GetDepth() > 1:
        return
    for tag in THICKNESS_TAGS:
        try:
            thickness = float(image.GetMetaData(tag))
        except (RuntimeError, ValueError):
            continue
        if np.isfinite(thickness) and thickness > 0:
            image.SetSpacing((*image.GetSpacing()[:2], thickness))
            return


def _check_geometry(image: sitk.Image, path: Path) -> List[str]:
    """Refuse a grid that no scanner makes; returns what the user should know about it."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.isfinite(image.GetOrigin()).all() or not np.isfinite(direction).all():
        raise InputError(f"{path} does not say where it lies in space: correct its header.")
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR_REFUSED:
        raise InputError(_SHEARED.format(path=path))
    size, spacing = image.GetSize(), image.GetSpacing()
    slice_axis = find_slice_axis(size, spacing)
    width, height = (size[axis] * spacing[axis] for axis in range(3) if axis != slice_axis)
    if not WIDTH_MM[0] <= min(width, height) <= max(width, height) <= WIDTH_MM[1]:
        raise InputError(
            f"{path} states slices of {width:.3g} x {height:.3g} mm, which show no heart: correct its voxel spacing."
        )
    if not SLICE_SPACING_MM[0] <= spacing[slice_axis] <= SLICE_SPACING_MM[1]:
        raise InputError(f"{path} states slices {spacing[slice_axis]:.3g} mm apart: correct its voxel spacing.")
    if set(spacing) == {1.0} and size[slice_axis] < FEWEST_ISOTROPIC_SLICES:
        return ["The file states voxels of 1 x 1 x 1 mm, as files without a spacing do: volumes in mL depend on it."]
    return []


def _replace_unusable(image: sitk.Image, path: Path) -> Tuple[sitk.Image, List[str]]:
    voxels = sitk.GetArrayViewFromImage(image)
    bad, low, high = 0, np.inf, -np.inf
    # Plane by plane, so that a large volume is not in memory again as a mask.
    for plane in voxels:
        good = plane[_find_usable(plane)] if plane.dtype.kind == "f" else plane.ravel()
        bad += plane.size - good.size
        if good.size:
            low, high = min(low, good.min()), max(high, good.max())
    if bad == voxels.size:
        raise InputError(f"{path} holds no numbers, only NaN or infinite voxels: export it again.")
    if low == high:
        raise InputError(f"{path} is empty: all {'usable ' if bad else ''}voxels are {low:g}.")
    if not bad:
        return image, []
    values = np.array(voxels)
    for plane in values:
        plane[~_find_usable(plane)] = low
    mended = sitk.GetImageFromArray(values)
    mended.CopyInformation(image)
    return mended, [f"{bad} NaN, infinite or impossibly large voxels were set to the smallest value, {low:g}."]


def _find_blank_slices(image: sitk.Image) -> List[str]:
    """Tell of slices of one value between others: the heart falls into two pieces there, and only one is kept."""
    slice_axis = find_slice_axis(image.GetSize(), image.GetSpacing())
    slices = np.moveaxis(sitk.GetArrayViewFromImage(image), 2 - slice_axis, 0)
    shown = [number for number, plane in enumerate(slices) if plane.min() < plane.max()]
    blank = sorted(set(range(shown[0], shown[-1])) - set(shown)) if shown else []
    if not blank:
        return []
    listed = ", ".join(map(str, blank[:8])) + (", ..." if len(blank) > 8 else "")
    return [
        f"Slices without an image between others (numbers from 0: {listed}): the heart may be marked on one side only."
    ]


def _find_usable(plane: np.ndarray) -> np.ndarray:
    return np.abs(plane) <= LARGEST_VALUE  # False for NaN, too.


def _strip_metadata(image: sitk.Image) -> sitk.Image:
    """Drop the header's texts: those of DICOM name the patient, and ITK would write them into every derived file."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image
