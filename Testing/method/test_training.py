"""Training as a user runs it: losses fall, stopping and resuming changes nothing, the bundle comes out whole."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.conftest import make_heart
from Testing.method.toy_acdc import write_patients
from Testing.method.toy_neighbours import show_neighbours

from confuda.app.cli import main
from confuda.bundle.format import load_bundle, save_bundle
from confuda.errors import InputError, UsageError
from confuda.training.acdc import find_acdc_cases, load_slices, split_acdc_cases
from confuda.training.checkpoint import load_checkpoint, pick_state
from confuda.training.rain import RainSettings, measure_own_error, train_rain
from confuda.training.segmenter import SegmenterSettings, train_segmenter
from confuda.training.slices import SliceSet

SMALL = ["--set", "width=4", "--set", "batch=2", "--set", "crop=64", "--set", "window=96"]


@pytest.fixture(scope="module")
def toy_acdc(tmp_path_factory) -> Path:
    """Four patients in ACDC's layout and with its label values; patient010 is held out."""
    return write_patients(tmp_path_factory.mktemp("acdc"), (1, 2, 3, 10))


def test_loader_maps_labels_by_name_and_centres_the_heart(toy_acdc) -> None:
    cases = find_acdc_cases(toy_acdc)
    assert len(cases) == 8
    assert {case.patient for case in split_acdc_cases(cases, True)} == {"patient010"}
    slices = load_slices(cases[:2], 1.5, 96)
    _, truth = make_heart(slices=3, seed=1)
    expected = sitk.GetArrayFromImage(truth)
    for label in (1, 2, 3):
        assert (slices.labels[:3] == label).sum() == (expected == label).sum()
    middle = np.argwhere(slices.labels.any(axis=0)).mean(axis=0)
    np.testing.assert_allclose(middle, 48, atol=1)


def test_wrong_layouts_name_what_was_expected(toy_acdc, tmp_path) -> None:
    with pytest.raises(InputError, match="patient001_frame01.nii.gz"):
        find_acdc_cases(tmp_path)
    (tmp_path / "patient001").mkdir()
    (tmp_path / "patient001" / "patient001_frame01.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="patient001_frame01_gt.nii.gz"):
        find_acdc_cases(tmp_path)


def test_neighbours_stay_in_their_volume(toy_acdc) -> None:
    slices = load_slices(find_acdc_cases(toy_acdc)[:2], 1.5, 96)
    index = np.arange(6)
    np.testing.assert_array_equal(slices.neighbour(index, np.ones(6, int)), [1, 2, 2, 4, 5, 5])
    np.testing.assert_array_equal(slices.neighbour(index, -np.ones(6, int)), [0, 0, 1, 3, 3, 4])


@pytest.mark.slow
def test_stopping_and_resuming_gives_the_same_network(toy_acdc, tmp_path) -> None:
    slices = load_slices(find_acdc_cases(toy_acdc)[:4], 1.5, 96)
    settings = SegmenterSettings(width=4, batch=2, crop=64, window=96, steps=6, warmup_steps=2)

    def train(folder: Path, **more) -> torch.Tensor:
        network = train_segmenter(slices, slices, folder, settings, validate_every=100, **more)
        return torch.cat([value.flatten() for value in network.state_dict().values()])

    whole = train(tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_late(line: str) -> None:
        raise Stop

    # Interrupted at its end, after a checkpoint that an earlier step left.
    with pytest.raises(Stop):
        train_segmenter(
            slices, slices, tmp_path / "parts", settings, report=stop_late, checkpoint_every_s=0.0, validate_every=4
        )
    _, record = load_checkpoint(tmp_path / "parts" / "segmenter-checkpoint.safetensors")
    assert record["step"] < 6
    torch.testing.assert_close(train(tmp_path / "parts", resume=True), whole, rtol=0, atol=0)
    with pytest.raises(UsageError, match="other sizes"):
        wider = dataclasses.replace(settings, width=8)
        train_segmenter(slices, slices, tmp_path / "parts", wider, resume=True)


@pytest.mark.slow
def test_both_trainings_and_the_bundle_by_the_documented_commands(toy_acdc, tmp_path, capsys) -> None:
    common = ["--data", str(toy_acdc)]
    segmenter, rain, bundle = tmp_path / "segmenter", tmp_path / "rain", tmp_path / "bundle"
    steps = ["--set", "steps=60", "--set", "warmup_steps=5", "--set", "learning_rate=0.01"]
    assert main(["train", "segmenter", *common, "-o", str(segmenter), *SMALL, *steps]) == 0
    losses = [float(text) for text in re.findall(r"step \d+/60.*loss ([\d.]+)", capsys.readouterr().err)]
    assert losses[-1] < losses[0]
    few = ["--set", "autoencoder_steps=15", "--set", "style_steps=15", "--set", "widths=[4,4,8,8]", "--set", "latent=4"]
    assert main(["train", "rain", *common, "-o", str(rain), *SMALL[2:], *few]) == 0
    assert main(["train", "rain", *common, "-o", str(rain), "--resume"]) == 0
    parts = ["--segmenter", str(segmenter), "--rain", str(rain)]
    assert main(["bundle", "build", *parts, *common, "-o", str(bundle)]) == 0
    assert main(["bundle", "verify", str(bundle)]) == 0
    rows = [json.loads(line) for line in (segmenter / "segmenter-log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 60 and 0 <= rows[-1]["bssfp"] <= 1
    again = tmp_path / "again"
    assert main(["bundle", "build", *parts[:2], "--rain", str(bundle), *common, "-o", str(again)]) == 0
    loaded = load_bundle(again)
    for name, value in load_bundle(bundle).rain.state_dict().items():
        torch.testing.assert_close(loaded.rain.state_dict()[name], value, rtol=0, atol=0)
    assert loaded.images.shape[-1] == 96 and (loaded.bank.mass > 0).all()
    assert "held out" in loaded.description["training"]["data"]


@pytest.mark.slow
def test_training_can_begin_with_the_weights_of_a_bundle(toy_acdc, tmp_path, small_bundle_folder, capsys) -> None:
    common = ["train", "segmenter", "--data", str(toy_acdc), *SMALL, "--set", "normalisation=instance"]
    steps = ["--set", "steps=1", "--set", "learning_rate=0.000001"]
    start = ["--from", str(small_bundle_folder)]
    assert main([*common, *steps, "-o", str(tmp_path / "on"), *start]) == 0
    assert main([*common, *steps, "-o", str(tmp_path / "anew")]) == 0
    known = load_bundle(small_bundle_folder).segmenter.state_dict()
    moved = {}
    for name in ("on", "anew"):
        tensors, _ = load_checkpoint(tmp_path / name / "segmenter-checkpoint.safetensors")
        found = pick_state("averaged.module", tensors)
        moved[name] = max(float((found[key] - value).abs().max()) for key, value in known.items())
    assert moved["on"] < 1e-4 < moved["anew"], "a step of that length hardly moves the weights that it began with"
    assert main([*common, *steps, "--set", "width=8", "-o", str(tmp_path / "wide"), *start]) == 2
    assert "another width" in capsys.readouterr().err
    rain = ["train", "rain", "--data", str(toy_acdc), "-o", str(tmp_path / "rain"), *start]
    assert main(rain) == 2


def test_training_does_not_begin_with_a_network_that_sees_several_slices(toy_acdc, tmp_path, bundle, capsys) -> None:
    save_bundle(show_neighbours(bundle), tmp_path / "three")
    given = ["train", "segmenter", "--data", str(toy_acdc), *SMALL, "--set", "normalisation=instance"]
    assert main([*given, "-o", str(tmp_path / "run"), "--from", str(tmp_path / "three")]) == 2
    assert "sees several slices" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unknown_training_settings_are_refused(toy_acdc, tmp_path) -> None:
    arguments = ["train", "rain", "--data", str(toy_acdc), "-o", str(tmp_path), "--set"]
    assert main([*arguments, "stepz=3"]) == 2
    assert main([*arguments, "batch=many"]) == 2


@pytest.mark.slow
def test_rain_learns_to_draw_images_that_are_mostly_black(heart, tmp_path) -> None:
    """As cut images are; a decoder that is black everywhere would be nearly as good, and have no style to give."""
    image = sitk.GetArrayFromImage(heart[0]).astype(float)
    image = (image - image.min()) / (image.max() - image.min())
    window = np.zeros((len(image), 128, 128))
    window[:, 24:104, 24:104] = image[:, 8:88, 8:88]
    images = (window * 255).round().astype(np.uint8)
    slices = SliceSet(images, np.zeros_like(images), np.zeros(len(images), int), ["heart"], [8.0])
    settings = RainSettings(
        widths=(8, 16, 32, 64),
        latent=16,
        crop=96,
        window=128,
        batch=4,
        random_share=0.0,
        autoencoder_steps=60,
        style_steps=1,
    )
    rain = train_rain(slices, tmp_path / "long", settings)
    shown = torch.from_numpy(images[:, None, 16:112, 16:112]).float() / 255
    assert measure_own_error(rain, shown) < 0.6

    told = []
    train_rain(slices, tmp_path / "short", dataclasses.replace(settings, autoencoder_steps=1), report=told.append)
    assert "Warning: RAIN draws hardly anything" in told[-1]
