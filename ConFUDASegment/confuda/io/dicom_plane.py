"""The image planes of a DICOM file, frame by frame: where each lies, when it was taken, what its values mean."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from confuda.imaging.parallel_slices import find_normal
from confuda.io.dicom_file import (
    DamagedDicom,
    get_items,
    get_number,
    get_numbers,
    get_text,
    is_directory,
    keep_pydicom_quiet,
    read_header,
)

NO_IMAGE_MODALITIES = ("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "DOC", "REG", "ECG", "HD", "AU")

PIXEL_SPACING = "PixelSpacing"
SPACING_ATTRIBUTES = (PIXEL_SPACING, "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Where pixels may be told a size, the first that is there counts."""

SLICE_LOCATION, FRAME_ORDER, NOTHING = "slice location", "order of frames", "nothing"

Vector = Tuple[float, float, float]


@dataclass(frozen=True)
class Plane:
    """One image plane: a single-frame file, or one frame of a multi-frame file.

    frame: from 0 in its file; position: mm (LPS) of the middle of the first pixel; orientation: the direction of a row
    and of a column; spacing: mm between rows and between columns, which ``spacing_from`` told; thickness, gap: mm, the
    second from middle to middle of neighbouring slices; slope, intercept: from stored to true values; temporal: number
    of the phase; trigger_ms: time after the R wave; placed_by: what the position was made of where the header has
    none (``SLICE_LOCATION``, ``FRAME_ORDER``, ``NOTHING``), empty where it has one.
    """

    path: Path
    frame: int
    frames: int
    study: str
    series: str
    series_number: Optional[int]
    description: str
    modality: str
    sop_class: str
    instance_uid: str
    frame_of_reference: str
    rows: int
    columns: int
    samples: int
    image_type: Tuple[str, ...]
    position: Optional[Vector]
    orientation: Optional[Tuple[float, ...]]
    spacing: Optional[Tuple[float, float]]
    spacing_from: str
    thickness: Optional[float]
    gap: Optional[float]
    slice_location: Optional[float]
    slope: float
    intercept: float
    temporal: Optional[float]
    trigger_ms: Optional[float]
    inversion_ms: Optional[float]
    echo_ms: Optional[float]
    acquisition: Optional[float]
    instance: Optional[float]
    placed_by: str = ""

    @property
    def is_colour(self) -> bool:
        return self.samples != 1

    @property
    def place(self) -> Vector:
        """The position of a plane that has one, as those of a stack without a problem do."""
        assert self.position is not None
        return self.position


def read_planes(path: Path) -> List[Plane]:
    """The image planes of a DICOM file, in the order of its frames; none for what is no image (reports, directories).

    Raises:
        DamagedDicom: as :func:`read_header`.
    """
    header = read_header(path)
    with keep_pydicom_quiet():
        try:
            return _list_planes(header, path)
        except MemoryError:
            raise
        except Exception as error:
            # pydicom interprets values when they are asked for, and a damaged one may raise anything.
            raise DamagedDicom(path) from error


def _list_planes(header: Any, path: Path) -> List[Plane]:
    modality = get_text(header, "Modality").upper()
    rows, columns = get_number(header, "Rows"), get_number(header, "Columns")
    if is_directory(header) or modality in NO_IMAGE_MODALITIES or not rows or not columns:
        return []
    frames = max(1, int(get_number(header, "NumberOfFrames") or 1))
    common: Dict[str, Any] = {
        "path": path,
        "frames": frames,
        "study": get_text(header, "StudyInstanceUID"),
        "series": get_text(header, "SeriesInstanceUID"),
        "series_number": _as_int(get_number(header, "SeriesNumber")),
        "description": get_text(header, "SeriesDescription") or get_text(header, "ProtocolName"),
        "modality": modality,
        "sop_class": get_text(header, "SOPClassUID"),
        "instance_uid": get_text(header, "SOPInstanceUID"),
        "frame_of_reference": get_text(header, "FrameOfReferenceUID"),
        "rows": int(rows),
        "columns": int(columns),
        "samples": int(get_number(header, "SamplesPerPixel") or 1),
    }
    shared = get_items(header, "SharedFunctionalGroupsSequence")
    groups = get_items(header, "PerFrameFunctionalGroupsSequence")
    if len(groups) != frames:
        groups = []
    planes = [
        Plane(
            frame=frame, **common, **_describe_frame(header, [*groups[frame : frame + 1], *shared[:1]], frame, frames)
        )
        for frame in range(frames)
    ]
    is_timed = any(keyword in header for keyword in ("FrameTime", "FrameTimeVector", "CineRate"))
    return planes if groups or frames == 1 or is_timed else _guess_places(planes)


def _guess_places(planes: List[Plane]) -> List[Plane]:
    """Frames without places or times of their own, as slices one behind the other."""
    first = planes[0]
    step = first.gap or first.thickness
    orientation = first.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    if step is None:
        return [replace(plane, position=None) for plane in planes]
    normal = find_normal(orientation[:3], orientation[3:])
    start = np.array(first.position or (0.0, 0.0, 0.0))
    places = [make_vector(start + plane.frame * step * normal) for plane in planes]
    return [
        replace(plane, orientation=orientation, position=place, placed_by=FRAME_ORDER)
        for plane, place in zip(planes, places)
    ]


def make_vector(numbers: Iterable[float]) -> Vector:
    """Three numbers of any kind as floats."""
    x, y, z = (float(number) for number in numbers)
    return x, y, z


def _describe_frame(header: Any, groups: Sequence[Any], frame: int, frames: int) -> Dict[str, Any]:
    """What is told of one frame: in its own groups, in the shared ones, else in the header for the whole file."""

    def look_in(sequence: str) -> List[Any]:
        return [item for group in groups for item in get_items(group, sequence)[:1]] + [header]

    def find(sequence: str, *keywords: str, count: int = 1) -> Optional[Tuple[float, ...]]:
        for item in look_in(sequence):
            for keyword in keywords:
                numbers = get_numbers(item, keyword, count)
                if numbers is not None:
                    return numbers
        return None

    def find_one(sequence: str, *keywords: str) -> Optional[float]:
        numbers = find(sequence, *keywords)
        return numbers[0] if numbers else None

    measures = "PixelMeasuresSequence"
    spacing, spacing_from = None, ""
    for keyword in SPACING_ATTRIBUTES:
        spacing = find(measures, keyword, count=2)
        if spacing is not None and min(spacing) > 0:
            spacing_from = keyword
            break
        spacing = None
    orientation = find("PlaneOrientationSequence", "ImageOrientationPatient", count=6)
    position = find("PlanePositionSequence", "ImagePositionPatient", count=3)
    gap = find_one(measures, "SpacingBetweenSlices")
    thickness = find_one(measures, "SliceThickness")
    image_type: Tuple[str, ...] = ()
    for item in look_in("MRImageFrameTypeSequence"):
        value = item.get("FrameType") or item.get("ImageType")
        if value:
            image_type = (value,) if isinstance(value, str) else tuple(str(part) for part in value)
            break
    slope = find_one("PixelValueTransformationSequence", "RescaleSlope")
    return {
        "image_type": image_type,
        "position": position,
        "orientation": orientation,
        "spacing": spacing,
        "spacing_from": spacing_from,
        "thickness": abs(thickness) if thickness else None,
        # Some scanners give it a sign, which says in which order the slices were taken.
        "gap": abs(gap) if gap else None,
        "slice_location": get_number(header, "SliceLocation") if frames == 1 else None,
        "slope": 1.0 if slope is None else slope,
        "intercept": find_one("PixelValueTransformationSequence", "RescaleIntercept") or 0.0,
        "temporal": find_one("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
        "trigger_ms": find_one("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
        "inversion_ms": find_one("MRModifierSequence", "InversionTime", "InversionTimes"),
        "echo_ms": find_one("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
        "acquisition": find_one("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
        "instance": float(frame) if frames > 1 else get_number(header, "InstanceNumber"),
    }


def _as_int(number: Optional[float]) -> Optional[int]:
    return None if number is None else int(number)
