"""Several volumes at a time, by ``confuda segment`` and ``confuda cohort``: names of their own, a DICOM SEG each."""

import json
import os

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


def write_giant(path):
    """A file whose header promises more voxels than this machine's memory holds."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    slices = memory // (40_000 * 40_000 * 2) + 2
    lines = ["NRRD0004", "type: uint16", "dimension: 3", "space: left-posterior-superior"]
    lines += [f"sizes: 40000 40000 {slices}", "space directions: (1,0,0) (0,1,0) (0,0,8)", "endian: little"]
    path.write_bytes("\n".join([*lines, "encoding: raw", "space origin: (0,0,0)", "", ""]).encode())
    os.truncate(path, slices * 40_000 * 40_000 * 2 // 1000)
    return path


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="asks the system for its memory")
def test_segment_goes_on_where_one_volume_does_not_fit_into_memory(heart, small_bundle_folder, tmp_path, capsys):
    giant, good = write_giant(tmp_path / "a\x1b[1mb.nrrd"), tmp_path / "good.nrrd"
    sitk.WriteImage(heart, str(good))
    out = tmp_path / "out"
    assert main(["segment", str(giant), str(good), "-o", str(out), "--bundle", str(small_bundle_folder)]) == 5
    said = capsys.readouterr().err
    assert "too many for" in said and "\x1b" not in said
    assert [path.name for path in out.iterdir()] == ["good.seg.nrrd"]


def test_segment_writes_over_none_of_the_volumes(heart, small_bundle_folder, tmp_path, capsys):
    """The pattern '*.nrrd' takes a segmentation by hand along, which lies where that of the volume would go."""
    volume, manual = tmp_path / "LGE.nrrd", tmp_path / "LGE.seg.nrrd"
    sitk.WriteImage(heart, str(volume))
    manual.write_bytes(b"hours of work")
    command = ["segment", str(volume), str(manual), "-o", str(tmp_path), "--bundle", str(small_bundle_folder)]
    assert main(command) == 2
    assert f"{manual} is one of the volumes" in capsys.readouterr().err
    assert manual.read_bytes() == b"hours of work" and len(list(tmp_path.iterdir())) == 2


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
