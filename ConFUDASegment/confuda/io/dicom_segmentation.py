"""DICOM Segmentation objects (SEG): our labels as a DICOM file that belongs to the images it was drawn on.

The object references each source image by its UID, and each frame of a multi-frame image by its number, lies in their
frame of reference, and carries the patient and the study of the source, as the standard demands: it names the patient.
Needs highdicom.
"""

import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import SimpleITK as sitk

from confuda import __version__
from confuda.errors import InputError, UsageError
from confuda.imaging.parallel_slices import LARGEST_DIFFERENCE
from confuda.io.atomic import replace_file
from confuda.io.dicom_file import keep_pydicom_quiet
from confuda.io.dicom_folder import choose_phase, find_source, find_spacing
from confuda.io.dicom_plane import Plane
from confuda.io.dicom_source import SourceImages, describe_source
from confuda.io.file_name import DICOM_ENDING
from confuda.labels import CATEGORY_CODE, CATEGORY_NAME, OWN_DATASET, STRUCTURES, map_labels

MANUFACTURER = "ConFUDA"
MODEL_NAME = "ConFUDASegment"
SERIES_DESCRIPTION = "ConFUDA segmentation (research only)"
CONTENT_LABEL = "CONFUDA"
SERIES_NUMBER = 990
PLACE_TOLERANCE_MM = 1.0
"""How far a slice of the labels may lie from the image it is said to belong to."""

_Reference = Tuple[str, int]
"""The UID of an image, and the number of a frame, 0 in single-frame images."""


def check_dicom_output(
    volume: Union[str, Path],
    path: Union[str, Path],
    frame: Optional[int] = None,
    series: Optional[int] = None,
    spacing_mm: Optional[Sequence[float]] = None,
) -> List[str]:
    """Make sure, before any work is done, that a SEG of ``volume`` could be written to ``path``; an empty one is made.

    frame, series, spacing_mm: as for :func:`confuda.io.volume_file.read_volume`. Returns warnings: which of the
    patient's and the study's attributes the SEG will leave empty, since the images' values break the rules of DICOM.

    Raises:
        UsageError: if highdicom is not installed, or the output would lie among the images.
        InputError: if the volume is no DICOM, what a SEG has to repeat is invalid, or the place is none.
    """
    path, volume = Path(path), Path(volume)
    _import_highdicom()
    planes = _find_planes(volume, frame, series)
    spacing, _ = find_spacing(planes, volume, spacing_mm)
    _check_spacing(planes, spacing, volume)
    source = describe_source(planes, volume, spacing)
    if os.path.realpath(path.parent) in {os.path.realpath(plane.path.parent) for plane in planes}:
        raise UsageError("The output would lie among the images of its series: give it another folder.")
    if not os.path.isdir(path.parent):
        raise InputError(f"Cannot write {path}: the folder {path.parent} does not exist.")
    if os.path.isdir(path):
        raise InputError(f"Cannot write {path}: it is a folder.")
    first = planes[0]
    _make_segmentation(source, np.zeros((len(planes), first.rows, first.columns), np.uint8), volume)
    return source.warnings


def write_dicom_segmentation(
    labelmap: sitk.Image,
    volume: Union[str, Path],
    path: Union[str, Path],
    frame: Optional[int] = None,
    series: Optional[int] = None,
) -> Path:
    """Write ``labelmap`` as a binary SEG to ``path``; the file appears complete or not at all.

    labelmap: 3-D, 0 background, 1 MYO, 2 LV, 3 RV, on the grid on which ``volume`` is read with ``frame`` and
    ``series``. An absent structure is a segment without frames. The written file is read back and compared before it
    takes its place.

    Raises:
        UsageError: if highdicom is not installed.
        InputError: if the volume is no DICOM, the labels do not lie on it, or the place cannot be written to.
    """
    path, volume = Path(path), Path(volume)
    _import_highdicom()
    planes = _find_planes(volume, frame, series)
    labels = map_labels(sitk.GetArrayViewFromImage(labelmap), OWN_DATASET)
    _check_grid(labelmap, planes, volume)
    segmentation = _make_segmentation(describe_source(planes, volume, labelmap.GetSpacing()), labels, volume)
    try:
        with replace_file(path) as draft:
            with keep_pydicom_quiet():
                segmentation.save_as(str(draft))
            if not np.array_equal(_read_labels(draft, planes), labels):
                raise OSError("the file could not be written completely, the disk may be full")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return path


def read_dicom_segmentation(
    path: Union[str, Path], volume: Union[str, Path], frame: Optional[int] = None, series: Optional[int] = None
) -> np.ndarray:
    """The labels of a SEG on the images of ``volume``: (slices, rows, columns) uint8, in the order in which
    :func:`confuda.io.volume_file.read_volume` stacks them.

    Raises:
        InputError: if the file is no SEG of these images.
    """
    return _read_labels(Path(path), _find_planes(Path(volume), frame, series))


def _import_highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise UsageError("Writing DICOM SEG needs highdicom: install it with 'pip install highdicom'.") from error
    return highdicom


def _find_planes(volume: Path, frame: Optional[int], series: Optional[int]) -> Tuple[Plane, ...]:
    """The planes of the volume, in the order in which it is stacked."""
    if not os.path.isdir(volume) and not volume.name.lower().endswith((DICOM_ENDING, ".ima")) and volume.suffix:
        raise InputError(f"{volume} is no DICOM folder: a DICOM SEG needs one, so give the output another ending.")
    return choose_phase(find_source(volume, series, prefer_cine=frame is not None).stack, frame, volume)


def _check_spacing(planes: Sequence[Plane], spacing_mm: Sequence[float], volume: Path) -> None:
    """A SEG cannot state other places than its images do."""
    places = np.array([plane.position for plane in planes])
    told = float(np.linalg.norm(places[-1] - places[0]))
    stated = planes[0].spacing
    same = abs(told - (len(planes) - 1) * spacing_mm[2]) <= PLACE_TOLERANCE_MM
    if not same or (stated is not None and not np.allclose(stated, spacing_mm[1::-1], rtol=LARGEST_DIFFERENCE)):
        raise InputError(f"The given spacing contradicts what {volume} states: write a .seg.nrrd instead.")


def _check_grid(labelmap: sitk.Image, planes: Sequence[Plane], volume: Path) -> None:
    """The slices of the labels have to lie where the images do."""
    columns, rows, slices = labelmap.GetSize()
    same = slices == len(planes) and (planes[0].rows, planes[0].columns) == (rows, columns)
    if same:
        places = np.array([labelmap.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(slices)])
        same = np.linalg.norm(places - [plane.position for plane in planes], axis=1).max() < PLACE_TOLERANCE_MM
    if not same:
        raise InputError(f"The labels do not lie on the images in {volume}.")


def _make_segmentation(source: SourceImages, labels: np.ndarray, volume: Path) -> Any:
    try:
        with keep_pydicom_quiet():
            segmentation = _build(source.headers, labels)
            _name_true_sources(segmentation, source)
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
        raise InputError(f"No DICOM SEG can be written of the images in {volume}: use .seg.nrrd.") from error
    return segmentation


def _build(headers: Sequence[Any], labels: np.ndarray) -> Any:
    highdicom = _import_highdicom()
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=MANUFACTURER, family=codes.cid7162.ArtificialIntelligence, version=__version__
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=structure.label,
            segment_label=structure.display_name,
            segmented_property_category=Code(CATEGORY_CODE, "SCT", CATEGORY_NAME),
            segmented_property_type=Code(structure.code, "SCT", structure.display_name),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=highdicom.UID(),
            tracking_id=structure.name,
            display_color=highdicom.color.CIELabColor.from_rgb(*structure.color),
        )
        for structure in STRUCTURES
    ]
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=__version__,
        # The standard asks for a serial number, which software does not have.
        device_serial_number="0",
        series_description=SERIES_DESCRIPTION,
        content_label=CONTENT_LABEL,
        content_description=SERIES_DESCRIPTION,
        omit_empty_frames=bool(labels.any()),
    )


def _name_true_sources(segmentation: Any, source: SourceImages) -> None:
    """Put the true images, frames and series where the stand-ins are referred to."""
    import pydicom

    true = {header.SOPInstanceUID: plane for header, plane in zip(source.headers, source.planes)}
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in groups.get("DerivationImageSequence") or []:
            for item in derivation.SourceImageSequence:
                plane = true.get(item.ReferencedSOPInstanceUID)
                if plane is None:  # The frames of other segments of this plane share the item.
                    continue
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = plane.sop_class, plane.instance_uid
                if plane.frames > 1:
                    item.ReferencedFrameNumber = plane.frame + 1
    images: Dict[str, Plane] = {plane.instance_uid: plane for plane in source.planes}
    by_series: Dict[str, List[Any]] = {}
    references = []
    for plane in images.values():
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = plane.sop_class, plane.instance_uid
        references.append(item)
        by_series.setdefault(plane.series, []).append(item)
    segmentation.SourceImageSequence = references
    series_items = []
    for uid, items in by_series.items():
        item = pydicom.Dataset()
        item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, items
        series_items.append(item)
    segmentation.ReferencedSeriesSequence = series_items


def _read_labels(path: Path, planes: Sequence[Plane]) -> np.ndarray:
    """Each frame of the SEG put on the plane that it refers to."""
    import pydicom

    numbers: Dict[_Reference, int] = {}
    for number, plane in enumerate(planes):
        numbers[plane.instance_uid, plane.frame + 1 if plane.frames > 1 else 0] = number
    labels = np.zeros((len(planes), planes[0].rows, planes[0].columns), np.uint8)
    try:
        with keep_pydicom_quiet():
            segmentation = pydicom.dcmread(path)
            frames = segmentation.pixel_array.reshape(-1, *labels.shape[1:])
            for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence):
                item = groups.DerivationImageSequence[0].SourceImageSequence[0]
                number = numbers[item.ReferencedSOPInstanceUID, int(item.get("ReferencedFrameNumber") or 0)]
                segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
                labels[number][frame > 0] = segment
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, pydicom.errors.InvalidDicomError) as error:
        raise InputError(f"{path} is no DICOM segmentation of these images.") from error
    return labels
