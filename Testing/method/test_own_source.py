"""A bundle of one's own labelled data in two commands, whatever numbers stand for the structures."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart

from confuda.app.cli import main
from confuda.bundle.format import load_bundle
from confuda.errors import UsageError
from confuda.labels import parse_label_values
from confuda.training.acdc import find_acdc_cases, split_acdc_cases

OWN_VALUES = np.array([0, 2, 1, 5], np.uint8)
"""MYO 2, LV 1, RV 5."""
OWN = "MYO=2,LV=1,RV=5"
TINY = [
    *("--set", "crop=64", "--set", "window=96", "--set", "batch=2", "--set", "normalisation=instance"),
    *("--set", "width=4", "--set", "steps=10", "--set", "segmenter.learning_rate=0.0001"),
    *("--set", "rain.autoencoder_steps=6", "--set", "rain.style_steps=6"),
    *("--set", "rain.widths=[4,4,8,8]", "--set", "rain.latent=4"),
]


def write_patient(folder: Path, number: int, values: np.ndarray = OWN_VALUES) -> None:
    patient = folder / f"patient{number:03d}"
    patient.mkdir(parents=True)
    image, truth = make_heart(slices=3, seed=number)
    labels = sitk.GetImageFromArray(values[sitk.GetArrayFromImage(truth)])
    labels.CopyInformation(truth)
    sitk.WriteImage(image, str(patient / f"{patient.name}_frame01.nii.gz"))
    sitk.WriteImage(labels, str(patient / f"{patient.name}_frame01_gt.nii.gz"))


@pytest.fixture(scope="module")
def own_data(tmp_path_factory) -> Path:
    """Three patients in ACDC's layout whose labels have other values; none has a number that ACDC holds out."""
    folder = tmp_path_factory.mktemp("own")
    for number in (1, 2, 3):
        write_patient(folder, number)
    return folder


@pytest.fixture(scope="module")
def own_bundle(own_data, small_bundle_folder, tmp_path_factory) -> Path:
    """What the two documented commands make; the segmenter goes on from a bundle's, since ten steps teach little."""
    folder = tmp_path_factory.mktemp("runs")
    data, start = ["--data", str(own_data)], ["--from", str(small_bundle_folder)]
    assert main(["train", "all", *data, "--labels", OWN, "-o", str(folder / "mine"), *TINY, *start]) == 0
    describe = ["--name", "ours", "--source", "3 toy hearts", "--licence", "CC0"]
    assert main(["bundle", "build", "--training", str(folder / "mine"), *data, *describe, "-o", str(folder / "b")]) == 0
    return folder / "b"


@pytest.mark.slow
def test_two_commands_make_a_bundle_that_knows_the_structures(own_bundle) -> None:
    bundle = load_bundle(own_bundle)
    _, truth = make_heart(slices=3, seed=1)
    shares = np.bincount(sitk.GetArrayFromImage(truth).ravel(), minlength=4)[1:]
    seen = np.bincount(bundle.labels.numpy().ravel(), minlength=4)[1:]
    # MYO, LV and RV under their own names: as large, next to each other, as the toy hearts' are.
    np.testing.assert_allclose(seen / seen.sum(), shares / shares.sum(), atol=0.05)
    training = bundle.description["training"]
    assert bundle.description["name"] == "ours"
    assert training["data"] == "3 toy hearts" and training["licence"] == "CC0" and "Bernard" not in str(training)
    assert training["segmenter"]["steps_done"] == 10 and training["rain"]["steps_done"] == 12


@pytest.mark.slow
def test_the_bundle_adapts_to_a_volume(own_bundle, heart, tmp_path, capsys) -> None:
    volume, output = tmp_path / "scan.nii.gz", tmp_path / "scan.seg.nrrd"
    sitk.WriteImage(heart[0], str(volume))
    assert (
        main(["adapt", str(volume), "-o", str(output), "--bundle", str(own_bundle), "--set", "steps=3", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["steps"] in (0, 3)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    truth = sitk.GetArrayFromImage(heart[1])
    blood = (labels == 2) & (truth == 2)
    assert 2 * blood.sum() / ((labels == 2).sum() + (truth == 2).sum()) > 0.5


def test_resuming_knows_the_values_and_lets_nobody_change_them(own_data, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    few = ["--set", "steps=2", "--set", "rain.autoencoder_steps=1", "--set", "rain.style_steps=1"]
    command = ["train", "all", "--data", str(own_data), "-o", str(run), *TINY, *few]
    assert main([*command, "--labels", OWN]) == 0
    (run / "rain-checkpoint.safetensors").unlink()
    assert main([*command, "--resume"]) == 0
    assert (run / "rain-checkpoint.safetensors").exists()
    capsys.readouterr()
    assert main([*command, "--resume", "--labels", "MYO=1,LV=2,RV=5"]) == 2
    assert "other --labels" in capsys.readouterr().err


def test_values_that_were_not_told_are_refused_with_their_file(own_data, tmp_path, capsys) -> None:
    for labels in ([], ["--labels", "MYO=2,LV=1,RV=4"]):
        command = ["train", "segmenter", "--data", str(own_data), *labels, "-o", str(tmp_path / "run")]
        assert main([*command, "--set", "window=96", "--set", "crop=64"]) == 3
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "patient001_frame01_gt.nii.gz" in said and "Unexpected label values 5" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text", ["MYO=2,LV=1", "MYO=2,LV=1,RV=1", "MYO=2,LV=1,RV=0", "MYO=2,LV=1,RV=x", "MYO=2,LV=1,XX=3", "2,1,5", ""]
)
def test_values_that_say_nothing_clear_are_refused(text, capsys) -> None:
    with pytest.raises(UsageError, match="label values"):
        parse_label_values(text)
    with pytest.raises(SystemExit) as end:
        main(["train", "all", "--data", ".", "-o", ".", "--labels", text])
    assert end.value.code == 2


def test_structures_may_have_their_long_names() -> None:
    assert parse_label_values("Myocardium=2, Left ventricle=1,rv=5") == {"MYO": 2, "LV": 1, "RV": 5}


def test_somebody_is_held_out_of_any_two_patients(own_data, tmp_path, capsys) -> None:
    cases = find_acdc_cases(own_data)
    assert {case.patient for case in split_acdc_cases(cases, True)} == {"patient003"}
    write_patient(tmp_path / "one", 7)
    command = ["train", "all", "--data", str(tmp_path / "one"), "--labels", OWN, "-o", str(tmp_path / "run")]
    assert main(command) == 3
    assert "two patients" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["stepz=3", "rain.stepz=3", "segmenter.latent=4", "other.batch=2"])
def test_settings_that_neither_training_has_are_refused_before_any_work(wrong, own_data, tmp_path, capsys) -> None:
    command = ["train", "all", "--data", str(own_data), "--labels", OWN, "-o", str(tmp_path / "run")]
    assert main([*command, "--set", wrong]) == 2
    assert "Unknown setting" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_bundle_needs_both_trainings(own_data, tmp_path, capsys) -> None:
    command = ["bundle", "build", "--segmenter", str(tmp_path), "--data", str(own_data), "-o", str(tmp_path / "b")]
    assert main(command) == 2
    assert "--training" in capsys.readouterr().err
