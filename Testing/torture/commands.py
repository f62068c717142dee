"""The command line on a hostile volume, and the three things that may come of it: labels, no heart, a refusal."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
from Testing.torture.distortions import SAMPLE, Geometry, leave
from Testing.torture.volume_files import Write

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
LONGEST_S = 1800
NOTHING_FOUND = "No heart was found"


class Outcome(NamedTuple):
    """How a command ended: its exit code and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def run_here(arguments: Sequence[str]) -> Outcome:
    """The command line in this process: many cases share the seconds that torch takes to load."""
    from confuda.app.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def run_apart(
    arguments: Sequence[str], environment: Optional[Dict[str, str]] = None, prepare: Optional[Callable] = None
) -> Outcome:
    """``python -m confuda`` as a user runs it, in a process of its own; one that hangs is ended and is a finding."""
    own = {"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
    done = subprocess.run(
        [sys.executable, "-m", "confuda", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **own},
        timeout=LONGEST_S,
        preexec_fn=prepare,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def list_arguments(volume: Path, output: Path, *more: str) -> List[str]:
    given = str(volume) if not volume.name.startswith("-") else os.path.join(".", str(volume))
    return ["adapt", given, "-o", str(output), "--method", "none", "--device", "cpu", "--json", *more]


@lru_cache(maxsize=None)
def segment_sample() -> sitk.Image:
    """The labels that the sample itself gets: what every distorted copy of it is compared with."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "labels.nrrd"
        outcome = run_here(list_arguments(SAMPLE, output))
        assert outcome.code == 0, outcome.err
        return sitk.ReadImage(str(output))


def measure_overlap(labels: sitk.Image, expected: sitk.Image) -> float:
    """Mean Dice over the three structures, voxel by voxel on one grid, which must be one and the same."""
    assert labels.GetSize() == expected.GetSize(), f"size {labels.GetSize()} instead of {expected.GetSize()}"
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        one, other = getattr(labels, name)(), getattr(expected, name)()
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4, err_msg=name)
    a, b = sitk.GetArrayViewFromImage(labels), sitk.GetArrayViewFromImage(expected)
    scores = [2.0 * ((a == k) & (b == k)).sum() / max(1, (a == k).sum() + (b == k).sum()) for k in (1, 2, 3)]
    return float(np.mean(scores))


def check_polite(outcome: Outcome) -> None:
    """No traceback, and of the error messages one line at most."""
    assert "Traceback" not in outcome.err, f"a traceback: {outcome.err[-300:]}"
    assert "unexpected error" not in outcome.err, outcome.err[-300:]
    lines = [line for line in outcome.err.splitlines() if line.startswith("confuda:")]
    assert len(lines) == (0 if outcome.code == 0 else 1), f"{len(lines)} error lines: {outcome.err[-300:]}"


def read_result(outcome: Outcome, output: Path) -> Tuple[sitk.Image, Dict]:
    check_polite(outcome)
    assert outcome.code == 0, f"exit code {outcome.code}: {outcome.err.splitlines()[-1:]}"
    left = sorted(path.name for path in output.parent.iterdir() if path != output)
    assert not left, f"left beside the output: {left}"
    return sitk.ReadImage(str(output)), json.loads(outcome.out)


def make_places(folder: Path) -> Tuple[Path, Path]:
    """A folder for the volume, and the path of the output in a folder of its own."""
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    return folder / "in", folder / "out" / "labels.nrrd"


def expect_heart(
    write: Write,
    folder: Path,
    least_dice: float,
    *warnings: str,
    geometry: Geometry = leave,
    apart: bool = False,
    largest_memory_mb: Optional[float] = None,
    allowed: Sequence[str] = (),
) -> str:
    """Done: the labels lie where the sample's lie after the same distortion, each of ``warnings`` is told, and no
    warning where none is named, but those with words of ``allowed`` in them. Returns what was seen."""
    place, output = make_places(folder)
    arguments = list_arguments(write(place), output)
    outcome = run_apart(arguments) if apart else run_here(arguments)
    labels, summary = read_result(outcome, output)
    dice = measure_overlap(labels, geometry(segment_sample()))
    told = " / ".join(summary["warnings"])
    seen = f"done, Dice {dice:.3f}" + (f", peak {summary['peak_memory_mb']:.0f} MB" if apart else "")
    seen += f", told: {told}" if told else ""
    assert dice >= least_dice, seen
    assert all(words in told for words in warnings), seen
    others = [line for line in summary["warnings"] if not any(words in line for words in allowed)]
    assert warnings or not others, seen
    assert largest_memory_mb is None or summary["peak_memory_mb"] <= largest_memory_mb, seen
    return seen


def expect_refusal(write: Write, folder: Path, *words: str, codes: Sequence[int] = (3,), apart: bool = False) -> str:
    """Refused with one of ``codes`` and one sentence that has ``words`` in it; nothing is written. Returns it."""
    place, output = make_places(folder)
    arguments = list_arguments(write(place), output)
    outcome = run_apart(arguments) if apart else run_here(arguments)
    check_polite(outcome)
    said = next((line for line in outcome.err.splitlines() if line.startswith("confuda:")), "")
    seen = f"exit code {outcome.code}: {said.replace(str(folder), '')}"
    assert said.isprintable(), seen
    assert outcome.code in codes, seen
    assert all(part in said for part in words), seen
    assert "Doe" not in outcome.err and "4711" not in outcome.err, f"the patient is named: {seen}"
    assert not list(output.parent.iterdir()), "something was written"
    return seen


def expect_nothing(write: Write, folder: Path, apart: bool = False, adapt: bool = False) -> str:
    """Done with a warning that no heart was found, and with no label at all. Returns what was seen."""
    place, output = make_places(folder)
    arguments = list_arguments(write(place), output)
    if adapt:
        arguments = [part for part in arguments if part not in ("--method", "none")] + ["--set", "steps=2"]
    outcome = run_apart(arguments) if apart else run_here(arguments)
    labels, summary = read_result(outcome, output)
    told = " / ".join(summary["warnings"])
    marked = int(np.count_nonzero(sitk.GetArrayViewFromImage(labels)))
    seen = f"{marked} voxels marked, {summary['steps']} steps, told: {told or 'nothing'}"
    assert not marked and summary["steps"] == 0 and NOTHING_FOUND in told, seen
    return seen
