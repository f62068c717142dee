"""Several volumes at a time, by ``confuda segment`` and ``confuda cohort``: names of their own, a DICOM SEG each."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart
from Testing.scanner_files import make_enhanced, save, write_series, write_slice_series

from confuda.app.cli import main
from confuda.cohort.volumes import name_outputs
from confuda.errors import UsageError
from confuda.io.dicom_segmentation import read_dicom_segmentation


@pytest.fixture(scope="module")
def heart():
    return sitk.Cast(make_heart()[0] * 4, sitk.sitkUInt16)


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_volumes_of_one_name_are_named_by_their_paths(tmp_path):
    def name(*relatives):
        return name_outputs([tmp_path / relative for relative in relatives])

    assert name("a/scan.nii.gz", "b/other.nrrd") == ["scan", "other"]
    assert name("a/scan.nii.gz", "b/scan.nrrd", "b/other.mha") == ["a-scan", "b-scan", "other"]
    assert name("a/scan", "b/Scan.nii") == ["a-scan", "b-Scan"]
    assert len({text.casefold() for text in name("a/b/x.nii", "a-b/x.nii", "a/b-x.nii")}) == 3
    with pytest.raises(UsageError, match="given twice"):
        name("a/scan.nii", "b/../a/scan.nii")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of the invalid date that is written
def test_segment_writes_dicom_seg_of_dicom_volumes_as_well(heart, small_bundle_folder, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="needs highdicom")
    series = write_series(tmp_path / "series", heart, StudyDate="2020.01.01")
    enhanced = save(make_enhanced([heart], [3, 0, 4, 1, 2, 5]), tmp_path / "enhanced.dcm")
    plain = tmp_path / "plain.nii.gz"
    sitk.WriteImage(heart, str(plain))
    out = tmp_path / "out"
    more = ["--bundle", str(small_bundle_folder), "--dicom-seg", "--json"]
    assert main(["segment", str(series), str(enhanced), str(plain), "-o", str(out), *more]) == 0
    summaries = json.loads(capsys.readouterr().out)
    endings = ["enhanced.dcm", "enhanced.seg.nrrd", "plain.seg.nrrd", "series.dcm", "series.seg.nrrd"]
    assert sorted(path.name for path in out.iterdir()) == endings
    expected = read(out / "plain.seg.nrrd")
    assert expected.any() and "StudyDate" in summaries[0]["warnings"][0]
    for volume in (series, enhanced):
        np.testing.assert_array_equal(read_dicom_segmentation(out / f"{volume.stem}.dcm", volume), expected)


def test_segment_goes_on_where_one_dicom_seg_cannot_be(heart, small_bundle_folder, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="needs highdicom")
    good = write_series(tmp_path / "good", heart)
    bad = write_series(tmp_path / "bad", heart, FrameOfReferenceUID=None)
    more = ["--bundle", str(small_bundle_folder), "--dicom-seg"]
    assert main(["segment", str(bad), str(good), "-o", str(tmp_path / "out"), *more]) == 3
    assert "no FrameOfReferenceUID" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.dcm", "good.seg.nrrd"]


@pytest.mark.slow
def test_cohort_writes_dicom_seg_of_dicom_volumes_as_well(heart, small_bundle_folder, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="needs highdicom")
    pytest.importorskip("distributed", reason="needs dask and distributed")
    write_slice_series(tmp_path / "in" / "slices", heart)
    save(make_enhanced([heart], [3, 0, 4, 1, 2, 5]), tmp_path / "in" / "frames" / "enhanced")
    sitk.WriteImage(heart, str(tmp_path / "in" / "plain.nii.gz"))
    out = tmp_path / "out"
    command = ["cohort", str(tmp_path / "in"), "-o", str(out), "--bundle", str(small_bundle_folder), "--threads", "1"]
    assert main([*command, "--segment-only", "--dicom-seg"]) == 0
    found = out / "segmentations"
    names = ["frames.dcm", "frames.seg.nrrd", "plain.seg.nrrd", "slices.dcm", "slices.seg.nrrd"]
    assert sorted(path.name for path in found.iterdir()) == names
    expected = read(found / "plain.seg.nrrd")
    for name in ("frames", "slices"):
        seg = read_dicom_segmentation(found / f"{name}.dcm", tmp_path / "in" / name)
        np.testing.assert_array_equal(seg, expected)
    # What is there is kept; a SEG that has gone is made again.
    capsys.readouterr()
    (found / "slices.dcm").unlink()
    assert main([*command, "--segment-only", "--dicom-seg"]) == 0
    assert "2 were done before" in capsys.readouterr().err and (found / "slices.dcm").is_file()
