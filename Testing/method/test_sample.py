"""The sample looks like LGE where it matters, is made the same each time, and comes from a patient no training saw."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import confuda
from confuda.errors import InputError
from confuda.io.segmentation_file import read_segmentation
from confuda.io.volume_file import read_cine, read_volume
from confuda.labels import LV, MYO, RV
from confuda.measure.metrics import check_same_grid, compute_volumes_ml
from confuda.training.cine_sample import CINE_NAME, CINE_TRUTH_NAME
from confuda.training.cine_sample import main as main_of_cine
from confuda.training.sample import IMAGE_NAME, TRUTH_NAME, main, simulate_lge

SHIPPED = Path(confuda.__file__).resolve().parents[1] / "Resources" / "SampleData"


def make_cine(radius=14):
    """A bSSFP-like volume with its labels: bright blood and fat, grey muscle."""
    z, rows, columns = np.indices((4, 72, 80))
    away = np.hypot(rows - 36, columns - 46)
    labels = np.where(away < radius, LV.label, np.where(away < radius + 6, MYO.label, 0)).astype(np.uint8)
    labels[(labels == 0) & (np.hypot(rows - 36, columns - 22) < 14)] = RV.label
    levels = np.array([40, 70, 190, 180])[labels]
    levels[:, :8] = 255
    image = sitk.GetImageFromArray((levels + np.random.default_rng(1).normal(0, 5, levels.shape)).astype(np.int16))
    image.SetSpacing((1.4, 1.4, 10.0))
    return image, labels


def write_acdc(folder, patient, radii):
    """Files of a patient in ACDC's layout and label values (1 RV, 2 MYO, 3 LV), a frame for each LV radius."""
    (folder / patient).mkdir(parents=True)
    for number, radius in enumerate(radii, start=1):
        image, labels = make_cine(radius)
        theirs = sitk.GetImageFromArray(np.array([0, 2, 3, 1], np.uint8)[labels])
        theirs.CopyInformation(image)
        sitk.WriteImage(image, str(folder / patient / f"{patient}_frame{number:02d}.nii.gz"))
        sitk.WriteImage(theirs, str(folder / patient / f"{patient}_frame{number:02d}_gt.nii.gz"))


def test_the_simulated_scan_has_the_contrast_of_lge():
    image, labels = make_cine()
    simulated = sitk.GetArrayFromImage(simulate_lge(image, labels)).astype(float)
    muscle, blood, rv = (simulated[labels == structure.label] for structure in (MYO, LV, RV))
    assert np.percentile(muscle, 25) < 0.4 * np.median(blood), "the healthy myocardium is nulled"
    assert np.median(rv) > 1.5 * np.median(muscle)
    assert np.percentile(muscle, 98) > 1.2 * np.median(blood), "the scar is brighter than blood"
    scar = (simulated > 1.2 * np.median(blood)) & (labels == MYO.label)
    assert 0.03 < scar.sum() / len(muscle) < 0.35
    _, _, columns = np.nonzero(scar)
    assert columns.mean() > 46, "the scar lies in the free wall, away from the right ventricle"
    assert simulated.min() >= 0


def test_the_same_seed_gives_the_same_voxels_and_another_one_does_not():
    image, labels = make_cine()
    first, again, other = (sitk.GetArrayFromImage(simulate_lge(image, labels, seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_the_command_takes_end_diastole_and_writes_image_labels_and_licence(tmp_path, capsys):
    write_acdc(tmp_path / "data", "patient100", (10, 14))
    assert main(["--data", str(tmp_path / "data"), "-o", str(tmp_path / "sample")]) == 0
    image = read_volume(tmp_path / "sample" / IMAGE_NAME).image
    truth = read_segmentation(tmp_path / "sample" / TRUTH_NAME)
    check_same_grid(image, truth)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(truth), make_cine(14)[1])
    assert "patient100_frame02" in (tmp_path / "sample" / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.count("kB") == 4


def read_frames(path):
    """A cine's frames, (frames, slices, rows, columns), from the list of values of each voxel."""
    return np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), -1, 0)


def test_the_cine_begins_at_end_diastole_and_contracts_to_the_true_end_systole(tmp_path):
    write_acdc(tmp_path / "data", "patient100", (9, 14))
    assert main_of_cine(["--data", str(tmp_path / "data"), "-o", str(tmp_path / "sample")]) == 0
    images, labels = (read_frames(tmp_path / "sample" / name) for name in (CINE_NAME, CINE_TRUTH_NAME))
    assert images.shape == labels.shape and len(images) == 10
    # The two real frames are in it as they were, cropped; the others lie between them.
    blood = [int((frame == LV.label).sum()) for frame in labels]
    assert blood[0] == (make_cine(14)[1] == LV.label).sum() and blood[4] == (make_cine(9)[1] == LV.label).sum()
    assert blood[0] >= blood[1] > blood[2] > blood[3] >= blood[4] <= blood[5] < blood[7] < blood[9] <= blood[0]
    for frame, labelled in zip(images.astype(float), labels):
        assert np.median(frame[labelled == LV.label]) > 2 * np.median(frame[labelled == MYO.label])


def test_the_shipped_cine_is_that_of_two_frames_of_a_held_out_patient():
    cine = read_cine(SHIPPED / CINE_NAME)
    labels = read_frames(SHIPPED / CINE_TRUTH_NAME)
    assert len(cine.frames) == len(labels) == 10
    voxel_ml = float(np.prod(cine.frames[0].GetSpacing())) / 1000
    volumes = [(frame == LV.label).sum() * voxel_ml for frame in labels]
    # By ACDC's experts, patient100 has 72 mL at end-diastole and 30 mL at end-systole.
    assert (volumes[0], volumes[4]) == pytest.approx((71.7, 30.2), abs=0.1)
    assert max(volumes) == pytest.approx(volumes[0]) and min(volumes) == pytest.approx(volumes[4])


def test_a_patient_of_the_training_set_or_an_absent_one_is_refused(tmp_path, capsys):
    write_acdc(tmp_path / "data", "patient099", (12,))
    for patient, words in (("patient099", "used in training"), ("patient100", "no patient100")):
        code = main(["--data", str(tmp_path / "data"), "--patient", patient, "-o", str(tmp_path / "sample")])
        assert code == 3
        assert words in capsys.readouterr().err
    assert not (tmp_path / "sample").exists()


def test_the_shipped_sample_is_small_complete_and_says_what_it_is():
    for name in ("SimulatedLGE", "SimulatedCine"):
        assert sum(file.stat().st_size for file in SHIPPED.glob(f"{name}*")) < 1_000_000
    volume = read_volume(SHIPPED / IMAGE_NAME)
    truth = read_segmentation(SHIPPED / TRUTH_NAME)
    check_same_grid(volume.image, truth)
    assert volume.warnings == () and min(compute_volumes_ml(truth).values()) > 20
    text = " ".join((SHIPPED / "README.md").read_text(encoding="utf-8").replace("*", "").replace("> ", "").split())
    for words in ("not a real LGE scan", "CC BY-NC-SA 4.0", "Bernard", "IEEE Transactions on Medical Imaging", "2018"):
        assert words in text


def test_a_volume_that_lacks_a_structure_is_refused():
    image, labels = make_cine()
    with pytest.raises(InputError, match="no RV"):
        simulate_lge(image, np.where(labels == RV.label, 0, labels))
