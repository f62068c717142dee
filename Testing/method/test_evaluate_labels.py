"""Scoring against labels of other conventions and cropped segmentations: Dice 1 where the heart is the same."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import SAMPLE_TRUTH

from confuda.app.cli import main
from confuda.io.segmentation_file import read_segmentation
from confuda.labels import DATASET_VALUES


@pytest.fixture(scope="module")
def truth():
    return read_segmentation(SAMPLE_TRUTH)


def renumber(truth, values, path):
    """The sample's truth with other values: 0, MYO, LV, RV."""
    labels = sitk.GetImageFromArray(np.choose(sitk.GetArrayFromImage(truth), values).astype(np.int16))
    labels.CopyInformation(truth)
    sitk.WriteImage(labels, str(path))
    return path


def score(capsys, *arguments):
    code = main(["evaluate", *map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out), said.err


@pytest.mark.parametrize("dataset", ["acdc", "mnms", "confuda", "ms-cmrseg"])
def test_label_values_are_told_by_anatomy_and_said(truth, dataset, tmp_path, capsys):
    values = DATASET_VALUES[dataset]
    path = renumber(truth, [0, values["MYO"], values["LV"], values["RV"]], tmp_path / "labels.nii.gz")
    for pair in ((path, SAMPLE_TRUTH), (SAMPLE_TRUTH, path)):
        scores, said = score(capsys, *pair)
        assert scores["average"]["dice"] == 1
        assert f"labels read as {dataset}'s" in said and f"{values['MYO']} MYO" in said
        assert "by the names of its segments" in said


def test_label_values_may_be_given_and_then_count(truth, tmp_path, capsys):
    path = renumber(truth, [0, 7, 4, 9], tmp_path / "own.nii.gz")
    scores, said = score(capsys, SAMPLE_TRUTH, path, "--prediction-labels", "MYO=7,LV=4,RV=9")
    assert scores["average"]["dice"] == 1 and "as told, 4 LV, 7 MYO, 9 RV" in said
    acdc = renumber(truth, [0, 2, 3, 1], tmp_path / "acdc.nii.gz")
    for option in ("--reference-labels", "--dataset"):
        assert score(capsys, acdc, SAMPLE_TRUTH, option, "acdc")[0]["average"]["dice"] == 1
        assert score(capsys, acdc, SAMPLE_TRUTH, option, "confuda")[0]["average"]["dice"] < 0.5
    assert main(["evaluate", str(SAMPLE_TRUTH), str(path)]) == 3
    assert "Unexpected label values 4, 7, 9" in capsys.readouterr().err


def test_what_anatomy_does_not_tell_is_taken_for_our_own_with_a_word(truth, tmp_path, capsys):
    path = renumber(truth, [0, 0, 2, 0], tmp_path / "lv.nii.gz")
    scores, said = score(capsys, path, SAMPLE_TRUTH)
    assert scores["LV"]["dice"] == 1 and "which nothing in it confirms" in said


def test_a_convention_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "a", "b", "--reference-labels", "acbc"])
    assert end.value.code == 2 and "acdc" in capsys.readouterr().err


@pytest.mark.parametrize("size, index", [([120, 160, 8], [20, 60, 0]), ([150, 200, 5], [10, 40, 2])])
def test_a_segmentation_that_slicer_cropped_goes_back_onto_its_grid(truth, size, index, tmp_path, capsys):
    source = sitk.ReadImage(str(SAMPLE_TRUTH))
    crop = sitk.RegionOfInterest(source, size, index)
    for key in source.GetMetaDataKeys():
        if key.startswith("Segment"):
            crop.SetMetaData(key, source.GetMetaData(key))
    sitk.WriteImage(crop, str(tmp_path / "cropped.seg.nrrd"), True)
    low = np.array(index)[::-1]
    kept = np.zeros_like(sitk.GetArrayFromImage(truth))
    box = tuple(slice(a, a + n) for a, n in zip(low, size[::-1]))
    kept[box] = sitk.GetArrayFromImage(truth)[box]
    expected = sitk.GetImageFromArray(kept)
    expected.CopyInformation(truth)
    sitk.WriteImage(expected, str(tmp_path / "expected.nrrd"))
    for pair in (("cropped.seg.nrrd", "expected.nrrd"), ("expected.nrrd", "cropped.seg.nrrd")):
        scores, said = score(capsys, *(tmp_path / name for name in pair))
        assert scores["average"]["dice"] == 1 and scores["average"]["hd95_mm"] == 0
        assert "different parts of one grid" in said


def test_a_grid_that_is_another_one_is_still_refused(truth, tmp_path, capsys):
    moved = sitk.Image(truth)
    moved.SetOrigin((0.6, 0, 0))
    sitk.WriteImage(moved, str(tmp_path / "moved.nrrd"))
    assert main(["evaluate", str(SAMPLE_TRUTH), str(tmp_path / "moved.nrrd")]) == 3
    assert "mm apart" in capsys.readouterr().err
