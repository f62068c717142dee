"""Several processes do what one does: the same losses and gradients in training, the same cells in a benchmark."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file
from Testing.conftest import make_heart
from Testing.method.test_benchmark import make_arguments
from Testing.method.toy_mscmrseg import write_patient

from confuda.app.cli import main
from confuda.errors import UsageError
from confuda.io.lock import hold_lock
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.training.launch import LaunchOptions
from confuda.training.processes import SingleProcess, Team

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"

TINY = ["batch=4", "crop=64", "window=96"]
SEGMENTER = [*TINY, "width=4", "warmup_steps=9"]
RAIN = [*TINY, "widths=[4,4,8,8]", "latent=4", "autoencoder_steps=10", "style_steps=10"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The order of sums, and so the last digits, depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy_acdc(tmp_path_factory) -> Path:
    """Two patients in ACDC's layout and with its label values; patient010 is held out."""
    folder = tmp_path_factory.mktemp("acdc")
    for number in (1, 10):
        name = f"patient{number:03d}"
        (folder / name).mkdir()
        image, truth = make_heart(slices=3, seed=number)
        labels = sitk.GetImageFromArray(np.array([0, 2, 3, 1], np.uint8)[sitk.GetArrayFromImage(truth)])
        labels.CopyInformation(truth)
        sitk.WriteImage(image, str(folder / name / f"{name}_frame01.nii.gz"))
        sitk.WriteImage(labels, str(folder / name / f"{name}_frame01_gt.nii.gz"))
    return folder


def make_training(what: str, data: Path, output: Path, settings: List[str], *more: str) -> List[str]:
    sets = [f"--set={setting}" for setting in settings]
    # Rounding to bfloat16 would hide what is compared here.
    where = ["--threads", "1", "--device", "cpu", "--precision", "32-true"]
    return ["train", what, "--data", str(data), "-o", str(output), *where, *sets, *more]


def run_command(arguments: List[str]) -> subprocess.CompletedProcess:
    """The real command: Fabric starts the second process by running it once more."""
    pytest.importorskip("lightning_fabric", reason="needs Lightning Fabric: pip install confuda[train]")
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "LOCAL_RANK")}
    environment.update(PYTHONPATH=str(PACKAGE), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, "-m", "confuda", *arguments], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done


def read_log(folder: Path, what: str) -> List[Dict[str, float]]:
    return [json.loads(line) for line in (folder / f"{what}-log.jsonl").read_text(encoding="utf-8").splitlines()]


def read_gradient(folder: Path, what: str = "segmenter") -> torch.Tensor:
    """Adam's mean gradient over the steps; after one step a tenth of the gradient itself."""
    tensors = load_file(folder / f"{what}-checkpoint.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if name.endswith(".exp_avg")])


@pytest.fixture(scope="module")
def segmenters(toy_acdc, tmp_path_factory) -> Path:
    """Folders "one" and "two", after a step of one and of two processes; "whole", after three steps of one."""
    pytest.importorskip("lightning_fabric", reason="needs Lightning Fabric: pip install confuda[train]")
    folder = tmp_path_factory.mktemp("segmenters")
    for name, steps in (("one", 1), ("whole", 3)):
        assert main(make_training("segmenter", toy_acdc, folder / name, [*SEGMENTER, f"steps={steps}"])) == 0
    run_command(make_training("segmenter", toy_acdc, folder / "two", [*SEGMENTER, "steps=1"], "--devices", "2"))
    return folder


@pytest.mark.slow
def test_two_processes_have_loss_and_gradient_of_one(segmenters) -> None:
    (one,), (two,) = (read_log(segmenters / name, "segmenter") for name in ("one", "two"))
    assert two["loss"] == pytest.approx(one["loss"], abs=2e-4)
    gradients = [read_gradient(segmenters / name) for name in ("one", "two")]
    assert gradients[0].norm() > 0.01
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


@pytest.mark.slow
@pytest.mark.parametrize("begun_with, devices", [("one", "2"), ("two", "1")])
def test_a_run_goes_on_with_another_number_of_processes(begun_with, devices, segmenters, toy_acdc, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(segmenters / begun_with, folder)
    run_command(make_training("segmenter", toy_acdc, folder, ["steps=3"], "--resume", "--devices", devices))
    first, last = read_log(folder, "segmenter")
    whole = read_log(segmenters / "whole", "segmenter")[-1]
    # Running means: of steps 2 and 3 here, of all three there.
    assert (first["step"], last["step"]) == (1, 3) and last["loss"] == pytest.approx(whole["loss"], abs=0.1)
    gradients = [read_gradient(path) for path in (folder, segmenters / "whole")]
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[1].norm()


@pytest.mark.slow
def test_two_processes_train_rain_as_one_does(toy_acdc, tmp_path) -> None:
    done = run_command(make_training("rain", toy_acdc, tmp_path / "two", RAIN, "--devices", "2"))
    assert main(make_training("rain", toy_acdc, tmp_path / "one", RAIN)) == 0
    (one,), (two,) = (read_log(tmp_path / name, "rain") for name in ("one", "two"))
    assert one["step"] == 20 and set(one) == set(two)
    for name in set(one) - {"seconds"}:
        assert two[name] == pytest.approx(one[name], rel=1e-3, abs=2e-4), name
    # Only the first process reports.
    assert len([line for line in done.stderr.splitlines() if line.startswith("step 20/20")]) == 1


def test_the_mean_over_shares_would_be_another_loss() -> None:
    """What makes gathering necessary: Jaccard of the batch is no mean of Jaccard of its parts."""
    logits = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(4, 16, 16, dtype=torch.long)
    labels[0, :8], labels[1:, 2:4] = 1, 2
    whole = compute_segmentation_loss(logits, labels)
    parts = [compute_segmentation_loss(logits[part], labels[part]) for part in (slice(0, 2), slice(2, 4))]
    assert abs(whole - torch.stack(parts).mean()) > 0.01


def test_a_single_run_needs_no_fabric_and_several_say_so(toy_acdc, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    common = ["--data", str(toy_acdc), "--device", "cpu", *[f"--set={setting}" for setting in SEGMENTER]]
    assert main(["train", "segmenter", "-o", str(tmp_path / "single"), *common, "--set=steps=1"]) == 0
    capsys.readouterr()
    for more in (["--devices", "2"], ["--precision", "bf16-mixed"]):
        assert main(["train", "segmenter", "-o", str(tmp_path / "several"), *common, *more]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and "pip install confuda[train]" in said[0]
    assert not (tmp_path / "several").exists()


@pytest.mark.parametrize(
    "more, word",
    [
        (["--devices", "0"], "at least 1"),
        (["--nodes", "-1"], "at least 1"),
        (["--precision", "8-bit"], "bf16-mixed"),
        (["--precision", "16-mixed"], "needs a GPU"),
        (["--devices", "3"], "4 images does not divide among 3"),
        (["--devices", "2", "--set", "normalisation=batch"], "normalisation"),
        (["--devices", "2", "--device", "cuda:1"], "cuda:1"),
        (["--nodes", "2", "--device", "gpu"], "'gpu'"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_is_told_before_any_process_starts(more, word, toy_acdc, tmp_path, capsys) -> None:
    sets = [f"--set={setting}" for setting in SEGMENTER]
    arguments = ["train", "segmenter", "--data", str(toy_acdc), "-o", str(tmp_path / "out"), "--device", "cpu", *sets]
    assert main([*arguments, *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and word in said[0]
    assert not (tmp_path / "out").exists()


def test_training_both_tells_before_the_first_what_the_second_cannot_do(toy_acdc, tmp_path, capsys) -> None:
    sets = [f"--set={setting}" for setting in ("segmenter.batch=4", "rain.batch=3")]
    arguments = ["train", "all", "--data", str(toy_acdc), "-o", str(tmp_path / "out"), "--device", "cpu", *sets]
    assert main([*arguments, "--devices", "2"]) == 2
    assert "3 images does not divide among 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_of_many_processes_must_not_take_itself_for_the_only_one(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="one of 4 processes"):
        LaunchOptions().check()
    LaunchOptions(devices=2, nodes=2).check()


def test_a_single_process_takes_and_gathers_everything() -> None:
    process = Team(LaunchOptions(device="cpu")).join(3, "batch")
    batch = torch.rand(3, 2)
    assert type(process) is SingleProcess and process.is_first
    assert process.gather(process.take_share(batch)) is batch


def test_a_lock_is_held_by_one_and_let_go_by_the_dead(tmp_path) -> None:
    lock = tmp_path / "claims" / "cell.lock"
    program = (
        "import sys, time; from pathlib import Path; from confuda.io.lock import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])) as ours:\n    print(ours, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline().strip() == "True"
        with hold_lock(lock) as ours:
            assert not ours
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with hold_lock(lock) as ours:
        assert ours
        with hold_lock(lock) as again:
            assert not again


@pytest.fixture(scope="module")
def toy_mscmrseg(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ms-cmrseg")
    for number in range(1, 7):
        write_patient(folder, number, registered=False)
    return folder


def read_records(folder: Path) -> Dict[str, dict]:
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "cells").glob("*.json")}


@pytest.mark.slow
def test_two_processes_share_the_cells_of_a_table(toy_mscmrseg, tmp_path, capsys) -> None:
    chosen = ["--methods", "fuda", "--settings", "one-shot"]
    done = run_command(make_arguments("table1", toy_mscmrseg, tmp_path / "two", *chosen, "--devices", "2"))
    assert main(make_arguments("table1", toy_mscmrseg, tmp_path / "one", *chosen)) == 0
    one, two = read_records(tmp_path / "one"), read_records(tmp_path / "two")
    assert len(one) == 4 and set(two) == set(one)
    for name, record in one.items():
        assert two[name]["cases"] == record["cases"], name
    # Each cell was run once, and the first process wrote one table.
    assert len([line for line in done.stderr.splitlines() if line.startswith("cell ")]) == 4
    assert len([line for line in done.stdout.splitlines() if line.endswith("table1.md")]) == 1
    assert (tmp_path / "two" / "table1.csv").read_text(encoding="utf-8") == (
        tmp_path / "one" / "table1.csv"
    ).read_text()
    # A precision that is asked for is part of the recipe, and float16 is none for a cell.
    capsys.readouterr()
    arguments = make_arguments("table1", toy_mscmrseg, tmp_path / "one", *chosen, "--precision")
    assert main([*arguments, "16-mixed"]) == 2
    assert "32-true or bf16-mixed" in capsys.readouterr().err
    assert main([*arguments, "32-true"]) == 0
    assert "4 cells, 0 of them are there already" in capsys.readouterr().err
