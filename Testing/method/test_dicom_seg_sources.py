"""DICOM SEG of what scanners and anonymisers write: checked before any work, mended where that can be, referring to
the right image and frame."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.scanner_files import (
    make_enhanced,
    make_image,
    save,
    write_cine,
    write_series,
    write_slice_series,
)

pytest.importorskip("highdicom", reason="needs highdicom")
import highdicom  # noqa: E402
import pydicom  # noqa: E402

from confuda.errors import InputError  # noqa: E402
from confuda.io.dicom_segmentation import (  # noqa: E402
    check_dicom_output,
    read_dicom_segmentation,
    write_dicom_segmentation,
)
from confuda.io.volume_file import read_volume  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of the invalid values that are written


def make_labels(volume, frame=None):
    """Labels on the volume's grid in which no two slices are alike; the last slice is empty."""
    image = read_volume(volume, frame).image
    labels = np.zeros(image.GetSize()[::-1], dtype=np.uint8)
    for number in range(len(labels) - 1):
        labels[number, 4 : 8 + number, 5:9] = 1
        labels[number, 12:15, 3 : 6 + number] = 2
        labels[number, 18 + number :, 11:15] = 3
    found = sitk.GetImageFromArray(labels)
    found.CopyInformation(image)
    return found


def write_and_read(volume, tmp_path, frame=None):
    """The SEG as highdicom reads it, its labels checked first."""
    path = tmp_path / "out" / "heart.dcm"
    path.parent.mkdir(exist_ok=True)
    labels = make_labels(volume, frame)
    told = check_dicom_output(volume, path, frame)
    write_dicom_segmentation(labels, volume, path, frame)
    found = read_dicom_segmentation(path, volume, frame)
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(labels))
    return highdicom.seg.segread(str(path)), labels, told


def check_places(segmentation, labels):
    """Each frame lies where its labels do."""
    seen = np.zeros(labels.GetSize()[::-1], dtype=np.uint8)
    for frame, groups in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence):
        place = [float(x) for x in groups.PlanePositionSequence[0].ImagePositionPatient]
        _, _, k = labels.TransformPhysicalPointToIndex(place)
        seen[k][frame > 0] = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    np.testing.assert_array_equal(seen, sitk.GetArrayFromImage(labels))


def list_sources(segmentation):
    return [
        groups.DerivationImageSequence[0].SourceImageSequence[0]
        for groups in segmentation.PerFrameFunctionalGroupsSequence
    ]


def test_frames_of_an_enhanced_image_are_named_by_their_numbers(tmp_path):
    order = [3, 0, 4, 1, 2]
    source = make_enhanced([make_image()], order)
    path = save(source, tmp_path / "in" / "enhanced.dcm")
    segmentation, labels, told = write_and_read(path, tmp_path)
    check_places(segmentation, labels)
    assert told == []
    for item, groups in zip(list_sources(segmentation), segmentation.PerFrameFunctionalGroupsSequence):
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert item.ReferencedSOPClassUID == source.SOPClassUID
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        stated = source.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1].PlanePositionSequence[0]
        np.testing.assert_allclose(place, stated.ImagePositionPatient, atol=1e-4)


@pytest.mark.parametrize("frame", [0, 2])
def test_a_frame_of_a_cine_refers_to_the_images_of_that_frame_only(tmp_path, frame):
    frames = [make_image(seed=seed) for seed in range(3)]
    source = make_enhanced(frames, [3, 0, 4, 1, 2])
    path = save(source, tmp_path / "in" / "cine.dcm")
    segmentation, labels, _ = write_and_read(path, tmp_path, frame)
    check_places(segmentation, labels)
    assert {(item.ReferencedFrameNumber - 1) % 3 for item in list_sources(segmentation)} == {frame}
    folder = write_cine(tmp_path / "classic", frames)
    segmentation, labels, _ = write_and_read(folder, tmp_path, frame)
    check_places(segmentation, labels)
    images = {str(image.SOPInstanceUID): image for image in map(pydicom.dcmread, folder.iterdir())}
    for item in list_sources(segmentation):
        assert 40 * frame <= images[item.ReferencedSOPInstanceUID].TriggerTime < 40 * frame + 5


def test_series_of_one_slice_each_are_all_referred_to(tmp_path):
    folder = write_slice_series(tmp_path / "study", make_image())
    segmentation, labels, _ = write_and_read(folder, tmp_path)
    check_places(segmentation, labels)
    images = {str(image.SOPInstanceUID): image for image in map(pydicom.dcmread, folder.rglob("IM*"))}
    referenced = {
        item.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID: item.SeriesInstanceUID
        for item in segmentation.ReferencedSeriesSequence
    }
    assert referenced == {uid: image.SeriesInstanceUID for uid, image in images.items()}


@pytest.mark.parametrize(
    "tags, empty",
    [
        ({"StudyDate": "2020.01.01"}, ["StudyDate"]),
        ({"PatientSex": "Unknown"}, ["PatientSex"]),
        ({"PatientBirthDate": "born", "StudyTime": "noon"}, ["PatientBirthDate", "StudyTime"]),
        ({"AccessionNumber": "x" * 17}, ["AccessionNumber"]),
        ({"SpecificCharacterSet": "ISO IR 100"}, ["SpecificCharacterSet"]),
        ({"SpecificCharacterSet": "nonsense"}, ["SpecificCharacterSet"]),
    ],
)
def test_invalid_values_of_patient_and_study_are_mended_with_a_warning(tmp_path, tags, empty):
    folder = write_series(tmp_path / "series", make_image(), **tags)
    segmentation, labels, told = write_and_read(folder, tmp_path)
    check_places(segmentation, labels)
    assert len(told) == len(empty)
    for name, warning in zip(empty, told):
        assert name in warning and str(tags[name]) not in warning
        assert segmentation[name].value in ("", None, "ISO_IR 192")
    assert segmentation.PatientID == "4711" and str(segmentation.PatientName) == "Doe^Jane"


def test_names_of_other_scripts_are_kept(tmp_path):
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "M\u00fcller^J\u00f6rg"}
    segmentation, _, told = write_and_read(write_series(tmp_path / "series", make_image(), **tags), tmp_path)
    assert str(segmentation.PatientName) == tags["PatientName"] and told == []


@pytest.mark.parametrize(
    "tags, words",
    [
        ({"FrameOfReferenceUID": None}, "no FrameOfReferenceUID"),
        ({"StudyInstanceUID": "1.02.x"}, "invalid StudyInstanceUID"),
        ({"ImagePositionPatient": None, "SliceLocation": "8"}, "ImagePositionPatient"),
    ],
)
def test_what_cannot_be_left_empty_is_refused_by_its_name_before_any_work(tmp_path, tags, words):
    folder = write_series(tmp_path / "series", make_image(1), **tags)
    with pytest.raises(InputError, match=words):
        check_dicom_output(folder, tmp_path / "heart.dcm")


def test_a_spacing_that_contradicts_the_images_is_refused_before_any_work(tmp_path):
    folder = write_series(tmp_path / "series", make_image(), PixelSpacing=None)
    assert check_dicom_output(folder, tmp_path / "heart.dcm", spacing_mm=(1.25, 1.5, 8)) == []
    with pytest.raises(InputError, match="contradicts"):
        check_dicom_output(folder, tmp_path / "heart.dcm", spacing_mm=(1.25, 1.5, 9))
