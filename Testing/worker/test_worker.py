"""The worker as Slicer uses it: a real process, fed and heard through its pipes, cancelled and killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"}


def start_worker() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "confuda.app.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=ENVIRONMENT,
    )


def send(worker: subprocess.Popen, job) -> None:
    worker.stdin.write((job if isinstance(job, str) else json.dumps(job)) + "\n")
    worker.stdin.flush()


def finish(worker: subprocess.Popen):
    """The exit code and the events that were left to read."""
    events = [json.loads(line) for line in worker.stdout]
    code = worker.wait(timeout=600)
    worker.stdin.close()
    worker.stdout.close()
    return code, events


@pytest.fixture
def job(heart, small_bundle_folder, tmp_path):
    sitk.WriteImage(heart[0], str(tmp_path / "volume.nrrd"))
    return {
        "volume": str(tmp_path / "volume.nrrd"),
        "output": str(tmp_path / "out.nrrd"),
        "mode": "few-shot",
        "slice": None,
        "method": "confuda",
        "preset": "fast",
        "bundle": str(small_bundle_folder),
        "device": "cpu",
        "seed": 0,
        "center": None,
        "settings": {"steps": 3},
        "preview_folder": None,
    }


def test_a_job_from_start_to_finish(job) -> None:
    worker = start_worker()
    send(worker, job)
    code, events = finish(worker)
    assert code == 0
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "finished" and "started" in kinds
    started = next(event for event in events if event["event"] == "started")
    assert started["total"] == 3 and started["device"] == "cpu"
    stages = [event["stage"] for event in events if event["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["load", "find", "adapt", "predict", "write"]
    steps = [event for event in events if event.get("stage") == "adapt"]
    # Before the first step there is the time left alone.
    assert [event["step"] for event in steps] == [0, 1, 2, 3] and all(event["eta_s"] > 0 for event in steps)
    assert all("total" in event["losses"] for event in steps[1:])
    labels = sitk.ReadImage(job["output"])
    assert labels.GetSize() == sitk.ReadImage(job["volume"]).GetSize()
    assert events[-1]["summary"]["volumes_ml"].keys() == {"MYO", "LV", "RV"}


@pytest.mark.parametrize("how", ["cancel", "end of stdin"])
def test_cancel_ends_the_worker_and_writes_nothing(job, how) -> None:
    worker = start_worker()
    send(worker, {**job, "settings": {"steps": 100000}})
    for line in worker.stdout:
        if json.loads(line).get("stage") == "adapt":
            break
    if how == "cancel":
        send(worker, "cancel")
    else:
        worker.stdin.close()
    events = [json.loads(line) for line in worker.stdout]
    assert worker.wait(timeout=600) == 130
    assert events[-1]["event"] == "failed" and events[-1]["code"] == 130
    worker.stdin.close()
    worker.stdout.close()
    assert not Path(job["output"]).exists()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux shows what a process has open")
def test_libraries_of_the_worker_find_an_empty_stdin(job) -> None:
    """On Windows one that looks at a pipe in which the worker waits would never come back (numpy/numpy#24290)."""
    worker = start_worker()
    send(worker, {**job, "settings": {"steps": 100000}})
    assert json.loads(worker.stdout.readline())["event"]
    assert os.readlink(f"/proc/{worker.pid}/fd/0") == os.devnull
    send(worker, "cancel")
    assert finish(worker)[0] == 130


def test_cancel_before_the_job_has_even_begun(job) -> None:
    worker = start_worker()
    send(worker, {**job, "settings": {"steps": 100000}})
    send(worker, "cancel")
    code, events = finish(worker)
    assert code == 130 and not Path(job["output"]).exists()


def test_previews_are_labelmaps_on_the_volumes_grid(job, tmp_path, monkeypatch) -> None:
    from confuda.app import run
    from confuda.app.job import Job

    monkeypatch.setattr(run, "PREVIEW_EVERY_S", 0.0)
    (tmp_path / "previews").mkdir()

    class Listener(run.JobObserver):
        paths = []

        def preview(self, path) -> None:
            self.paths.append(path)

    described = {**job, "preview_folder": str(tmp_path / "previews")}
    run.run_job(Job(**described), Listener())
    assert Listener.paths
    preview = sitk.ReadImage(str(Listener.paths[0]))
    assert preview.GetSize() == sitk.ReadImage(job["volume"]).GetSize()
    assert set(np.unique(sitk.GetArrayFromImage(preview))) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    "change, code",
    [
        ({"volume": "/no/such/volume.nrrd"}, 3),
        ({"bundle": "/no/such/bundle"}, 4),
        ({"mode": "many-shot"}, 2),
        ({"settings": {"stepz": 1}}, 2),
        ({"seed": "one"}, 2),
        ({"center": [1]}, 2),
        ({"surprise": 1}, 2),
        ({"volume": None}, 2),
    ],
)
def test_bad_jobs_fail_with_code_and_sentence(job, change, code) -> None:
    worker = start_worker()
    send(worker, {**job, **change})
    seen, events = finish(worker)
    assert seen == code
    assert events[-1]["event"] == "failed" and events[-1]["code"] == code
    assert "\n" not in events[-1]["message"] and events[-1]["message"]


@pytest.mark.parametrize("line", ["", "{", "[]", "null", '"cancel"', "\x00\x01"])
def test_what_is_no_job_ends_cleanly(line) -> None:
    worker = start_worker()
    send(worker, line)
    code, events = finish(worker)
    assert code in (2, 130)
    assert events[-1]["event"] == "failed"
