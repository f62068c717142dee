"""The same job twice, in separate processes: the same labels; with another number of threads nearly the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from Testing.torture.distortions import SAMPLE

from confuda.labels import STRUCTURES
from confuda.measure.metrics import measure_dice

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
LONGEST_S = 3600


@pytest.mark.slow
def test_the_same_job_again(tmp_path, seen) -> None:
    """The sample, preset fast, seed 5, in two processes of one thread with different hash seeds: the same file, byte
    for byte; and with two threads Dice above 0.99 for each structure."""

    def segment(name: str, threads: int, hash_seed: int) -> Path:
        """In a process of its own. ``hash_seed`` orders Python's sets, which must not matter."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(PACKAGE),
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
            "PYTHONHASHSEED": str(hash_seed),
        }
        arguments = [
            str(SAMPLE),
            "-o",
            str(tmp_path / name),
            "--preset",
            "fast",
            "--set",
            "steps=6",
            "--set",
            "strength=1",
        ]
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
        return tmp_path / name

    one, two, other = segment("1.nrrd", 1, 1), segment("2.nrrd", 1, 2), segment("3.nrrd", 2, 0)
    assert one.read_bytes() == two.read_bytes()
    voxels = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (one, other)]
    dice = {s.name: measure_dice(voxels[0] == s.label, voxels[1] == s.label) for s in STRUCTURES}
    assert min(dice.values()) > 0.99
    seen("the same bytes; with two threads Dice " + ", ".join(f"{name} {value:.4f}" for name, value in dice.items()))
