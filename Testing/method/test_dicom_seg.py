"""DICOM SEG: what other DICOM software reads is what was segmented, of the right patient, in the right place."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart

pytest.importorskip("highdicom", reason="needs highdicom")
import highdicom  # noqa: E402
import pydicom  # noqa: E402

from confuda.app.cli import main  # noqa: E402
from confuda.errors import InputError  # noqa: E402
from confuda.io.dicom_segmentation import read_dicom_segmentation, write_dicom_segmentation  # noqa: E402
from confuda.io.volume_file import read_volume  # noqa: E402
from confuda.labels import STRUCTURES  # noqa: E402

OBLIQUE = (0.8, 0.0, 0.6, 0.0, 1.0, 0.0, -0.6, 0.0, 0.8)


def write_study(folder: Path, slices: int = 6) -> Path:
    """An oblique series of a toy heart as a scanner's export: files out of order, with a patient."""
    folder.mkdir()
    image = sitk.Cast(make_heart(slices=slices)[0] * 4, sitk.sitkInt16)
    image.SetDirection(OBLIQUE)
    image.SetOrigin((-60.0, 40.5, 12.0))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(slices):
        plane = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"1.2.826.0.1.3680043.8.498.7.{number + 1}",
            "0008|0020": "20260102",
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0010|0020": "4711",
            "0018|0050": "8",
            "0020|000d": "1.2.826.0.1.3680043.8.498.1",
            "0020|000e": "1.2.826.0.1.3680043.8.498.2",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in place),
            "0020|0037": "\\".join(f"{OBLIQUE[k]:.6f}" for k in (0, 3, 6, 1, 4, 7)),
            "0020|0052": "1.2.826.0.1.3680043.8.498.3",
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"IM{slices - number:03d}.dcm"))
        writer.Execute(plane)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("dicom") / "study")


@pytest.fixture()
def labels(study) -> sitk.Image:
    """The toy heart's labels on the series' grid; the last slice is empty."""
    volume = read_volume(study).image
    array = sitk.GetArrayFromImage(make_heart()[1])
    array[-1] = 0
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(volume)
    return image


def test_adapting_to_a_dicom_folder_writes_the_same_labels_as_slicers_format(
    study, small_bundle_folder, tmp_path, capsys
) -> None:
    more = ["--bundle", str(small_bundle_folder), "--set", "steps=2", "--json"]
    seg, nrrd = tmp_path / "heart.dcm", tmp_path / "heart.seg.nrrd"
    assert main(["adapt", str(study), "-o", str(seg), *more]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["output"] == str(seg) and summary["volumes_ml"]["LV"] > 0
    assert main(["adapt", str(study), "-o", str(nrrd), *more]) == 0
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(nrrd)))
    assert expected.any()
    np.testing.assert_array_equal(read_dicom_segmentation(seg, study), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"heart.dcm", "heart.seg.nrrd"}


def test_every_voxel_lies_where_it_lay_and_each_frame_names_its_image(study, labels, tmp_path) -> None:
    path = write_dicom_segmentation(labels, study, tmp_path / "heart.dcm")
    segmentation = highdicom.seg.segread(str(path))
    array = sitk.GetArrayFromImage(labels)
    images = {image.SOPInstanceUID: image for image in map(pydicom.dcmread, study.iterdir())}
    frames = segmentation.pixel_array
    seen = np.zeros(array.shape, dtype=np.uint8)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = [float(x) for x in groups.PlanePositionSequence[0].ImagePositionPatient]
        np.testing.assert_allclose(place, [float(x) for x in images[source].ImagePositionPatient], atol=1e-4)
        _, _, k = labels.TransformPhysicalPointToIndex(place)
        seen[k][frame > 0] = number
    np.testing.assert_array_equal(seen, array)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    orientation = [float(x) for x in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    np.testing.assert_allclose(orientation, [OBLIQUE[k] for k in (0, 3, 6, 1, 4, 7)], atol=1e-5)
    assert segmentation.FrameOfReferenceUID == "1.2.826.0.1.3680043.8.498.3"


def test_segments_have_names_codes_and_colours_and_the_patient_of_their_images(study, labels, tmp_path) -> None:
    segmentation = pydicom.dcmread(write_dicom_segmentation(labels, study, tmp_path / "heart.dcm"))
    assert segmentation.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4" and segmentation.SegmentationType == "BINARY"
    assert str(segmentation.PatientName) == "Doe^Jane" and segmentation.PatientID == "4711"
    assert segmentation.StudyInstanceUID == "1.2.826.0.1.3680043.8.498.1"
    assert segmentation.SeriesInstanceUID != "1.2.826.0.1.3680043.8.498.2" and segmentation.Modality == "SEG"
    for structure, segment in zip(STRUCTURES, segmentation.SegmentSequence):
        assert (segment.SegmentNumber, segment.SegmentLabel) == (structure.label, structure.display_name)
        kind, category = segment.SegmentedPropertyTypeCodeSequence[0], segment.SegmentedPropertyCategoryCodeSequence[0]
        assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", structure.code)
        assert (category.CodingSchemeDesignator, category.CodeValue) == ("SCT", "123037004")
        assert segment.SegmentAlgorithmType == "AUTOMATIC" and segment.SegmentAlgorithmName == "ConFUDA"
        color = highdicom.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
        np.testing.assert_allclose(color, structure.color, atol=2)


def test_dcmqi_reads_the_same_voxels(study, labels, tmp_path) -> None:
    """dcmqi is what Slicer's QuantitativeReporting extension reads DICOM SEG with."""
    dcmqi = pytest.importorskip("dcmqi", reason="needs dcmqi")
    path = write_dicom_segmentation(labels, study, tmp_path / "heart.dcm")
    tool = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    subprocess.run([str(tool), "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-t", "nrrd"], check=True)
    described = json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"]
    assert [entry[0]["SegmentLabel"] for entry in described] == [item.display_name for item in STRUCTURES]
    for number, structure in enumerate(STRUCTURES, start=1):
        mask = sitk.ReadImage(str(tmp_path / f"{number}.nrrd"))
        # dcmqi keeps the slices that have labels; each voxel is looked up where it lies.
        own = sitk.Resample(mask, labels, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
        expected = sitk.GetArrayFromImage(labels) == structure.label
        np.testing.assert_array_equal(sitk.GetArrayFromImage(own) > 0, expected)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_dciodvfy_finds_no_error(study, labels, tmp_path) -> None:
    path = write_dicom_segmentation(labels, study, tmp_path / "heart.dcm")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr
    assert "Segmentation" in said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


def test_absent_structures_and_an_empty_segmentation_are_written_and_read(study, labels, tmp_path) -> None:
    for name, kept in (("no RV.dcm", sitk.Cast(labels == 1, sitk.sitkUInt8)), ("empty.dcm", labels * 0)):
        path = write_dicom_segmentation(kept, study, tmp_path / name)
        np.testing.assert_array_equal(read_dicom_segmentation(path, study), sitk.GetArrayFromImage(kept))
        assert len(pydicom.dcmread(path).SegmentSequence) == 3


def test_a_series_without_optional_attributes_is_served(study, labels, tmp_path) -> None:
    """What makes a study anonymous often drops attributes that should be there, empty."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in study.iterdir():
        image = pydicom.dcmread(path)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
            if name in image:
                delattr(image, name)
        image.save_as(bare / path.name)
    path = write_dicom_segmentation(labels, bare, tmp_path / "heart.dcm")
    np.testing.assert_array_equal(read_dicom_segmentation(path, bare), sitk.GetArrayFromImage(labels))


def test_a_segmentation_is_refused_for_other_images(study, labels, tmp_path) -> None:
    other = write_study(tmp_path / "other", slices=5)
    with pytest.raises(InputError, match="do not lie on"):
        write_dicom_segmentation(labels, other, tmp_path / "heart.dcm")
    moved = sitk.Image(labels)
    moved.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="do not lie on"):
        write_dicom_segmentation(moved, study, tmp_path / "heart.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_cannot_become_a_dicom_segmentation_is_refused_before_any_work(
    study, heart, small_bundle_folder, tmp_path, capsys
) -> None:
    nifti = tmp_path / "heart.nii.gz"
    sitk.WriteImage(heart[0], str(nifti))
    more = ["--bundle", str(small_bundle_folder)]
    for volume, output, code, word in (
        (nifti, tmp_path / "out.dcm", 3, "no DICOM folder"),
        (study, study / "out.dcm", 2, "among the images"),
        (study, tmp_path / "nowhere" / "out.dcm", 3, "does not exist"),
    ):
        assert main(["adapt", str(volume), "-o", str(output), *more]) == code
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and word in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["heart.nii.gz"]


def test_help_says_that_the_file_names_the_patient(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    assert "names the patient" in " ".join(capsys.readouterr().out.split())
