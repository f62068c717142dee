"""Fuzzing of jobs: a changed line into the worker's door, in this process and in workers of their own."""

import dataclasses
import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st
from Testing.torture.fuzz_bundles import make_tiny_bundle
from Testing.torture.fuzz_edits import (
    BYTE_EDITS,
    LONGEST_S,
    MOST_MEMORY_BYTES,
    VALUE_EDITS,
    WEIRD_VALUES,
    ByteEdit,
    ValueEdit,
    hold,
    limited,
    measure_address_space,
)

from confuda.adaptation.settings import METHODS, MODES, PRESETS, AdaptationSettings

PATIENCE_S, PATIENCE_CPU_S = 40, 2
"""A worker that is still busy after this long, or after so much computing, is cancelled."""

SETTINGS = [field.name for field in dataclasses.fields(AdaptationSettings)]


class JobEdit(NamedTuple):
    """A changed job line: its fields' values, fields that no job has, then its bytes."""

    values: Tuple[ValueEdit, ...]
    settings: Dict[str, Any]
    more: Dict[str, Any]
    bytes: Tuple[ByteEdit, ...]

    def apply(self, job: Dict[str, Any]) -> bytes:
        content = json.loads(json.dumps({**job, "settings": {**job["settings"], **self.settings}, **self.more}))
        for edit in self.values:
            content = edit.apply(content)
        line = json.dumps(content).encode()
        for change in self.bytes:
            line = change.apply(line)
        return line.replace(b"\n", b" ") + b"\n"


HOSTILE_JOBS = st.builds(
    JobEdit,
    st.lists(VALUE_EDITS, max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(SETTINGS), WEIRD_VALUES, max_size=2),
    st.one_of(st.just({}), st.just({}), st.dictionaries(st.text(max_size=6), WEIRD_VALUES, max_size=1)),
    st.one_of(st.just(()), st.lists(BYTE_EDITS, min_size=1, max_size=2).map(tuple)),
)


ODD_JOBS = st.builds(
    JobEdit,
    st.just(()),
    st.dictionaries(
        st.sampled_from(SETTINGS),
        st.sampled_from([0.0, 1e-300, 1e-9, 0.5, 1.0, 64.0, 1e9, 1, 2, 33, 1024, 10**6, True, False, "adamw", "sgd"]),
        max_size=3,
    ),
    st.fixed_dictionaries(
        {"method": st.sampled_from(METHODS), "mode": st.sampled_from(MODES), "preset": st.sampled_from(list(PRESETS))},
        optional={
            "slice": st.integers(-1, 3),
            "seed": st.integers(0, 2**63 - 1),
            "center": st.lists(st.floats(-1, 33), min_size=2, max_size=2),
            "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:0", "cuda:99", "cuda:" + "9" * 30]),
        },
    ),
    st.just(()),
)
"""Fields of the right kind with extreme values: most of these jobs are begun, and some of them end well."""


def make_job(volume: Path, output: Path, bundle: Path) -> Dict[str, Any]:
    """A job as Slicer sends it, with all its fields."""
    return {
        "volume": str(volume),
        "output": str(output),
        "mode": "few-shot",
        "slice": None,
        "method": "confuda",
        "preset": "fast",
        "bundle": str(bundle),
        "device": "cpu",
        "seed": 0,
        "center": [16.0, 16.0],
        "settings": {"steps": 1},
        "preview_folder": None,
        "save_bundle": None,
    }


def check_events(code: int, text: str) -> str:
    """The kind of the last event, where the worker's answer keeps to the protocol.

    Raises:
        AssertionError: where it does not: no last word, one that fits not the exit code, or an unexpected error.
    """
    events = [json.loads(line) for line in text.splitlines()]
    assert events and events[-1]["event"] in ("finished", "failed"), f"exit {code} without a last word"
    last = events[-1]
    assert last.get("code", 0) == code, f"exit {code}, but the event says {last.get('code', 0)}"
    assert code != 1, f"{last['message']} {last['details'][-800:]}"
    return last["event"]


class HeldInput:
    """Stands for a stdin that stays open: one line, then nothing more until it is released."""

    def __init__(self, line: bytes) -> None:
        self._line = io.StringIO(line.decode("utf-8", errors="replace"), newline="\n")
        self.released = threading.Event()

    def readline(self, most: int = -1) -> str:
        line = self._line.readline(most)
        if not line:
            self.released.wait()
        return line

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")


def fuzz_jobs(count: int, number: int = 0) -> str:
    """``count`` changed job lines into the worker's door, in this process; their volume is not there."""
    from confuda.app.worker import serve

    outcomes: List[str] = []
    with tempfile.TemporaryDirectory() as place:
        bundle = make_tiny_bundle(Path(place) / "bundle")
        job = make_job(Path(place) / "none.nrrd", Path(place) / "out.nrrd", bundle)

        def check(edit: JobEdit) -> None:
            stdin, stdout = HeldInput(edit.apply(job)), io.StringIO()
            try:
                with limited():
                    code = serve(stdin, stdout)
            finally:
                stdin.released.set()
            outcomes.append(check_events(code, stdout.getvalue()))

        hold(check, st.one_of(HOSTILE_JOBS, HOSTILE_JOBS, ODD_JOBS), count, number)
    return f"{len(outcomes)} jobs: {outcomes.count('failed')} refused, {outcomes.count('finished')} finished"


def fuzz_worker(count: int, number: int = 0) -> str:
    """``count`` changed job lines to real workers whose volume is there: separate processes, fed through real pipes.

    Each is a fork of this process that runs the worker's ``main``, since most of the time would go into the start of
    Python and torch otherwise. Its stdin is closed after ``PATIENCE_S``: a job that still goes on is cancelled by that.
    """
    import torch

    from confuda.app.job import parse_job
    from confuda.app.run import run_job

    outcomes: List[str] = []
    with tempfile.TemporaryDirectory() as place:
        bundle = make_tiny_bundle(Path(place) / "bundle")
        volume = Path(place) / "volume.nrrd"
        image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(3, 32, 32)))
        image.SetSpacing((1.5, 1.5, 8.0))
        sitk.WriteImage(image, str(volume))
        job = make_job(volume, Path(place) / "out.nrrd", bundle)
        # Once here, so that the forks need not each load what torch loads late; threads would not live in a fork.
        torch.set_num_threads(1)
        run_job(parse_job(json.dumps(job)))

        def check(edit: JobEdit) -> None:
            code, text = run_worker(edit.apply(job))
            outcomes.append(check_events(code, text))

        hold(check, st.one_of(HOSTILE_JOBS, ODD_JOBS), count, number)
    failed, finished = outcomes.count("failed"), outcomes.count("finished")
    return f"{len(outcomes)} workers: {failed} refused or cancelled, {finished} finished"


def run_worker(line: bytes) -> Tuple[int, str]:
    """Exit code and output of a forked worker that is given ``line``.

    Raises:
        AssertionError: if it hangs, or a signal ends it.
    """
    reading, stdin = os.pipe()
    stdout, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _become_worker(reading, writing, (stdin, stdout))
    os.close(reading)
    os.close(writing)
    ended = threading.Event()
    feeder = threading.Thread(target=_feed, args=(stdin, line, ended, child), daemon=True)
    feeder.start()
    try:
        text = _read_all(stdout, time.monotonic() + LONGEST_S)
    except TimeoutError as error:
        os.kill(child, signal.SIGKILL)
        raise AssertionError("The worker hung.") from error
    finally:
        ended.set()
        os.close(stdout)
        feeder.join()
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code >= 0, f"signal {-code} ended the worker"
    return code, text.decode("utf-8")


def _become_worker(stdin: int, stdout: int, others: Tuple[int, int]) -> None:
    """In a forked child: run the worker with these pipes and end with its code."""
    code = 1
    try:
        for descriptor in others:
            os.close(descriptor)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.close(stdin)
        os.close(stdout)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (measure_address_space() + MOST_MEMORY_BYTES, hard))
        sys.stdin, sys.stdout = open(0, encoding="utf-8", closefd=False), open(1, "w", encoding="utf-8", closefd=False)
        from confuda.app.worker import main

        code = main()
    finally:
        os._exit(code)


def _feed(stdin: int, line: bytes, ended: threading.Event, child: int) -> None:
    began = time.monotonic()
    try:
        while line:
            line = line[os.write(stdin, line) :]
        while not ended.wait(0.1) and time.monotonic() - began < PATIENCE_S and _measure_cpu_s(child) < PATIENCE_CPU_S:
            pass
    except BrokenPipeError:
        pass  # The worker has heard enough.
    finally:
        os.close(stdin)


def _measure_cpu_s(process: int) -> float:
    """Seconds that a process, perhaps one that has ended and is not yet waited for, has computed."""
    with open(f"/proc/{process}/stat", encoding="utf-8") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_all(stdout: int, deadline: float) -> bytes:
    parts = []
    while select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(stdout, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise TimeoutError
