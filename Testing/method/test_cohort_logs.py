"""What is left of a failed case for whoever looks after the cluster names it by its study number only."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from Testing.method.toy_cohort import PATIENT, adapt_quickly, read_rows, write_heart, write_scanner_folder

from confuda.app.cli import main
from confuda.cohort import case as case_module
from confuda.cohort.case import CaseTask, run_case
from confuda.cohort.dask_pool import explain_error
from confuda.cohort.failure import CaseFailure, hide_parts, list_trail, name_log, write_log
from confuda.cohort.record import name_case_files
from confuda.cohort.volumes import CohortVolume
from confuda.errors import InputError, MemoryExhausted

pytest.importorskip("distributed", reason="needs dask and distributed")


@pytest.fixture
def task(tmp_path) -> CaseTask:
    path = write_heart(tmp_path / "scans" / PATIENT / "heart.nii.gz")
    volume = CohortVolume(f"{PATIENT}-heart", path, f"{PATIENT}/heart.nii.gz")
    for folder in ("cases", "segmentations"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    return CaseTask(volume, name_case_files(tmp_path / "out", volume.name), "key", threads=1, number=7)


def test_what_dask_may_write_of_a_task_is_its_number(task) -> None:
    """Dask writes ``repr`` of a task that failed into its workers' logs."""
    assert repr(task) == "CaseTask(number=7)"


def test_an_unforeseen_error_leaves_the_worker_without_names(task, monkeypatch) -> None:
    def fail(given) -> None:
        raise ValueError(f"cannot read {given.volume.path} of {PATIENT}\nand more of {PATIENT}")

    monkeypatch.setattr(case_module, "_segment", fail)
    with pytest.raises(CaseFailure) as caught:
        run_case(task)
    # It travels to the command as a pickle.
    failure = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 (our own)
    told = explain_error(failure)
    assert told.startswith("Unexpected ValueError: ") and PATIENT not in told and "Doe" not in repr(failure)
    assert any(step.startswith("confuda/cohort/case.py:") for step in failure.trail)
    assert failure.trail[-1].startswith("test_cohort_logs.py:") and caught.value.__suppress_context__


@pytest.mark.parametrize("kind", [MemoryExhausted, PermissionError])
def test_no_error_that_dask_may_log_names_the_patient(task, monkeypatch, kind) -> None:
    """A volume beyond the memory, and a result that another program holds open on Windows."""

    def fail(*given) -> None:
        raise kind(f"{task.volume.path} of {PATIENT}")

    monkeypatch.setattr(case_module, "_segment" if kind is MemoryExhausted else "write_record", fail)
    if kind is PermissionError:
        monkeypatch.setattr(case_module, "_segment", lambda given: (_ for _ in ()).throw(InputError("No heart.")))
    with pytest.raises((MemoryExhausted, CaseFailure)) as caught:
        run_case(task)
    assert "Doe" not in repr(caught.value) and "the volume" in str(caught.value).lower()


def test_a_log_tells_number_reason_settings_and_place_but_no_name(tmp_path) -> None:
    failure = CaseFailure("Unexpected ValueError: x", ["confuda/cohort/case.py:70 run_case"])
    reason = f"Unexpected ValueError: {PATIENT}.nii.gz is odd, and Scar_2 as well."
    path = write_log(tmp_path, 7, f"{PATIENT}.nii.gz", reason, failure, {"preset": "fast", "settings": {}})
    assert path == name_log(tmp_path, 7) and path.name == "case-00007.log"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("case 7\nreason: Unexpected ValueError: <name> is odd, and Scar_2 as well.\npreset: fast\n")
    assert "settings" not in text and "confuda/cohort/case.py:70 run_case" in text and PATIENT not in text


@pytest.mark.parametrize(
    ("text", "relative", "hidden"),
    [
        ("Doe_Jane is here", "Doe_Jane/LGE.nii", "<name> is here"),
        ("file Doe_Jane.nii.gz, LGE", "Doe_Jane.nii.gz", "file <name>, LGE"),
        # A name inside of another word is that word's.
        ("the scanner failed", "scan/x.nii", "the scanner failed"),
        # Of one or two letters nothing can be hidden without spoiling ordinary words.
        ("a heart", "a/b", "a heart"),
    ],
)
def test_names_of_the_path_are_hidden_where_they_stand_alone(text, relative, hidden) -> None:
    assert hide_parts(text, relative) == hidden


@pytest.mark.parametrize(
    ("filename", "told"),
    [
        ("/home/doe/venv/lib/site-packages/confuda/cohort/case.py", "confuda/cohort/case.py"),
        ("/home/confuda/venv/lib/site-packages/torch/nn/conv.py", "site-packages/torch/nn/conv.py"),
        ("/usr/lib/python3.11/gzip.py", "gzip.py"),
    ],
)
def test_where_an_error_came_from_is_told_without_the_folders_of_the_machine(filename, told) -> None:
    program = compile("1 / 0", filename, "exec")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(program)  # its file is said to be ``filename``
    assert list_trail(caught.tb)[-1] == f"{told}:1 <module>"


@pytest.mark.slow
def test_a_failed_case_of_a_cohort_leaves_a_log_and_a_good_one_none(tmp_path, small_bundle_folder, capsys) -> None:
    folder, output = write_scanner_folder(tmp_path / "scans"), tmp_path / "out"
    command = ["cohort", str(folder), "-o", str(output), "--segment-only", *adapt_quickly(small_bundle_folder)]
    assert main(command) == 1
    (failed,) = [row for row in read_rows(output) if row["status"] == "failed"]
    (log,) = (output / "logs").iterdir()
    assert log == name_log(output, int(failed["case"]))
    text = log.read_text(encoding="utf-8")
    assert "is not an image" in text and PATIENT not in text and "Doe" not in text and "torn" not in text

    (folder / "c" / PATIENT / "torn.nii.gz").unlink()
    assert main(command) == 0
    assert not list((output / "logs").iterdir())


def test_configuration_for_a_cluster_is_understood_by_dask() -> None:
    """examples/cluster/dask.yaml, which docs/cohort.md tells to copy."""
    file = Path(__file__).resolve().parents[2] / "examples" / "cluster" / "dask.yaml"
    program = (
        "import dask, distributed; get = dask.config.get; "
        "print(get('distributed.scheduler.allowed-failures'), get('distributed.worker.memory.pause'), "
        "get('distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_'), get('jobqueue.slurm.cores'))"
    )
    environment = {**os.environ, "DASK_CONFIG": str(file)}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["5", "False", "None", "1"]
