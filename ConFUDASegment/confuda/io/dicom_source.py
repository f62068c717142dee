"""The images that a DICOM SEG belongs to, as headers in which nothing is invalid: what cannot be mended is refused.

Programs that make studies anonymous leave values that break the rules of DICOM, and a SEG must not repeat them.
"""

from typing import Any, List, NamedTuple, Sequence, Tuple

from confuda.errors import InputError
from confuda.io.dicom_file import STAND_IN_CLASS, UNREADABLE, DamagedDicom, get_text, keep_pydicom_quiet, read_header
from confuda.io.dicom_plane import Plane

TYPE_2_ATTRIBUTES = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Of patient and study, in each DICOM object, perhaps empty; they may have been removed to make a series anonymous."""

OPTIONAL_ATTRIBUTES = ("PatientAge", "PatientSize", "PatientWeight", "StudyDescription")

UID_ATTRIBUTES = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")

UNICODE = "ISO_IR 192"


class SourceImages(NamedTuple):
    """headers: one a plane, single-frame stand-ins with UIDs of their own; planes: what they stand for; warnings: what
    was mended."""

    headers: List[Any]
    planes: Tuple[Plane, ...]
    warnings: List[str]


def describe_source(planes: Sequence[Plane], volume: Any, spacing_mm: Sequence[float]) -> SourceImages:
    """Headers that say of patient, study and place what the images say, without what is invalid.

    spacing_mm: between columns, rows and slices, as the volume was read.

    Raises:
        InputError: naming the attribute that is missing or invalid and cannot be left empty.
    """
    if any(plane.placed_by for plane in planes):
        raise InputError(
            f"The DICOM files in {volume} have no usable ImagePositionPatient, which a DICOM SEG repeats: "
            "use .seg.nrrd."
        )
    _check_uids(planes, volume)
    try:
        first = read_header(planes[0].path)
    except DamagedDicom as error:
        raise InputError(f"{error.path} is damaged or incomplete: copy or export it again.") from error
    with keep_pydicom_quiet():
        common, warnings = _take_valid(first)
        headers = [_describe_plane(plane, planes[0], common, spacing_mm) for plane in planes]
    return SourceImages(headers, tuple(planes), warnings)


def _check_uids(planes: Sequence[Plane], volume: Any) -> None:
    from pydicom.uid import UID

    for plane in planes:
        uids = (plane.instance_uid, plane.sop_class, plane.study, plane.series, plane.frame_of_reference)
        for name, uid in zip(UID_ATTRIBUTES, uids):
            if not uid:
                raise InputError(f"The DICOM files in {volume} have no {name}, which a DICOM SEG needs: use .seg.nrrd.")
            if not UID(uid).is_valid:
                raise InputError(f"The DICOM files in {volume} have an invalid {name}: use .seg.nrrd.")


def _take_valid(header: Any) -> Tuple[Any, List[str]]:
    """A data set of what is valid of patient and study, and warnings of what is not."""
    import pydicom
    from pydicom import config
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    taken, warnings = pydicom.Dataset(), []
    texts = []
    for name in TYPE_2_ATTRIBUTES + OPTIONAL_ATTRIBUTES:
        value: Any = None
        try:
            value = get_text(header, name)
            validate_value(dictionary_VR(name), value, config.RAISE)
        except UNREADABLE:
            warnings.append(f"The DICOM SEG leaves {name} empty: the images' value is not valid DICOM.")
            value = None
        if value or name in TYPE_2_ATTRIBUTES:
            texts.append(value or "")
            setattr(taken, name, value or None)
    taken.SpecificCharacterSet = _choose_character_set(header, "".join(texts))
    if taken.SpecificCharacterSet == UNICODE and header.get("SpecificCharacterSet") not in (None, "", UNICODE):
        warnings.append(
            "The DICOM SEG is written in Unicode: the images' SpecificCharacterSet is no valid one for them."
        )
    return taken, warnings


def _choose_character_set(header: Any, text: str) -> str:
    """The images' own, where it is one and can write ``text``, else Unicode."""
    from pydicom.charset import python_encoding

    own = header.get("SpecificCharacterSet")
    if isinstance(own, str) and own in python_encoding:
        try:
            text.encode(python_encoding[own])
            return own
        except (UnicodeError, LookupError):
            pass
    return UNICODE


def _describe_plane(plane: Plane, first: Plane, common: Any, spacing_mm: Sequence[float]) -> Any:
    import pydicom

    header = pydicom.Dataset()
    header.update(common)
    header.SOPClassUID, header.SOPInstanceUID = STAND_IN_CLASS, pydicom.uid.generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = first.study, first.series
    header.FrameOfReferenceUID = first.frame_of_reference
    header.Modality = "MR"
    header.Rows, header.Columns = plane.rows, plane.columns
    header.ImageOrientationPatient = _format(first.orientation or ())
    header.ImagePositionPatient = _format(plane.position or ())
    header.PixelSpacing = _format([spacing_mm[1], spacing_mm[0]])
    header.SliceThickness = _format([first.thickness or spacing_mm[2]])[0]
    return header


def _format(numbers: Sequence[float]) -> List[str]:
    """Decimal strings of at most 16 characters."""
    return [f"{number:.10g}"[:16] for number in numbers]
