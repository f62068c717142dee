"""What a cohort's table tells of wall, scar and function is what was measured of each case."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.method.toy_cohort import read_rows, write_heart

from confuda.app.cli import main
from confuda.io.cine_file import write_cine
from confuda.labels import MYO

VOXEL_ML = 1.5 * 1.5 * 8 / 1000


def run(folder, output, bundle, *more: str) -> int:
    return main(
        ["cohort", str(folder), "-o", str(output), "--bundle", str(bundle), "--device", "cpu", "--threads", "1"]
        + ["--method", "none", *more]
    )


def read_layers(path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.slow
def test_wall_and_scar_are_columns_of_the_table(small_bundle_folder, tmp_path) -> None:
    path = write_heart(tmp_path / "scans" / "one.nii.gz", slices=6)
    volume = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(volume)
    values[:, 40:50, 66:72] += 130
    bright = sitk.GetImageFromArray(values)
    bright.CopyInformation(volume)
    sitk.WriteImage(bright, str(path))
    assert run(tmp_path / "scans", tmp_path / "out", small_bundle_folder, "--wall", "--scar", "3sd") == 0
    (row,) = read_rows(tmp_path / "out")
    layers = read_layers(tmp_path / "out" / "segmentations" / "one.seg.nrrd")
    muscle, scar = layers[..., 0] == MYO.label, layers[..., 1] > 0
    assert not scar[~muscle].any()
    assert float(row["scar_ml"]) == pytest.approx(scar.sum() * VOXEL_ML, abs=0.01)
    assert float(row["scar_percent_of_lv_mass"]) == pytest.approx(100 * scar.sum() / muscle.sum(), abs=0.01)
    assert float(row["lv_mass_g"]) == pytest.approx(1.05 * muscle.sum() * VOXEL_ML, abs=0.02)
    assert float(row["mean_thickness_mm"]) > 0
    assert row["lv_ejection_fraction_percent"] == ""
    # Another way to measure is another case; the same one is kept.
    assert run(tmp_path / "scans", tmp_path / "out", small_bundle_folder) == 0
    (without,) = read_rows(tmp_path / "out")
    assert without["scar_ml"] == without["mean_thickness_mm"] == ""


@pytest.mark.slow
def test_function_of_cines_is_in_the_table(small_bundle_folder, tmp_path) -> None:
    hearts = [sitk.ReadImage(str(write_heart(tmp_path / f"{seed}.nii.gz", seed, slices=6))) for seed in range(3)]
    (tmp_path / "scans").mkdir()
    write_cine(hearts, tmp_path / "scans" / "beat.nii.gz")
    assert run(tmp_path / "scans", tmp_path / "out", small_bundle_folder, "--frames", "all") == 0
    (row,) = read_rows(tmp_path / "out")
    labels = read_layers(tmp_path / "out" / "segmentations" / "beat.seq.nrrd")
    volumes = [(labels[..., frame] == 2).sum() * VOXEL_ML for frame in range(3)]
    assert float(row["lv_edv_ml"]) == pytest.approx(max(volumes), abs=0.01)
    assert float(row["lv_esv_ml"]) == pytest.approx(min(volumes), abs=0.01)
    fraction = 100 * (max(volumes) - min(volumes)) / max(volumes)
    assert float(row["lv_ejection_fraction_percent"]) == pytest.approx(fraction, abs=0.01)
    # The case's own segmentation is that of end-diastole.
    shown = read_layers(tmp_path / "out" / "segmentations" / "beat.seg.nrrd")
    assert np.array_equal(shown, labels[..., int(np.argmax(volumes))])


def test_options_that_do_not_go_together_are_refused(small_bundle_folder, tmp_path, capsys) -> None:
    write_heart(tmp_path / "scans" / "one.nii.gz")
    for more in (("--frames", "2"), ("--frames", "all", "--scar", "fwhm"), ("--frames", "all", "--dicom-seg")):
        assert run(tmp_path / "scans", tmp_path / "out", small_bundle_folder, *more) == 2
    assert run(tmp_path / "scans", tmp_path / "out", small_bundle_folder, "--scar", "half") == 2
    assert not (tmp_path / "out").exists()
