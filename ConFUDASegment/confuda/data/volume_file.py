"""Reading volumes: NIfTI, NRRD, MetaImage or a folder of DICOM files; what is no use is refused in one sentence."""

import gzip
import os
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple, Union

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError

POSITION_TAG = "0020|0032"
GAP_REFUSED = 0.1
"""A DICOM slice further than this share of the slice spacing from its place on the grid: a slice is missing."""
GAP_WARNED = 0.01
_DAMAGED = "{path} is damaged or incomplete: copy or export it again."


class Volume(NamedTuple):
    """A scalar 3-D image with its geometry (LPS, mm) and none of the file's metadata, and what the user should know."""

    image: sitk.Image
    warnings: Tuple[str, ...]


def read_volume(path: Union[str, Path]) -> Volume:
    """Read a volume that can be segmented: 3-D, scalar, finite and not constant.

    The scalar type of the file is kept. Infinite and NaN voxels become the smallest finite value, with a warning.
    A single slice and a 4-D file of one frame are fine.

    Raises:
        InputError: one sentence on what is wrong with the file and what to do about it.
    """
    path = Path(path)
    image, warnings = _read_dicom_folder(path) if os.path.isdir(path) else (read_image(path), [])
    if path.suffix.lower() in (".dcm", ".ima") and image.GetDepth() == 1:
        warnings.append("A single DICOM file is a single slice: give the folder to segment the whole series.")
    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path} has several values per voxel (colour, complex, vector): make it one grey value.")
    image, replaced = _replace_non_finite(image, path)
    return Volume(_strip_metadata(image), tuple(warnings + replaced))


def read_image(path: Path) -> sitk.Image:
    """Read a 3-D image file of any kind of voxel, whole; a 4-D file of one frame loses its fourth axis.

    Raises:
        InputError: if it is missing, no image, cut off, 2-D, a cine, or of an impossible geometry.
    """
    # os.path answers where pathlib raises: on names that are too long, and in folders that may not be looked into.
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder: give an image file.")
    if not os.path.exists(path):
        raise InputError(f"No such file: {path}")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise InputError(_explain(error, path)) from error
        _check_shape(reader.GetSize(), path)
        _check_spacing(reader.GetSpacing(), path)
        # 0 drops an axis: of a 4-D file with one frame a 3-D image remains.
        reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (reader.GetDimension() - 3)])
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(_explain(error, path)) from error
    _check_nifti_complete(path, reader)
    return image


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the standard error: the same news reaches the user as one sentence."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _explain(error: RuntimeError, path: Path) -> str:
    text = str(error)
    if not os.access(path, os.R_OK):
        return f"{path} cannot be opened: permission denied."
    if "Unable to determine ImageIO" in text and not _is_packed(path):
        return f"{path} is not an image that can be read: give NIfTI, NRRD, MetaImage or a folder of DICOM files."
    if "orthonormal" in text:
        return f"{path} has axes that are not at right angles: resample it to a regular grid first."
    return _DAMAGED.format(path=path)


def _check_shape(size: Tuple[int, ...], path: Path) -> None:
    if len(size) < 3:
        raise InputError(f"{path} is a 2-D image: give a volume, even if it has one slice only.")
    frames = int(np.prod(size[3:]))
    if frames > 1:
        raise InputError(f"{path} is a cine of {frames} frames: extract one frame (end-diastole, say) and give that.")


def _check_spacing(spacing: Tuple[float, ...], path: Path) -> None:
    if not all(np.isfinite(spacing[:3])) or min(spacing[:3]) <= 0:
        raise InputError(f"{path} states no usable voxel spacing: correct its header.")


def _check_nifti_complete(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse a NIfTI file that was cut off: ITK fills the missing voxels with what lies in memory and says nothing."""
    if not (reader.HasMetaDataKey("bitpix") and path.name.lower().endswith((".nii", ".nii.gz"))):
        return
    voxels = int(np.prod(reader.GetSize()))
    needed = int(float(reader.GetMetaData("vox_offset"))) + voxels * int(reader.GetMetaData("bitpix")) // 8
    try:
        if _count_bytes(path) >= needed:
            return
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(_DAMAGED.format(path=path)) from error
    raise InputError(_DAMAGED.format(path=path))


def _count_bytes(path: Path) -> int:
    """Length of a file's content in bytes, unpacked where it is gzip-compressed (checks its check sum as well)."""
    if not _is_packed(path):
        return path.stat().st_size
    total = 0
    with gzip.open(path) as stream:
        chunk = stream.read(1 << 22)
        while chunk:
            total += len(chunk)
            chunk = stream.read(1 << 22)
    return total


def _is_packed(path: Path) -> bool:
    """Whether a file is gzip-compressed, told by its first bytes and not by its name, as ITK does."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _replace_non_finite(image: sitk.Image, path: Path) -> Tuple[sitk.Image, List[str]]:
    voxels = sitk.GetArrayViewFromImage(image)
    finite = np.isfinite(voxels)
    bad = voxels.size - int(np.count_nonzero(finite))
    if bad == voxels.size:
        raise InputError(f"{path} holds no numbers, only NaN or infinite voxels: export it again.")
    good = voxels[finite] if bad else voxels
    low, high = good.min(), good.max()
    if low == high:
        raise InputError(f"{path} is empty: all voxels are {low:g}.")
    if not bad:
        return image, []
    mended = sitk.GetImageFromArray(np.where(finite, voxels, low))
    mended.CopyInformation(image)
    return mended, [f"{bad} NaN or infinite voxels were set to the smallest value, {low:g}."]


def _strip_metadata(image: sitk.Image) -> sitk.Image:
    """Drop the header's texts: those of DICOM name the patient, and ITK would write them into every derived file."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image


def _read_dicom_folder(folder: Path) -> Tuple[sitk.Image, List[str]]:
    with _quiet_itk():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        files = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in series]
    if not files:
        raise InputError(f"{folder} holds no DICOM image: give a folder with one series, or an image file.")
    if len(files) > 1:
        listed = ", ".join(f"{number}: {len(names)} files" for number, names in enumerate(files, start=1))
        raise InputError(
            f"{folder} holds {len(files)} DICOM series ({listed}): put the wanted one into a folder of its own."
        )
    names = files[0]
    if len(names) == 1:
        return read_image(Path(names[0])), []
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    with _quiet_itk():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(_explain_series(error, folder)) from error
    if not all(reader.HasMetaDataKey(number, POSITION_TAG) for number in range(len(names))):
        raise InputError(f"{folder} holds DICOM files that do not say where their slices lie: export them again.")
    positions = np.array(
        [[float(x) for x in reader.GetMetaData(number, POSITION_TAG).split("\\")] for number in range(len(names))]
    )
    return image, _check_positions(positions, image, folder)


def _explain_series(error: RuntimeError, folder: Path) -> str:
    if "Size mismatch" in str(error) or "dimension" in str(error):
        return f"The DICOM files in {folder} differ in size: keep the slices of one stack only."
    return f"The DICOM files in {folder} cannot be read as one volume: export the series again."


def _check_positions(positions: np.ndarray, image: sitk.Image, folder: Path) -> List[str]:
    """Compare where slices lie, positions (slices, 3) in mm, with the regular grid that ITK made of them."""
    distinct = len(np.unique(np.round(positions, 2), axis=0))
    if distinct < len(positions):
        raise InputError(
            f"{folder} holds {len(positions)} images at {distinct} positions (a cine): keep one frame of each slice."
        )
    grid = np.array([image.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(len(positions))])
    deviation = np.linalg.norm(positions - grid, axis=1).max() / image.GetSpacing()[2]
    if deviation > GAP_REFUSED:
        raise InputError(
            f"The slices in {folder} are not evenly spaced and parallel: "
            "a slice is missing, or several stacks are mixed."
        )
    if deviation > GAP_WARNED:
        return [f"The slices are not quite evenly spaced (off by {100 * deviation:.0f} % of their distance)."]
    return []
