"""Threads sleep while they wait and leave a core to others; the study of busy machines counts what that gives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict

import pytest
import SimpleITK as sitk

from confuda.app import cli
from confuda.errors import UsageError
from confuda.threads import WAITING, let_threads_sleep, use_threads

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"


@pytest.mark.parametrize("first, expected", [("", "PASSIVE"), ("import torch; ", "None")])
def test_who_uses_the_package_has_sleeping_threads_unless_torch_is_loaded_already(first, expected) -> None:
    program = f"{first}import os, confuda; confuda.Observer; print(os.environ.get('OMP_WAIT_POLICY'))"
    known = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**known, "PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("name", WAITING)
def test_threads_sleep_unless_the_user_has_said_how_they_wait(name) -> None:
    environment: Dict[str, str] = {}
    let_threads_sleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    own = {name: "mine"}
    let_threads_sleep(own)
    assert own == {name: "mine"}


WAYS_IN = {
    "command": "from confuda.app.cli import main; main(['bundle', 'show'])",
    "worker": "from confuda.app import worker; worker.serve = lambda *a, **k: 0; worker.main()",
    "cohort": "import confuda.cohort.case",
}


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's OpenMP, which torch has on Linux")
@pytest.mark.parametrize("way", WAYS_IN)
def test_torch_gets_sleeping_threads_in_every_way_in(way) -> None:
    """OpenMP itself says how it was told to wait, at the moment in which torch loads it."""
    program = f"import sys; {WAYS_IN[way]}; import torch; sys.stdout.flush()"
    surroundings = {"PYTHONPATH": str(PACKAGE), "PATH": "/usr/bin:/bin", "HOME": "/tmp", "OMP_DISPLAY_ENV": "TRUE"}
    for own, seen in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**own, **surroundings}, input="",
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"OMP_WAIT_POLICY = '{seen}'" in done.stderr


def test_a_dask_worker_gets_sleeping_threads() -> None:
    pytest.importorskip("distributed", reason="needs dask and distributed")
    from confuda.cohort.dask_pool import PoolOptions, open_pool

    seen = []
    with open_pool(PoolOptions(memory_limit="1GiB")) as pool:
        pool.run(os.getenv, ["OMP_WAIT_POLICY"], lambda task, result, error: seen.append(result))
    assert seen == ["PASSIVE"]


@pytest.mark.parametrize(
    "asked, own, cores, used",
    [
        (None, None, 8, 7),
        (None, None, 3, 2),
        (None, None, 2, 2),
        (None, None, 1, 1),
        (5, None, 2, 5),
        (None, "4", 8, 8),
    ],
)
def test_a_core_is_left_to_other_programs_where_there_are_more_than_two(asked, own, cores, used, monkeypatch) -> None:
    import torch

    from confuda import threads

    former, itk = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    monkeypatch.setattr(threads, "count_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", own) if own else monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(8)
        use_threads(asked)
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(former)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(itk)


def test_a_number_of_threads_that_cannot_be_is_refused(heart, small_bundle_folder, tmp_path, capsys) -> None:
    volume = tmp_path / "heart.nrrd"
    sitk.WriteImage(heart[0], str(volume))
    with pytest.raises(UsageError, match="threads"):
        use_threads(0)
    more = ["--bundle", str(small_bundle_folder), "--threads", "0"]
    assert cli.main(["adapt", str(volume), "-o", str(tmp_path / "o.nrrd"), *more]) == 2
    assert cli.main(["segment", str(volume), "-o", str(tmp_path / "o"), *more]) == 2
    assert not (tmp_path / "o").exists()
    assert json.dumps(capsys.readouterr().err).count("threads must lie") == 2


def test_the_table_of_busy_machines_compares_with_the_fair_share() -> None:
    sys.path.insert(0, str(PACKAGE.parent / "benchmarks"))
    try:
        import busy
    finally:
        sys.path.pop(0)
    rows = [
        {"busy": 0, "seconds": {"default": [10.0, 12.0, 11.0], "one thread": [20.0]}},
        {"busy": 4, "seconds": {"default": [33.0], "one thread": [40.0]}},
    ]
    lines = busy.format_table(rows, cores=2).splitlines()
    assert lines[2] == "| 0 | 11.0 | 20.0 | 11.0 | 1.00 |" and lines[3] == "| 4 | 33.0 | 40.0 | 33.0 | 1.00 |"


@pytest.mark.skipif(os.name == "nt", reason="processes of POSIX")
def test_busy_processes_end_with_whoever_wanted_them() -> None:
    sys.path.insert(0, str(PACKAGE.parent / "benchmarks"))
    try:
        import busy
    finally:
        sys.path.pop(0)
    program = (
        "import os, subprocess, sys\n"
        "command = [sys.executable, '-c', sys.argv[1], str(os.getpid())]\n"
        "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, flush=True)"
    )
    ended = subprocess.run([sys.executable, "-c", program, busy.BUSY_PROGRAM], stdout=subprocess.PIPE, text=True)
    pid, limit = int(ended.stdout), time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < limit:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2]
