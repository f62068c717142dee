"""Which volumes a cohort finds in folders of public data sets and of scanners: images, and no labels, once each."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.scanner_files import (
    Study,
    make_enhanced,
    make_image,
    save,
    write_localizer,
    write_screen_capture,
    write_series,
    write_slice_series,
)

from confuda.cohort.case import stage_volume
from confuda.cohort.volumes import find_volumes
from confuda.errors import InputError
from confuda.io.volume_file import read_volume


def put(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def read(volume):
    with stage_volume(volume) as path:
        return read_volume(path, series=volume.number)


@pytest.mark.parametrize(
    "image, labels",
    [
        ("imagesTr/heart_001_0000.nii.gz", "labelsTr/heart_001.nii.gz"),
        ("Case_P001/Images/Case_P001.nii.gz", "Case_P001/Contours/Case_P001.nii.gz"),
        ("train25/myops_training_101_DE.nii.gz", "train25_myops_gd/myops_training_101_gd.nii.gz"),
        ("sub-01/ses-1/anat/sub-01_LGE.nii.gz", "derivatives/manual/sub-01/anat/sub-01_LGE_dseg.nii.gz"),
        ("patient001/patient001_frame01.nii.gz", "patient001/patient001_frame01_gt.nii.gz"),
    ],
    ids=["nnU-Net", "EMIDEC", "MyoPS", "BIDS", "ACDC"],
)
def test_labels_of_public_data_sets_are_left_out(tmp_path, image, labels):
    put(make_image(), tmp_path / image)
    put(make_image() > 300, tmp_path / labels)
    said = []
    assert [volume.relative for volume in find_volumes(tmp_path, warn=said.append)] == [image]
    assert said == ["1 files that hold labels, by their name or their folder's, were left out."]


def test_a_folder_of_labels_that_is_given_is_looked_into(tmp_path):
    put(make_image(), tmp_path / "labelsTr" / "heart_001.nii.gz")
    assert [volume.name for volume in find_volumes(tmp_path / "labelsTr")] == ["heart_001"]


def test_a_4d_file_beside_its_frames_is_left_out_with_a_note(tmp_path):
    put(sitk.JoinSeries([make_image()] * 3), tmp_path / "p1" / "p1_4d.nii.gz")
    put(make_image(), tmp_path / "p1" / "p1_frame01.nii.gz")
    put(sitk.JoinSeries([make_image()] * 3), tmp_path / "p2" / "p2_4d.nii.gz")
    said = []
    names = [volume.name for volume in find_volumes(tmp_path, warn=said.append)]
    assert names == ["p1-p1_frame01", "p2-p2_4d"]
    assert len(said) == 1 and "p1_4d.nii.gz" in said[0]


def test_pairs_are_one_volume_and_other_hdr_files_none(tmp_path):
    sitk.WriteImage(make_image(), str(tmp_path / "volume.hdr"))
    (tmp_path / "panorama.hdr").write_bytes(b"#?RADIANCE")
    assert [volume.relative for volume in find_volumes(tmp_path)] == ["volume.hdr"]


def test_each_slice_a_series_of_its_own_is_one_case(tmp_path):
    image = make_image()
    write_slice_series(tmp_path / "patient1", image)
    write_slice_series(tmp_path / "patient2", image)
    volumes = find_volumes(tmp_path)
    assert [volume.name for volume in volumes] == ["patient1", "patient2"]
    for volume in volumes:
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read(volume).image), sitk.GetArrayViewFromImage(image))


def test_of_a_study_the_stacks_are_cases_and_what_was_left_out_is_told(tmp_path):
    study, image = Study(), make_image()
    write_series(tmp_path / "study", image, study=study)
    write_localizer(tmp_path / "study", image, study)
    write_screen_capture(tmp_path / "study", image, study)
    write_series(tmp_path / "study", image, study=study, name="SR{}", Modality="SR")
    save(make_enhanced([make_image(seed=1)], [2, 0, 1, 4, 3]), tmp_path / "other" / "file")
    said = []
    volumes = find_volumes(tmp_path, warn=said.append)
    assert [volume.name for volume in volumes] == ["other", "study"]
    assert [text.split(" ")[0] for text in said] == ["2", "5"]
    assert "localizers" in said[0] and "without images" in said[1]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(volumes[1]).image), sitk.GetArrayViewFromImage(image))
    assert read(volumes[1]).warnings == ()


def test_stacks_of_one_series_that_its_image_types_tell_apart_are_cases(tmp_path):
    study = Study()
    for letter in "MP":
        write_series(
            tmp_path, make_image(), study=study, name=letter + "{}", ImageType=["ORIGINAL", "PRIMARY", letter],
            SeriesInstanceUID="1.2.3",
        )  # fmt: skip
    volumes = find_volumes(tmp_path)
    assert len(volumes) == 2 and all(len(volume.series) == 5 for volume in volumes)
    assert {path.name[0] for path in volumes[0].series} == {"M"}


def join_enhanced(images):
    """One enhanced multi-frame image of several stacks, each of its own direction."""
    parts = [make_enhanced([image], range(image.GetDepth())) for image in images]
    whole, groups = parts[0], []
    for stack, part in enumerate(parts, 1):
        orientation = part.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        for group in part.PerFrameFunctionalGroupsSequence:
            group.PlaneOrientationSequence, group.FrameContentSequence[0].StackID = orientation, str(stack)
            groups.append(group)
    del whole.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    whole.PerFrameFunctionalGroupsSequence, whole.NumberOfFrames = groups, len(groups)
    whole.PixelData = b"".join(part.PixelData for part in parts)
    return whole


def test_stacks_that_share_one_file_are_cases(tmp_path):
    """An enhanced multi-frame image whose frames lie in two directions, five and four slices."""
    short, long = make_image(5), make_image(4, seed=1)
    long.SetDirection((0.0, 1.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0))
    save(join_enhanced([short, long]), tmp_path / "patient1" / "both")
    volumes = find_volumes(tmp_path)
    assert [volume.name for volume in volumes] == ["patient1-series1", "patient1-series2"]
    for volume, image in zip(volumes, (short, long)):
        found = read(volume).image
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayViewFromImage(image))
        np.testing.assert_allclose(found.GetDirection(), image.GetDirection(), atol=1e-5)


def test_a_damaged_file_fails_its_own_case_and_no_other(tmp_path):
    write_series(tmp_path / "a", make_image())
    write_series(tmp_path / "b", make_image())
    path = tmp_path / "a" / "IM0005"
    path.write_bytes(path.read_bytes()[:-100])
    said = []
    first, second = find_volumes(tmp_path, warn=said.append)
    assert "damaged" in said[0]
    with pytest.raises(InputError, match="damaged"):
        read(first)
    assert read(second).image.GetSize() == (20, 24, 5)
