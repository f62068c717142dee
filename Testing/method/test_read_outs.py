"""Wall and scar as a user asks for them: what is written beside the segmentation, and what is told."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart
from Testing.scanner_files import write_series

from confuda.app.cli import main
from confuda.errors import UsageError
from confuda.io.segmentation_file import name_beside, read_segmentation, write_segmentation, write_segments
from confuda.labels import MYO, find_label_values
from confuda.measure.aha_segments import SEGMENT_NAMES


@pytest.fixture(scope="module")
def labels() -> sitk.Image:
    return make_heart()[1]


@pytest.fixture(scope="module")
def scar(labels) -> sitk.Image:
    """A part of the muscle."""
    mask = sitk.GetArrayFromImage(labels) == MYO.label
    mask[:, :, :50] = False
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.CopyInformation(labels)
    return image


def test_scar_is_a_segment_in_a_layer_of_its_own(labels, scar, tmp_path) -> None:
    path = write_segmentation(labels, tmp_path / "heart.seg.nrrd", scar=scar)
    image = sitk.ReadImage(str(path))
    layers = sitk.GetArrayFromImage(image)
    assert np.array_equal(layers[..., 0], sitk.GetArrayFromImage(labels))
    assert np.array_equal(layers[..., 1], sitk.GetArrayFromImage(scar))
    told = {key: image.GetMetaData(f"Segment3_{key}") for key in ("ID", "Name", "Layer", "LabelValue", "Color")}
    assert told == {
        "ID": "Scar",
        "Name": "Scar",
        "Layer": "1",
        "LabelValue": "1",
        "Color": "0.941176 0.894118 0.258824",
    }
    # Whoever wants the anatomy is not disturbed by it.
    assert np.array_equal(sitk.GetArrayFromImage(read_segmentation(path)), sitk.GetArrayFromImage(labels))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_label_map_gets_a_second_file_for_the_scar(labels, scar, tmp_path, ending: str) -> None:
    path = write_segmentation(labels, tmp_path / f"heart{ending}", scar=scar)
    beside = tmp_path / f"heart-scar{ending}"
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), sitk.GetArrayFromImage(labels))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(beside))), sitk.GetArrayFromImage(scar))


@pytest.mark.parametrize(
    "convention, values", [("acdc", (2, 3, 1)), ("mnms", (2, 1, 3)), ("ms-cmrseg", (200, 500, 600))]
)
@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_labels_are_written_in_other_conventions(labels, tmp_path, convention, values, ending) -> None:
    path = write_segmentation(labels, tmp_path / f"heart{ending}", find_label_values(convention))
    written, ours = sitk.ReadImage(str(path)), sitk.GetArrayFromImage(labels)
    array = sitk.GetArrayFromImage(written)
    for label, value in zip((1, 2, 3), values):
        assert np.array_equal(array == value, ours == label)
    if ending == ".seg.nrrd":
        assert [int(written.GetMetaData(f"Segment{k}_LabelValue")) for k in range(3)] == list(values)
        assert np.array_equal(sitk.GetArrayFromImage(read_segmentation(path)), ours)


def test_files_beside_have_the_name_without_its_ending(tmp_path) -> None:
    for name in ("a.b.seg.nrrd", "a.b.nii.gz", "a.b.seq.nrrd", "a.b.dcm", "a.b.mha"):
        assert name_beside(tmp_path / name, "wall", ".png") == tmp_path / "a.b-wall.png"


def test_segments_are_refused_where_the_ending_is_unknown(labels, tmp_path) -> None:
    with pytest.raises(UsageError, match="has to end in"):
        write_segments(labels, tmp_path / "heart.stl", [MYO])


def test_the_command_line_measures_wall_and_scar(capsys, small_bundle_folder, tmp_path) -> None:
    image, truth = make_heart()
    values, muscle = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(truth) == MYO.label
    values[muscle & (np.arange(96) > 60)] += 130
    volume = sitk.GetImageFromArray(values)
    volume.CopyInformation(image)
    sitk.WriteImage(volume, str(tmp_path / "heart.nii.gz"))
    output, table = tmp_path / "out.nii.gz", tmp_path / "out.csv"
    code = main(
        ["adapt", str(tmp_path / "heart.nii.gz"), "-o", str(output), "--bundle", str(small_bundle_folder)]
        + ["--device", "cpu", "--method", "none", "--wall", "--scar", "3sd", "--csv", str(table), "--json"]
    )
    told = capsys.readouterr()
    assert code == 0, told.err
    summary = json.loads(told.out)
    segmented = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    walls = sitk.GetArrayFromImage(sitk.ReadImage(summary["wall"]["label_map"]))
    assert summary["wall"]["label_map"] == str(tmp_path / "out-wall.nii.gz")
    assert np.array_equal(walls > 0, segmented == MYO.label)
    voxel_ml = 1.5 * 1.5 * 8 / 1000
    for row in summary["wall"]["segments"]:
        assert row["volume_ml"] == pytest.approx((walls == row["segment"]).sum() * voxel_ml, abs=0.01)
        assert row["mass_g"] == pytest.approx(row["volume_ml"] * 1.05, abs=0.01)
    missing = {row["segment"] for row in summary["wall"]["not_given"]}
    assert missing | {row["segment"] for row in summary["wall"]["segments"]} == set(SEGMENT_NAMES)
    scarred = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out-scar.nii.gz")))
    assert not scarred[segmented != MYO.label].any()
    assert summary["scar"]["scar_ml"] == pytest.approx(scarred.sum() * voxel_ml, abs=0.01)
    assert summary["scar"]["scar_percent_of_lv_mass"] == pytest.approx(
        100 * scarred.sum() / (segmented == MYO.label).sum(), abs=0.01
    )
    rows = {(row["quantity"], row["of"]): row["value"] for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert float(rows["scar_g", ""]) == summary["scar"]["scar_g"]
    for name in ("wall", "scar"):
        assert (tmp_path / f"out-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_beside_a_dicom_seg_scar_is_a_segmentation_of_its_own(capsys, small_bundle_folder, tmp_path) -> None:
    image = sitk.Cast(make_heart()[0] + 100, sitk.sitkUInt16)
    write_series(tmp_path / "scan", image)
    (tmp_path / "out").mkdir()
    code = main(
        ["adapt", str(tmp_path / "scan"), "-o", str(tmp_path / "out" / "heart.dcm"), "--method", "none"]
        + ["--bundle", str(small_bundle_folder), "--device", "cpu", "--scar", "2sd", "--json"]
    )
    told = capsys.readouterr()
    assert code == 0, told.err
    summary = json.loads(told.out)
    scar = sitk.ReadImage(str(tmp_path / "out" / "heart-scar.seg.nrrd"))
    assert scar.GetMetaData("Segment0_ID") == "Scar"
    voxel_ml = float(np.prod(image.GetSpacing())) / 1000
    assert sitk.GetArrayFromImage(scar).sum() * voxel_ml == pytest.approx(summary["scar"]["scar_ml"], abs=0.01)


def test_what_cannot_be_measured_costs_nothing_else(capsys, small_bundle_folder, tmp_path) -> None:
    """Noise has no heart: the segmentation is empty, and so there is neither a wall nor scar."""
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(0, 1, (5, 96, 96)).astype(np.float32))
    noise.SetSpacing((1.5, 1.5, 8.0))
    sitk.WriteImage(noise, str(tmp_path / "noise.nii.gz"))
    code = main(
        ["adapt", str(tmp_path / "noise.nii.gz"), "-o", str(tmp_path / "out.seg.nrrd"), "--method", "none", "--wall"]
        + ["--bundle", str(small_bundle_folder), "--device", "cpu", "--scar", "fwhm", "--json"]
    )
    told = capsys.readouterr()
    assert code == 0, told.err
    summary = json.loads(told.out)
    assert summary["wall"] is None and summary["scar"] is None
    assert any("wall was not measured" in warning for warning in summary["warnings"])
    assert any("Scar was not measured" in warning for warning in summary["warnings"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.nii.gz", "out.seg.nrrd"]


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (("--scar", "half"), 2, "as in 5sd"),
        (("--scar", "0sd"), 2, "a number from 1 to 20 before sd"),
        (("--scar=-3sd",), 2, "a number from 1 to 20 before sd"),
        (("--scar", "-3sd"), 2, "--scar"),
        (("--output-labels", "kits"), 2, "label values"),
        (("--output-labels", "MYO=1,LV=1"), 2, "give three different ones above 0"),
        (("--output-labels", "MYO=1,LV=2"), 2, "as in MYO="),
        (("--output-labels", "MYO=1,LV=2,RV=70000"), 2, "label values"),
        (("--csv", "absent/numbers.csv"), 3, "does not exist"),
        (("--csv", "folder"), 3, "is a folder"),
        (("--csv", "heart.nii.gz"), 2, "overwrite"),
        (("--csv", "out.nii.gz"), 2, "overwrite"),
        (("--scar", "fwhm", "--csv", "out-scar.nii.gz"), 2, "a name that ends in .csv"),
        (("--wall", "--csv", "out-wall.png"), 2, "a name that ends in .csv"),
        (("-o", "out.dcm", "--output-labels", "acdc"), 2, "label values go with other formats"),
        (("--frames", "99"), 3, "has no frame 99: it is a single volume"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    capsys, tmp_path, monkeypatch, arguments, code, told
) -> None:
    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(make_heart()[0], "heart.nii.gz")
    Path("folder").mkdir()
    try:
        returned = main(["adapt", "heart.nii.gz", "-o", "out.nii.gz", "--method", "none", *arguments])
    except SystemExit as end:
        returned = end.code
    err = capsys.readouterr().err
    assert returned == code and told in err and len(err.replace("load\n", "").strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "heart.nii.gz"]
    assert not list(Path("folder").iterdir())


def test_a_table_replaces_an_older_one(capsys, small_bundle_folder, tmp_path) -> None:
    sitk.WriteImage(make_heart()[0], str(tmp_path / "heart.nii.gz"))
    table = tmp_path / "numbers.csv"
    table.write_text("an older table, which is longer than the new one\n" * 50)
    how = ["--csv", table, "--method", "none", "--bundle", small_bundle_folder, "--device", "cpu"]
    assert main(["adapt", str(tmp_path / "heart.nii.gz"), "-o", str(tmp_path / "out.nii.gz"), *map(str, how)]) == 0
    capsys.readouterr()
    rows = table.read_text().splitlines()
    assert rows[0] == "quantity,of,value" and len(rows) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heart.nii.gz", "numbers.csv", "out.nii.gz"]
