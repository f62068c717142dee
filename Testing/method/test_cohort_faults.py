"""A cohort whose workers, command, memory or scheduler fail: what was done is kept, and a rerun completes it."""

import signal
import subprocess
import sys
import time

import pytest
import SimpleITK as sitk
from Testing.method.toy_cohort import adapt_quickly, find_workers, read_rows, start, wait_for, write_heart

from confuda.app.cli import main
from confuda.cohort.dask_pool import PoolOptions, open_pool
from confuda.errors import InputError

pytestmark = pytest.mark.slow


def test_killed_workers_and_a_killed_command_leave_nothing_half_and_a_rerun_completes(
    small_bundle_folder, tmp_path
) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    for number in range(3):
        write_heart(scans / f"scan{number}.nii.gz", seed=number)
    command = [scans, "-o", output, *adapt_quickly(small_bundle_folder, steps=40)]
    records = output / "cases"

    first = start(*command)
    (worker,) = wait_for(lambda: find_workers(first))
    # In the middle of the first case: its record is not there, its worker computes.
    wait_for(lambda: records.is_dir() and worker.cpu_times().user > 3)
    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: len(list(records.glob("scan*.json"))) >= 1)
    workers = wait_for(lambda: find_workers(first))
    first.kill()
    first.wait()
    first.stderr.close()
    # No worker goes on behind the user's back.
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in workers), 60)
    done = sorted(path.stem for path in records.glob("scan*.json"))
    assert 1 <= len(done) < 3
    for path in (output / "segmentations").glob("scan*"):
        sitk.ReadImage(str(path))
    kept = {name: (records / f"{name}.json").stat().st_mtime_ns for name in done}

    second = start(*command)
    said = second.communicate(timeout=600)[1]
    assert second.returncode == 0, said
    assert f"{len(done)} were done before" in said
    assert all((records / f"{name}.json").stat().st_mtime_ns == kept[name] for name in done)
    assert [row["status"] for row in read_rows(output)] == ["done"] * 3
    left = {path.name for path in output.rglob("*") if path.is_file() and path.name.startswith(".")}
    assert left == {".lock"}


def test_ctrl_c_ends_the_workers_and_keeps_the_table(scanner_folder, small_bundle_folder, tmp_path) -> None:
    output = tmp_path / "out"
    process = start(scanner_folder, "-o", output, *adapt_quickly(small_bundle_folder, steps=100_000), "--match", "b/*")
    workers = wait_for(lambda: find_workers(process))
    wait_for(lambda: workers[0].cpu_times().user > 2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 130 and said.strip().splitlines()[-1] == "confuda: Cancelled."
    wait_for(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers), 60)
    assert [row["status"] for row in read_rows(output)] == ["waiting"]


def test_a_case_beyond_the_memory_limit_fails_with_a_sentence(
    scanner_folder, small_bundle_folder, tmp_path, capsys
) -> None:
    arguments = [*adapt_quickly(small_bundle_folder), "--match", "b/*", "--memory-limit", "250MB", "--retries", "0"]
    assert main(["cohort", str(scanner_folder), "-o", str(tmp_path / "out"), *arguments]) == 1
    (row,) = read_rows(tmp_path / "out")
    assert row["status"] == "failed" and "--memory-limit" in row["reason"]


def test_a_scheduler_elsewhere_does_the_work(scanner_folder, small_bundle_folder, tmp_path) -> None:
    from distributed import LocalCluster

    arguments = ["--bundle", str(small_bundle_folder), "--segment-only", "--match", "b/*"]
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        more = ["--scheduler", cluster.scheduler_address]
        assert main(["cohort", str(scanner_folder), "-o", str(tmp_path / "out"), *arguments, *more]) == 0
    assert (tmp_path / "out" / "segmentations" / "b-heart.seg.nrrd").is_file()


def test_a_lost_scheduler_ends_the_run_with_a_sentence() -> None:
    program = (
        "import time; from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=1, processes=False, dashboard_address=':0', protocol='tcp')\n"
        "    print(cluster.scheduler_address, flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        with pytest.raises(InputError, match="same command again"):
            with open_pool(PoolOptions(scheduler=process.stdout.readline().strip())) as pool:
                pool.run(time.sleep, [0, 600], lambda task, result, error: process.kill())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
