"""DICOM files as scanners, archives and anonymisers write them, made of a small volume."""

from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage, generate_uid

OBLIQUE = (0.8, 0.0, 0.6, 0.0, 1.0, 0.0, -0.6, 0.0, 0.8)
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")

Change = Callable[[Dataset, int], Any]
"""Changes the data set of a slice, whose number comes along."""


def make_image(slices: int = 5, seed: int = 0) -> sitk.Image:
    """An oblique stack of grey noise: no voxel is like its neighbour, so that what is misplaced is noticed."""
    voxels = np.random.default_rng(seed).integers(0, 600, (slices, 24, 20)).astype(np.uint16)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.25, 1.5, 8.0))
    image.SetOrigin((-30.0, 12.5, 70.0))
    image.SetDirection(OBLIQUE)
    return image


class Study:
    """The UIDs that the files of one examination share."""

    def __init__(self) -> None:
        self.study, self.frame_of_reference = generate_uid(), generate_uid()


def make_slice(image: sitk.Image, number: int, study: Study, series: str, **tags: Any) -> FileDataset:
    """A single-frame MR image of slice ``number``; ``tags`` by keyword replace or, if None, remove."""
    pixels = sitk.GetArrayViewFromImage(image)[number]
    direction = np.reshape(image.GetDirection(), (3, 3))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    header.StudyInstanceUID, header.SeriesInstanceUID = study.study, series
    header.FrameOfReferenceUID = study.frame_of_reference
    header.Modality, header.PatientName, header.PatientID = "MR", "Doe^Jane", "4711"
    header.PatientBirthDate, header.PatientSex, header.AccessionNumber, header.StudyID = "", "O", "", "1"
    header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20200101", "120000", ""
    header.SeriesDescription, header.SeriesNumber, header.InstanceNumber = "LGE SAX", 1, number + 1
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    header.Rows, header.Columns = pixels.shape
    header.PixelSpacing = [f"{image.GetSpacing()[1]:g}", f"{image.GetSpacing()[0]:g}"]
    header.SliceThickness = header.SpacingBetweenSlices = f"{image.GetSpacing()[2]:g}"
    header.ImageOrientationPatient = [f"{x:g}" for x in (*direction[:, 0], *direction[:, 1])]
    header.ImagePositionPatient = [f"{x:.6g}" for x in image.TransformIndexToPhysicalPoint((0, 0, number))]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    header.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    return header


def save(header: Dataset, path: Path) -> Path:
    """Write it, also where its values break the rules of DICOM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        header.save_as(path)
    finally:
        pydicom.config.settings.writing_validation_mode = before
    return path


def write_series(
    folder: Path,
    image: sitk.Image,
    change: Optional[Change] = None,
    study: Optional[Study] = None,
    name: str = "IM{:04d}",
    **tags: Any,
) -> Path:
    """One series, a file a slice, named against the order of places."""
    study, series = study or Study(), generate_uid()
    for number in range(image.GetDepth()):
        header = make_slice(image, number, study, series, **tags)
        if change is not None:
            change(header, number)
        save(header, folder / name.format(image.GetDepth() - number))
    return folder


def write_slice_series(folder: Path, image: sitk.Image, study: Optional[Study] = None, **tags: Any) -> Path:
    """Each slice a series of its own."""
    study = study or Study()
    for number in range(image.GetDepth()):
        tags.update(SeriesNumber=10 + number, InstanceNumber=1)
        save(make_slice(image, number, study, generate_uid(), **tags), folder / f"SE{number}" / "IM1")
    return folder


def write_cine(folder: Path, frames: Sequence[sitk.Image], one_series: bool = True, **tags: Any) -> Path:
    """A classic cine: slices x phases, told apart by trigger time; the file names say nothing of either."""
    study, series = Study(), generate_uid()
    for number in range(frames[0].GetDepth()):
        series = series if one_series else generate_uid()
        for phase, frame in enumerate(frames):
            header = make_slice(frame, number, study, series, SeriesDescription="cine SAX", **tags)
            header.SeriesNumber = 1 if one_series else 10 + number
            header.TriggerTime = f"{40.0 * phase + number:g}"
            header.InstanceNumber = 1 + (7 * phase + 3 * number) % 97
            save(header, folder / f"{generate_uid()[-12:]}.dcm")
    return folder


def make_enhanced(frames: Sequence[sitk.Image], order: Sequence[int]) -> FileDataset:
    """An enhanced multi-frame MR image, its slices in the given order, the phases of each one after the other."""
    image = frames[0]
    header = make_slice(image, 0, Study(), generate_uid())
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    for keyword in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        setattr(measures, keyword, header[keyword].value)
    orientation.ImageOrientationPatient = header.ImageOrientationPatient
    for keyword in PLACE:
        delattr(header, keyword)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    header.SharedFunctionalGroupsSequence = [shared]
    groups: List[Dataset] = []
    for number in order:
        for phase in range(len(frames)):
            group, place, content = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [f"{x:.6g}" for x in image.TransformIndexToPhysicalPoint((0, 0, number))]
            content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", number + 1, phase + 1
            group.PlanePositionSequence, group.FrameContentSequence = [place], [content]
            groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups
    header.NumberOfFrames = len(groups)
    planes = [sitk.GetArrayViewFromImage(frame)[number] for number in order for frame in frames]
    header.PixelData = np.stack(planes).astype("<u2").tobytes()
    return header


def write_localizer(folder: Path, image: sitk.Image, study: Study) -> None:
    """A localizer of three planes."""
    series = generate_uid()
    for number, orientation in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        tags = {"SeriesDescription": "localizer", "SeriesNumber": 0, "ImageOrientationPatient": orientation}
        save(make_slice(image, 0, study, series, **tags), folder / f"LOC{number}")


def write_screen_capture(folder: Path, image: sitk.Image, study: Study) -> None:
    """A colour picture of the console, without a place."""
    header = make_slice(image, 0, study, generate_uid(), FrameOfReferenceUID=None, **dict.fromkeys(PLACE))
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.Rows, header.Columns = 7, 16, 16
    header.SeriesDescription, header.SeriesNumber = "screen save", 99
    header.PixelData = b"\1\2\3" * 256
    save(header, folder / "SC1")
