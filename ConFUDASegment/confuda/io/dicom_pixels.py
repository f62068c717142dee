"""The values of DICOM planes as one array: decoded, and scaled plane by plane."""

import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.io.dicom_file import STAND_IN_CLASS, DamagedDicom, keep_pydicom_quiet, read_header
from confuda.io.dicom_plane import Plane
from confuda.io.itk_names import any_letters
from confuda.io.itk_silence import keep_itk_quiet

_RLE = "1.2.840.10008.1.2.5"
_KEPT_ATTRIBUTES = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def read_pixels(planes: Sequence[Plane]) -> np.ndarray:
    """The true values of grey planes of one size, (planes, rows, columns), in their order.

    Whole numbers where all planes share a whole slope and a whole intercept, float32 otherwise: a slope that differs
    between planes makes the same stored number mean different things.

    Raises:
        DamagedDicom: if the pixels of a file cannot be decoded.
    """
    stored: Optional[np.ndarray] = None
    by_file: Dict[Path, List[int]] = {}
    for number, plane in enumerate(planes):
        by_file.setdefault(plane.path, []).append(number)
    scale = _find_common_scale(planes)
    for path, numbers in by_file.items():
        frames = read_stored_values(path, [planes[number].frame for number in numbers])
        for number, frame in zip(numbers, frames):
            if frame.shape != (planes[number].rows, planes[number].columns):
                raise DamagedDicom(path)
            values = _scale(frame, planes[number], scale)
            if stored is None:
                stored = np.empty((len(planes), *frame.shape), dtype=values.dtype)
            # Files of one series may differ in sign or depth of their numbers.
            wider = np.result_type(stored.dtype, values.dtype)
            if wider != stored.dtype:
                stored = stored.astype(wider)
            stored[number] = values
    assert stored is not None
    return stored


def read_stored_values(path: Path, frames: Sequence[int]) -> List[np.ndarray]:
    """The numbers as the file stores them, an array (rows, columns) for each of ``frames``.

    Raises:
        DamagedDicom: if they cannot be decoded.
    """
    header = read_header(path)
    try:
        with keep_pydicom_quiet():
            syntax = header.file_meta.get("TransferSyntaxUID")
            if syntax is None:
                # A file without the meta group: its pixels cannot be packed.
                import pydicom

                syntax = header.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            if not syntax.is_compressed or syntax.is_deflated or syntax == _RLE:
                whole = np.asarray(header.pixel_array)
                whole = whole.reshape(-1, *whole.shape[-2:])
                found = [whole[frame] for frame in frames]
            else:
                packed = _list_packed_frames(header)
                found = [_decode_with_itk(header, packed[frame]) for frame in frames]
            return [_keep_stored_bits(frame, header) for frame in found]
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedDicom(path) from error


def _find_common_scale(planes: Sequence[Plane]) -> Optional[Tuple[int, int]]:
    """Slope and intercept that all planes share, if both are whole numbers."""
    pairs = {(plane.slope, plane.intercept) for plane in planes}
    if len(pairs) > 1:
        return None
    slope, intercept = pairs.pop()
    return (int(slope), int(intercept)) if slope == int(slope) and intercept == int(intercept) else None


def _scale(frame: np.ndarray, plane: Plane, common: Optional[Tuple[int, int]]) -> np.ndarray:
    if common == (1, 0):
        return frame
    if common is None or frame.dtype.kind == "f":
        return (frame * plane.slope + plane.intercept).astype(np.float32)
    slope, intercept = common
    values = frame.astype(np.int64) * slope + intercept
    fits = np.iinfo(np.int32).min <= values.min() and values.max() <= np.iinfo(np.int32).max
    return values.astype(np.int32 if fits else np.float32)


def _keep_stored_bits(frame: np.ndarray, header: Any) -> np.ndarray:
    """Without what older files keep in the bits above the stored ones (overlays)."""
    allocated, bits = int(header.BitsAllocated), int(header.get("BitsStored") or header.BitsAllocated)
    if frame.dtype.kind not in "iu" or not 0 < bits < allocated:
        return frame
    lifted = np.left_shift(frame, allocated - bits)
    # Of signed numbers the way back brings the sign along.
    return np.right_shift(lifted, allocated - bits)


def _list_packed_frames(header: Any) -> List[bytes]:
    from pydicom import encaps

    frames = int(header.get("NumberOfFrames") or 1)
    if hasattr(encaps, "generate_frames"):
        return list(encaps.generate_frames(header.PixelData, number_of_frames=frames))
    return list(encaps.generate_pixel_data_frame(header.PixelData, frames))  # pydicom 2


def _decode_with_itk(header: Any, packed: bytes) -> np.ndarray:
    """A compressed frame by ITK, which knows every kind of JPEG that scanners write; pydicom needs plug-ins for that.

    The frame goes there without its place and its scale, so that stored numbers come back.
    """
    import pydicom
    from pydicom.encaps import encapsulate

    single = pydicom.Dataset()
    single.file_meta = pydicom.dataset.FileMetaDataset()
    single.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    single.file_meta.MediaStorageSOPClassUID = single.SOPClassUID = pydicom.uid.UID(STAND_IN_CLASS)
    single.file_meta.MediaStorageSOPInstanceUID = single.SOPInstanceUID = pydicom.uid.generate_uid()
    for name in _KEPT_ATTRIBUTES:
        if name in header:
            setattr(single, name, header[name].value)
    single.PixelData = encapsulate([packed])
    single["PixelData"].is_undefined_length = True
    with tempfile.TemporaryDirectory(prefix="confuda-") as folder:
        path = Path(folder) / "frame.dcm"
        pydicom.dataset.FileDataset(str(path), single, file_meta=single.file_meta, preamble=bytes(128)).save_as(
            str(path)
        )
        with keep_itk_quiet(), any_letters():
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
