"""Training on packed slices as a user runs it: from the command line, killed and resumed, and made into a bundle."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from Testing.method.toy_acdc import write_patients

from confuda.app.cli import main
from confuda.bundle.format import load_bundle
from confuda.errors import InputError
from confuda.training.checkpoint import load_checkpoint
from confuda.training.packed_segmenter import PackedSettings, PackedTraining, is_packed_run, load_averaged
from confuda.training.packed_slices import read_pack

TINY = [
    *("--set", "width=4", "--set", "deep_widths=[4,8,8]", "--set", "bottleneck=8", "--set", "batch=2"),
    *("--set", "crop=32", "--set", "warmup_steps=2", "--threads", "1", "--device", "cpu"),
]
CHECKPOINT = "segmenter-checkpoint.safetensors"
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def toy_acdc(tmp_path_factory) -> Path:
    return write_patients(tmp_path_factory.mktemp("acdc"), (1, 2, 10))


@pytest.fixture(scope="module")
def slices(toy_acdc, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "slices.npz"
    assert main(["train", "pack", "--data", str(toy_acdc), "-o", str(path), "--set", "spacing_mm=1.5",
                 "--set", "window=96"]) == 0  # fmt: skip
    return path


@pytest.fixture(autouse=True)
def own_threads():
    """``--threads`` holds for the process: the other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def train(slices: Path, output: Path, *more: str) -> int:
    return main(["train", "segmenter", "--packed", str(slices), "-o", str(output), *TINY, *more])


def test_a_packed_run_trains_validates_and_becomes_a_bundle(
    slices, toy_acdc, small_bundle_folder, tmp_path, capsys
) -> None:
    run, output = tmp_path / "run", tmp_path / "bundle"
    assert train(slices, run, "--set", "steps=4") == 0
    rows = [json.loads(line) for line in (run / "segmenter-log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4
    assert all(0 <= rows[-1][name] <= 1 for name in ("acdc_plain", "acdc_random", "acdc_MYO", "acdc_LV", "acdc_RV"))
    assert rows[-1]["acdc_MYO_ratio"] >= 0
    assert is_packed_run(run) and not is_packed_run(tmp_path)
    parts = ["--segmenter", str(run), "--rain", str(small_bundle_folder), "--data", str(toy_acdc)]
    assert main(["bundle", "build", *parts, "--name", "between", "-o", str(output)]) == 0
    assert main(["bundle", "verify", str(output)]) == 0
    bundle = load_bundle(output)
    assert bundle.description["format_version"] == 2 and bundle.segmenter.channels == 3
    assert bundle.crop == 32 and bundle.spacing_mm == 1.5 and bundle.class_weights == [1, 1, 1, 1]
    assert "M&Ms" in bundle.description["training"]["data"] and (bundle.bank.mass > 0).all()
    # One stack of each patient in training; patient010 is held out.
    assert len(bundle.images) == 6 and bundle.samples.tolist() == [
        [0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 5], [4, 5, 5]]  # fmt: skip
    network, settings, steps = load_averaged(run)
    assert steps == 4 and settings.deep_widths == (4, 8, 8)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(bundle.segmenter.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_been(slices, tmp_path) -> None:
    """``kill -9`` between two checkpoints; then ``--resume``: every bit is that of the run that never stopped."""
    steps = ["--set", "steps=60", "--set", "checkpoint_every=4"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "confuda", "train", "segmenter", "--packed", str(slices), "-o", str(killed)]
    process = subprocess.Popen([*command, *TINY, *steps], stderr=subprocess.DEVNULL)
    patience = time.monotonic() + PATIENCE_S
    while not (killed / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < load_checkpoint(killed / CHECKPOINT)[1]["step"] < 60
    assert train(slices, killed, "--resume") == 0
    assert train(slices, whole, *steps) == 0
    (resumed, record), (straight, same) = (load_checkpoint(folder / CHECKPOINT) for folder in (killed, whole))
    assert record == same and record["step"] == 60
    assert resumed.keys() == straight.keys()
    for name, value in straight.items():
        assert torch.equal(resumed[name], value), name


def test_minutes_stop_a_run_with_a_checkpoint(slices, tmp_path) -> None:
    run = tmp_path / "run"
    steps = ["--set", "steps=500", "--set", "checkpoint_every=2"]
    assert train(slices, run, *steps, "--minutes", "0.000001") == 0
    assert load_checkpoint(run / CHECKPOINT)[1]["step"] == 2
    assert train(slices, run, "--resume", "--set", "steps=4") == 0
    assert load_checkpoint(run / CHECKPOINT)[1]["step"] == 4


def test_a_resumed_run_tells_each_step_once(slices, tmp_path) -> None:
    """A run that stopped between two checkpoints has told steps that it will take again, the last in half a row."""
    run = tmp_path / "run"
    assert train(slices, run, "--set", "steps=2") == 0
    log = run / "segmenter-log.jsonl"
    with open(log, "a", encoding="utf-8") as file:
        file.write('{"step": 3, "loss": 9.0}\n{"step": 4, "lo')
    assert train(slices, run, "--resume", "--set", "steps=4") == 0
    assert [json.loads(row)["step"] for row in log.read_text().splitlines()] == [2, 4]


def test_a_run_does_not_go_on_with_a_network_of_other_sizes(slices, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    assert train(slices, run, "--set", "steps=1") == 0
    assert train(slices, run, "--resume", "--set", "steps=2", "--set", "bottleneck=16") == 2
    assert "other sizes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_of_the_default_network_takes_16_megabytes_at_most(slices, tmp_path) -> None:
    settings = dataclasses.replace(PackedSettings(), batch=1, crop=32, steps=1)
    run = PackedTraining(read_pack(slices), tmp_path, settings, torch.device("cpu"), report=lambda line: None)
    run.run()
    assert run.path.stat().st_size <= 16e6


def test_a_new_run_can_begin_with_the_weights_of_another(slices, tmp_path, capsys) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(slices, first, "--set", "steps=2") == 0
    slow = ["--set", "steps=1", "--set", "learning_rate=0.0000001", "--set", "seed=5"]
    assert train(slices, second, *slow, "--from", str(first)) == 0
    one, other = (load_averaged(folder)[0].state_dict() for folder in (first, second))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-3, rtol=0)
    assert train(slices, tmp_path / "wide", "--from", str(first), "--set", "bottleneck=16") == 2
    assert "other sizes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting, word",
    [
        ("stepz=3", "known are"),
        ("network=3", "known are"),
        ("batch=many", "type int"),
        ("steps=0", "above 0"),
        ("crop=40", "multiple of 16"),
        ("deep_widths=[4,8]", "3 whole numbers"),
    ],
)
def test_settings_that_no_packed_run_has_are_refused(slices, tmp_path, capsys, setting, word) -> None:
    assert train(slices, tmp_path / "run", "--set", setting) == 2
    assert word in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_new_run_does_not_replace_an_earlier_one(slices, toy_acdc, tmp_path, capsys) -> None:
    for name in ("segmenter", "rain"):
        (tmp_path / f"{name}-checkpoint.safetensors").write_bytes(b"hours of work")
    assert train(slices, tmp_path) == 2
    for what in ("segmenter", "rain", "all"):
        assert main(["train", what, "--data", str(toy_acdc), "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("holds a training already, which would be lost: give --resume") == 4
    for name in ("segmenter", "rain"):
        assert (tmp_path / f"{name}-checkpoint.safetensors").read_bytes() == b"hours of work"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_checkpoint_is_refused_in_one_sentence(slices, toy_acdc, tmp_path, capsys) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"hours of work")
    assert train(slices, tmp_path, "--resume") == 3
    assert main(["train", "segmenter", "--data", str(toy_acdc), "-o", str(tmp_path), "--resume"]) == 3
    assert capsys.readouterr().err.count("is damaged, or none") == 2


@pytest.mark.parametrize("what", ["segmenter", "rain", "all", "pack"])
def test_no_training_takes_no_thread(what, toy_acdc, tmp_path, capsys) -> None:
    output = tmp_path / "out"
    assert main(["train", what, "--data", str(toy_acdc), "-o", str(output), "--threads", "0"]) == 2
    assert "--threads takes a number of at least 1" in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize(
    "text, says", [("[1]", "no JSON object"), ("{'a': 1}", "is no JSON"), (None, "cannot be read")]
)
def test_scores_that_are_none_are_refused_in_one_sentence(text, says, toy_acdc, tmp_path, capsys) -> None:
    if text is not None:
        (tmp_path / "scores.json").write_text(text)
    command = ["bundle", "build", "--training", str(tmp_path), "--data", str(toy_acdc), "-o", str(tmp_path / "bundle")]
    assert main([*command, "--scores", str(tmp_path / "scores.json")]) == 3
    assert says in capsys.readouterr().err


def test_packed_options_belong_to_the_segmenter(slices, toy_acdc, tmp_path, capsys) -> None:
    assert main(["train", "rain", "--packed", str(slices), "-o", str(tmp_path / "run")]) == 2
    assert train(slices, tmp_path / "run", "--data", str(toy_acdc)) == 2
    assert main(["train", "segmenter", "-o", str(tmp_path / "run")]) == 2
    assert "--data" in capsys.readouterr().err
    assert train(slices, tmp_path / "nothing", "--resume") == 3
    assert "No checkpoint" in capsys.readouterr().err


def test_a_pack_needs_patients_who_are_held_out(tmp_path, capsys) -> None:
    data, path = write_patients(tmp_path / "acdc", (1,)), tmp_path / "slices.npz"
    assert main(["train", "pack", "--data", str(data), "-o", str(path), "--set", "window=96"]) == 0
    assert train(path, tmp_path / "run") == InputError.exit_code
    assert "held out" in capsys.readouterr().err
