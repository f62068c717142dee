"""Fuzzing as cases: a thousand examples each, in a process of its own, whose end by a signal is an outcome too."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, List

from Testing.torture.case import Case

REPOSITORY = Path(__file__).resolve().parents[2]
LONGEST_S = 3600


def fuzz(what: str, examples: int) -> Callable[[Path], str]:
    """A case's function: ``examples`` of the fuzzer ``what``; see ``Testing.torture.fuzzing``."""

    def run(folder: Path) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "ConFUDASegment"), str(REPOSITORY)]),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "Testing.torture.fuzzing", what, "--examples", str(examples)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        assert ended.returncode >= 0, f"signal {-ended.returncode} ended the process"
        assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr[-2000:]}"
        left = sorted(path.name for path in folder.iterdir())
        assert not left, f"left behind: {', '.join(left)}"
        return ended.stdout.strip()

    return run


CASES: List[Case] = [
    Case(
        "fuzz",
        "bundles",
        "1,000 bundles with changed bytes and values (description, safetensors headers, tensors; hashes made to fit)",
        "each loads, finite and of the stated shapes, or is refused by BundleError; no hang, no memory blow-up",
        fuzz("bundles", 1000),
    ),
    Case(
        "fuzz",
        "job messages",
        "1,000 job lines with changed bytes, values and fields into the worker's door",
        "a `failed` event whose code is the exit code, never an unexpected error; no hang",
        fuzz("jobs", 1000),
    ),
    Case(
        "fuzz",
        "worker processes",
        "200 changed job lines to real worker processes with a volume that is there",
        "`finished` or `failed` as the last word, with the exit code it states; no hang, no signal",
        fuzz("worker", 200),
    ),
    Case(
        "fuzz",
        "stack and inverse",
        "1,000 volumes of random size, spacing, axes (also left-handed); a box of labels through the slices and back",
        "slices finite in [0, 1]; geometry exactly back; each side of the box within one pixel",
        fuzz("stack", 1000),
    ),
    Case(
        "fuzz",
        "labels",
        "1,000 random label maps on random grids, written and read in each format, and in each data set's numbers",
        "the same labels on the same grid",
        fuzz("labels", 1000),
    ),
]
