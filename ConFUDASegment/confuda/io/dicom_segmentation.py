"""DICOM Segmentation objects (SEG): our labels as a DICOM file that belongs to the images it was drawn on.

The object references each source image by its UID, lies in their frame of reference, and carries the patient and the
study of the source, as the standard demands: it names the patient. Needs highdicom and pydicom.
"""

import os
import uuid
from pathlib import Path
from typing import Any, List, NamedTuple, Union

import numpy as np
import SimpleITK as sitk

from confuda import __version__
from confuda.errors import InputError, UsageError
from confuda.io.dicom_folder import list_dicom_files
from confuda.labels import CATEGORY_CODE, CATEGORY_NAME, OWN_DATASET, STRUCTURES, map_labels

ENDING = ".dcm"
MANUFACTURER = "ConFUDA"
MODEL_NAME = "ConFUDASegment"
SERIES_DESCRIPTION = "ConFUDA segmentation (research only)"
CONTENT_LABEL = "CONFUDA"
SERIES_NUMBER = 990
TYPE_2_ATTRIBUTES = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Of patient and study, in each DICOM object, perhaps empty; what made a series anonymous may have dropped them."""
PLACE_TOLERANCE_MM = 1.0
"""How far a slice of the labels may lie from the image it is said to belong to."""


class _Highdicom(NamedTuple):
    highdicom: Any
    pydicom: Any


def check_dicom_output(volume: Union[str, Path], path: Union[str, Path]) -> None:
    """Make sure, before any work is done, that a SEG of ``volume`` could be written to ``path``.

    Raises:
        UsageError: if highdicom is not installed, or the output would lie among the images.
        InputError: if the volume is no folder with one DICOM series of single slices, or the place is none.
    """
    path = Path(path)
    _import_highdicom()
    _read_source(Path(volume))
    if os.path.realpath(path.parent) == os.path.realpath(volume):
        raise UsageError("The output would lie among the images of its series: give it another folder.")
    if not os.path.isdir(path.parent):
        raise InputError(f"Cannot write {path}: the folder {path.parent} does not exist.")
    if os.path.isdir(path):
        raise InputError(f"Cannot write {path}: it is a folder.")


def write_dicom_segmentation(labelmap: sitk.Image, volume: Union[str, Path], path: Union[str, Path]) -> Path:
    """Write ``labelmap`` as a binary SEG to ``path``; the file appears complete or not at all.

    labelmap: 3-D, 0 background, 1 MYO, 2 LV, 3 RV, on the grid of the DICOM series in the folder ``volume``. An absent
    structure is a segment without frames. The written file is read back and compared before it takes its place.

    Raises:
        UsageError: if highdicom is not installed.
        InputError: if the volume is no DICOM series, the labels do not lie on it, or the place cannot be written to.
    """
    path = Path(path)
    tools = _import_highdicom()
    source = _read_source(Path(volume))
    labels = map_labels(sitk.GetArrayViewFromImage(labelmap), OWN_DATASET)
    _check_grid(labelmap, source, Path(volume))
    segmentation = _make_segmentation(tools, source, labels)
    draft = path.with_name(f".confuda-{uuid.uuid4().hex}{ENDING}")
    try:
        segmentation.save_as(str(draft))
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        if not np.array_equal(_read_labels(tools, draft, source), labels):
            raise OSError("the file could not be written completely, the disk may be full")
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def read_dicom_segmentation(path: Union[str, Path], volume: Union[str, Path]) -> np.ndarray:
    """The labels of a SEG on the series in the folder ``volume``: (slices, rows, columns) uint8, in the order in which
    :func:`confuda.io.volume_file.read_volume` stacks the series.

    Raises:
        UsageError: if highdicom is not installed.
        InputError: if the file is no SEG of that series.
    """
    return _read_labels(_import_highdicom(), Path(path), _read_source(Path(volume)))


def _import_highdicom() -> _Highdicom:
    try:
        import highdicom
        import pydicom
    except ImportError as error:
        raise UsageError("Writing DICOM SEG needs highdicom: install it with 'pip install highdicom'.") from error
    return _Highdicom(highdicom, pydicom)


def _read_source(volume: Path) -> List[Any]:
    """The headers of the series, in the order in which its slices are stacked."""
    if not os.path.isdir(volume):
        raise InputError(f"{volume} is no DICOM folder: a DICOM SEG needs one, so give the output another ending.")
    import pydicom

    source = [pydicom.dcmread(name, stop_before_pixels=True) for name in list_dicom_files(volume)]
    if any(int(image.get("NumberOfFrames", 1)) > 1 for image in source):
        raise InputError(
            f"{volume} holds multi-frame DICOM, which a DICOM SEG cannot be written for yet: use .seg.nrrd."
        )
    for image in source:
        for name in TYPE_2_ATTRIBUTES:
            if name not in image:
                setattr(image, name, None)
    needed = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    for name in needed:
        if not all(image.get(name) for image in source):
            raise InputError(f"The DICOM files in {volume} have no {name}, which a DICOM SEG refers to: use .seg.nrrd.")
    return source


def _check_grid(labelmap: sitk.Image, source: List[Any], volume: Path) -> None:
    """The slices of the labels have to lie where the images do."""
    columns, rows, slices = labelmap.GetSize()
    same = slices == len(source) and all((image.Rows, image.Columns) == (rows, columns) for image in source)
    if same:
        places = np.array([labelmap.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(slices)])
        told = np.array([[float(x) for x in image.ImagePositionPatient] for image in source])
        same = np.linalg.norm(places - told, axis=1).max() < PLACE_TOLERANCE_MM
    if not same:
        raise InputError(f"The labels do not lie on the images in {volume}.")


def _make_segmentation(tools: _Highdicom, source: List[Any], labels: np.ndarray) -> Any:
    highdicom, Code = tools.highdicom, tools.pydicom.sr.coding.Code
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        family=tools.pydicom.sr.codedict.codes.cid7162.ArtificialIntelligence,
        version=__version__,
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
        source_images=source,
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
        # The standard asks for one; software has none.
        device_serial_number="0",
        series_description=SERIES_DESCRIPTION,
        content_label=CONTENT_LABEL,
        content_description=SERIES_DESCRIPTION,
        omit_empty_frames=bool(labels.any()),
    )


def _read_labels(tools: _Highdicom, path: Path, source: List[Any]) -> np.ndarray:
    try:
        segmentation = tools.highdicom.seg.segread(str(path))
        frames = segmentation.get_pixels_by_source_instance(
            [image.SOPInstanceUID for image in source],
            combine_segments=True,
            # A slice without any label has no frame in the file.
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
    except (ValueError, KeyError, AttributeError, TypeError, tools.pydicom.errors.InvalidDicomError) as error:
        raise InputError(f"{path} is no DICOM segmentation of these images.") from error
    return np.asarray(frames, dtype=np.uint8)
