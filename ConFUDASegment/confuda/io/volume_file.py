"""Reading volumes and cines: NIfTI, Analyze, NRRD, MetaImage, DICOM; what cannot be used is refused in one sentence.

Which files are read, and how, is told to users in docs/what-is-read.md.
"""

import os
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import SimpleITK as sitk

from confuda.errors import InputError, UsageError
from confuda.imaging.volume import Volume
from confuda.imaging.volume_checks import check_geometry, find_blank_slices, replace_unusable
from confuda.io.dicom_file import starts_as_dicom
from confuda.io.dicom_folder import DIRECTORY_NAME, choose_phase, explain_frame, find_source, read_planes_as_volume
from confuda.io.file_name import VOLUME_ENDINGS
from confuda.io.image_file import check_name, find_times_ms, is_slicer_segmentation, read_frames
from confuda.io.label_map import looks_like_labels
from confuda.io.nifti_header import compare_forms, read_nifti_header


class Cine(NamedTuple):
    """The frames of a cine in order of time, scalar 3-D images on one grid (LPS, mm), and what the user should know.

    times_ms: of each frame after the R wave, where the files tell it; a volume is a cine of one frame.
    """

    frames: Tuple[sitk.Image, ...]
    times_ms: Optional[Tuple[float, ...]]
    warnings: Tuple[str, ...]


def read_volume(
    path: Union[str, Path],
    frame: Optional[int] = None,
    series: Optional[int] = None,
    spacing_mm: Optional[Sequence[float]] = None,
) -> Volume:
    """Read a volume that can be segmented: 3-D, scalar, finite, not constant, of the size of a body part, no labels.

    The scalar type of the file is kept. Infinite, NaN and impossibly large voxels become the smallest usable value,
    with a warning. A single slice and a 4-D file of one frame are fine.

    Args:
        path: an image file, a folder of DICOM files (with its subfolders), a DICOMDIR or a DICOM file.
        frame: which frame of a cine, from 0; a cine is refused without.
        series: which series or stack of a DICOM folder, by its number in the list that a refusal gives.
        spacing_mm: between columns, rows and slices, in place of what the file states.

    Raises:
        UsageError: for options that the file has no use for.
        InputError: one sentence on what is wrong with the file and what to do about it.
        MemoryExhausted: if its voxels do not fit into this machine's memory.
    """
    path = Path(path)
    frames, _, warnings = _read(path, False, frame, series, spacing_mm)
    image, more = _check(frames[0], path, spacing_mm)
    return Volume.from_checked(image, (*warnings, *more))


def read_cine(
    path: Union[str, Path], series: Optional[int] = None, spacing_mm: Optional[Sequence[float]] = None
) -> Cine:
    """Read all frames of a cine, as :func:`read_volume` reads one: a 4-D file, a ``.seq.nrrd``, or DICOM.

    Raises: as :func:`read_volume`.
    """
    path = Path(path)
    frames, times_ms, warnings = _read(path, True, None, series, spacing_mm)
    names = [f"{path}, frame {number}," if len(frames) > 1 else path for number in range(len(frames))]
    checked = [_check(frame, name, spacing_mm) for frame, name in zip(frames, names)]
    more = dict.fromkeys(warning for _, told in checked for warning in told)
    return Cine(tuple(image for image, _ in checked), times_ms, (*warnings, *more))


def read_image(path: Union[str, Path]) -> sitk.Image:
    """Read a 3-D image file of any kind of voxel, labels too, whole; a 4-D file of one frame loses its fourth axis.

    Raises:
        InputError: if it is missing, no image, cut off, 2-D, a cine, or of an impossible geometry.
    """
    return _read(Path(path), False, None, None, None)[0][0]


def may_be_dicom(path: Path) -> bool:
    """Whether what is to be read there can only be DICOM: a folder, or a file as of :func:`is_dicom`."""
    return os.path.isdir(path) or is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Whether a file is to be read as DICOM: a DICOMDIR, or what starts as DICOM does and is not named otherwise."""
    if path.name.upper() == DIRECTORY_NAME:
        return True
    return not path.name.lower().endswith(VOLUME_ENDINGS) and os.path.isfile(path) and starts_as_dicom(path)


def _read(
    path: Path,
    is_cine: bool,
    frame: Optional[int],
    series: Optional[int],
    spacing_mm: Optional[Sequence[float]],
) -> Tuple[List[sitk.Image], Optional[Tuple[float, ...]], List[str]]:
    """All frames of a cine or the chosen one, their times, and warnings."""
    check_name(path)
    if spacing_mm is not None and (len(spacing_mm) != 3 or not all(0 < mm < float("inf") for mm in spacing_mm)):
        raise UsageError("A spacing is three lengths in mm: between columns, rows and slices.")
    if may_be_dicom(path):
        return _read_dicom(path, is_cine, frame, series, spacing_mm)
    if series is not None:
        raise UsageError(f"{path} is no DICOM: --series goes with DICOM only.")

    def choose(count: int) -> Sequence[int]:
        if is_cine:
            return range(count)
        if frame is None and count > 1:
            raise InputError(
                f"{path} is a cine of {count} frames: choose one with --frames N (0 to {count - 1}), or all with "
                "--frames all."
            )
        if not 0 <= (frame or 0) < count:
            raise InputError(explain_frame(path, frame, count))
        return [frame or 0]

    images = read_frames(path, choose, spacing_mm is not None)
    header = read_nifti_header(path)
    warnings = compare_forms(header) if header is not None and spacing_mm is None else []
    if spacing_mm is not None:
        for image in images:
            image.SetSpacing([float(mm) for mm in spacing_mm])
    return images, find_times_ms(images[0], len(images)), warnings


def _read_dicom(
    path: Path,
    is_cine: bool,
    frame: Optional[int],
    series: Optional[int],
    spacing_mm: Optional[Sequence[float]],
) -> Tuple[List[sitk.Image], Optional[Tuple[float, ...]], List[str]]:
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"{path} cannot be opened: permission denied.")
    source = find_source(path, series, prefer_cine=is_cine or frame is not None)
    phases = source.stack.phases if is_cine else [choose_phase(source.stack, frame, path)]
    images: List[sitk.Image] = []
    warnings = list(source.notes)
    for planes in phases:
        image, more = read_planes_as_volume(planes, path, spacing_mm)
        if images:
            # Places that were taken for the same may differ in their last digits, and frames lie on one grid.
            image.CopyInformation(images[0])
        images.append(image)
        warnings += [warning for warning in more if warning not in warnings]
    return images, source.stack.times_ms, warnings


def _check(
    image: sitk.Image, path: Union[str, Path], spacing_mm: Optional[Sequence[float]]
) -> Tuple[sitk.Image, List[str]]:
    """The image without unusable voxels and without metadata, and warnings; ``path``: as messages name it."""
    if is_slicer_segmentation(image):
        raise InputError(f"{path} is a segmentation and no image: give the volume that it was drawn on.")
    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path} has several values per voxel (colour, complex, vector): make it one grey value.")
    warnings = check_geometry(image, path, spacing_mm is not None)
    image, replaced = replace_unusable(image, path)
    if looks_like_labels(sitk.GetArrayViewFromImage(image)):
        raise InputError(f"{path} holds labels (a segmentation) and no image: give the volume that they were drawn on.")
    return _strip_metadata(image), warnings + replaced + find_blank_slices(image)


def _strip_metadata(image: sitk.Image) -> sitk.Image:
    """Drop the header's texts: those of DICOM name the patient, and ITK would write them into every derived file."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image
