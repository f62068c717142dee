"""A job that is cancelled in any stage: code 130 soon, the earlier output intact, nothing left behind."""

import contextlib
import json
import os
import signal
import sys
import time
from unittest import mock

import pytest
from Testing.torture.commands import run_here
from Testing.torture.runs import PATIENCE_S, Run, is_alive, start_command, start_worker

STAGES = ("load", "find", "adapt", "predict", "write")

CLEAN = "earlier output intact, no half file, no process, no temporary folder"


def params(quick, *cases):
    return [case if case == quick else pytest.param(*case, marks=pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(
    "stage, how",
    params(
        ("write", "end of stdin"),
        *((stage, "cancel") for stage in STAGES),
        *(("write", how) for how in ("end of stdin", "SIGTERM", "SIGINT")),
    ),
)
def test_worker_is_cancelled(stage, how, place, seen) -> None:
    """The worker is cancelled, by a line, the end of its stdin or a signal, in a stage that does not listen (in "write"
    half of the file is written): code 130 soon, and nothing left."""
    run = start_worker(place, f"stay:{stage}")
    run.wait_until_paused()
    began = time.monotonic()
    if how == "cancel":
        run.send("cancel")
    elif how == "end of stdin":
        run.process.stdin.close()
    else:
        run.process.send_signal(getattr(signal, how))
    code = run.finish()
    seconds = time.monotonic() - began
    assert code == 130
    last = run.read_events()[-1]
    assert last["event"] == "failed" and last["code"] == 130
    place.check_untouched()
    seen(f"code 130 after {seconds:.1f} s, {CLEAN}")


@pytest.mark.parametrize(
    "stage, how", params(("write", "SIGINT"), *((stage, "SIGTERM") for stage in STAGES), ("write", "SIGINT"))
)
def test_command_is_cancelled(stage, how, place, seen) -> None:
    """Ctrl-C or SIGTERM in the middle of a stage of the command: code 130, one line, and nothing left."""
    run = start_command(place, place.list_arguments(), f"stay:{stage}")
    run.wait_until_paused()
    run.process.send_signal(getattr(signal, how))
    assert run.finish() == 130
    assert run.errors.strip().splitlines()[-1] == "confuda: Cancelled."
    place.check_untouched()
    seen(f"code 130, {CLEAN}")


@pytest.mark.slow
def test_worker_is_cancelled_while_it_listens(place, seen) -> None:
    """Cancel in the middle of adaptation: code 130, and nothing left."""
    run = start_worker(place, settings={"steps": 100000, "strength": 1.0})
    run.wait_for('"adapt"', "answer")
    run.send("cancel")
    assert run.finish() == 130
    place.check_untouched()
    seen(f"code 130, {CLEAN}")


def test_cancel_that_a_library_swallows(place, seen) -> None:
    """SIGTERM whose exception an "except Exception" of some library catches: code 130 at the next step all the same."""
    from confuda.app.run import read_volume

    def interrupt_and_swallow(*arguments, **named):
        with contextlib.suppress(Exception):
            signal.raise_signal(signal.SIGTERM)
        return read_volume(*arguments, **named)

    with mock.patch("confuda.app.run.read_volume", interrupt_and_swallow):
        outcome = run_here(place.list_arguments())
    assert outcome.code == 130
    place.check_untouched()
    seen(f"code 130, {CLEAN}")


# The parent is gone, or deaf


@pytest.mark.slow
def test_parent_killed(place, seen) -> None:
    """Slicer is killed: its worker ends soon, and nothing is left."""
    program = (
        "import json, os, sys, time\n"
        "from ConFUDASegmentLib.worker import WorkerProcess\n"
        "command = [sys.executable, '-m', 'Testing.torture.injected', 'stay:adapt', 'worker']\n"
        "process = WorkerProcess(command, dict(os.environ), json.loads(sys.argv[1]))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "while not any('PAUSED' in line for line in process.noise()): time.sleep(0.02)\n"
        "print('PAUSED', file=sys.stderr, flush=True)\n"
        "time.sleep(1000)\n"
    )
    run = Run(place, [sys.executable, "-c", program, json.dumps(place.describe_job())])
    run.wait_until_paused()
    worker = int(run.answer.split()[0])
    os.kill(run.process.pid, signal.SIGKILL)
    began = time.monotonic()
    while is_alive(worker):
        if time.monotonic() - began > PATIENCE_S:
            os.kill(worker, signal.SIGKILL)
            pytest.fail("the worker lives on")
        time.sleep(0.05)
    seconds = time.monotonic() - began
    run.finish()
    place.check_untouched()
    seen(f"the worker ended {seconds:.1f} s after its parent, {CLEAN}")


@pytest.mark.slow
def test_parent_stops_reading(place, seen) -> None:
    """The pipe of events is full, since the parent reads no more, and then it cancels: code 130, and nothing left."""
    reader, writer = os.pipe()
    program = (
        "import os, sys\n"
        "from confuda.app import worker\n"
        "class Flood(worker.EventWriter):\n"
        "    def write(self, event, **fields):\n"
        "        super().write(event, **fields)\n"
        "        if event == 'progress':\n"
        "            print('PAUSED', file=sys.stderr, flush=True)\n"
        "            while True: super().write('warning', message='x' * 10000)\n"
        "worker.EventWriter = Flood\n"
        "os._exit(worker.main())\n"
    )
    run = Run(place, [sys.executable, "-c", program], answer=writer)
    os.close(writer)
    try:
        run.send(place.describe_job())
        run.wait_until_paused()
        time.sleep(0.5)
        run.send("cancel")
        assert run.finish() == 130
    finally:
        os.close(reader)
    place.check_untouched()
    seen(f"code 130, {CLEAN}")
