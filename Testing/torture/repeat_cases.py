"""The same job twice, in separate processes: the same labels; with another number of threads nearly the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import List

import SimpleITK as sitk
from Testing.torture.case import Case

from confuda.labels import STRUCTURES
from confuda.measure.metrics import measure_dice

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
LARGEST_LOSS_OF_DICE = 0.01
LONGEST_S = 3600


def segment_sample(output: Path, threads: int, hash_seed: int, steps: int) -> None:
    """Adapt to the sample in a process of its own. ``hash_seed`` orders Python's sets, which must not matter."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "ConFUDASegment"),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
        "PYTHONHASHSEED": str(hash_seed),
    }
    arguments = [str(SAMPLE), "-o", str(output), "--preset", "fast", "--set", f"steps={steps}"]
    ended = subprocess.run(
        [sys.executable, "-m", "confuda", "adapt", *arguments, "--device", "cpu", "--seed", "5", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    assert ended.returncode == 0, ended.stderr[-1000:]
    # A refused adaptation would give the source network's labels, the same whatever adaptation did.
    assert json.loads(ended.stdout)["accepted"], "the adaptation was not kept"


def repeat(folder: Path, steps: int = 20) -> str:
    """Twice the same."""
    for number in (1, 2):
        segment_sample(folder / f"{number}.nrrd", 1, number, steps)
    one, two = ((folder / f"{number}.nrrd").read_bytes() for number in (1, 2))
    assert one == two, "the files differ"
    return f"{len(one)} bytes, the same"


def change_threads(folder: Path, steps: int = 20) -> str:
    """Once with one thread, once with two."""
    voxels = []
    for threads in (1, 2):
        segment_sample(folder / f"{threads}.nrrd", threads, 0, steps)
        voxels.append(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{threads}.nrrd"))))
    dice = {s.name: measure_dice(voxels[0] == s.label, voxels[1] == s.label) for s in STRUCTURES}
    assert min(dice.values()) > 1 - LARGEST_LOSS_OF_DICE, f"Dice between the two: {dice}"
    return "Dice between the two: " + ", ".join(f"{name} {value:.4f}" for name, value in dice.items())


CASES: List[Case] = [
    Case(
        "repeat",
        "the same job twice",
        "the sample, preset fast, seed 5, one thread, in two processes with different hash seeds",
        "the same file, byte for byte",
        repeat,
    ),
    Case(
        "repeat",
        "another number of threads",
        "the sample, preset fast, seed 5, with one thread and with two",
        f"Dice between the two above {1 - LARGEST_LOSS_OF_DICE:.2f} for each structure",
        change_threads,
    ),
]
