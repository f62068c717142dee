"""A folder of volumes over night: found, segmented, tabled and drawn; what is killed goes on where it was."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart
from Testing.torture.non_hearts import make_non_heart

pytest.importorskip("distributed", reason="needs dask and distributed")
import psutil  # noqa: E402  (distributed brings it)

from confuda.app.cli import main  # noqa: E402
from confuda.bundle.format import load_bundle, read_description  # noqa: E402
from confuda.cohort.dask_pool import PoolOptions, count_cores, open_pool  # noqa: E402
from confuda.cohort.folder_lock import lock_folder  # noqa: E402
from confuda.cohort.volumes import find_volumes, make_names  # noqa: E402
from confuda.errors import InputError  # noqa: E402

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
PATIENT = "Doe_Jane_19500101"


def write_heart(path: Path, seed: int = 0, slices: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(make_heart(slices=slices, seed=seed)[0], str(path))
    return path


def write_dicom(folder: Path, uid: str, prefix: str, modality: str = "MR") -> Path:
    """A series of a toy heart, one file a slice, with a patient's name in it."""
    folder.mkdir(parents=True, exist_ok=True)
    image = sitk.Cast(make_heart(slices=3)[0] * 4, sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(3):
        plane = image[:, :, number]
        tags = {
            "0008|0060": modality,
            "0010|0010": "Doe^Jane",
            "0018|0050": "8",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": f"0\\0\\{8 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{prefix}{number}.dcm"))
        writer.Execute(plane)
    return folder


def read_rows(output: Path) -> List[Dict[str, str]]:
    return list(csv.DictReader(io.StringIO((output / "results.csv").read_text(encoding="utf-8"))))


def strip_pictures(page: str) -> str:
    """A page without its pictures, whose letters are as good as random."""
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "confuda", "cohort", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds: float = 240.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")


def find_workers(process: subprocess.Popen) -> List[psutil.Process]:
    """The worker processes of a command: its children that ``multiprocessing`` spawned."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two good volumes in different places, labels, and a file that is none."""
    folder = tmp_path_factory.mktemp("scanner")
    write_heart(folder / f"{PATIENT}.nii.gz", seed=1)
    write_heart(folder / "b" / "heart.nrrd", seed=2)
    sitk.WriteImage(make_heart(slices=3)[1], str(folder / f"{PATIENT}_manual.nii.gz"))
    (folder / "c" / PATIENT).mkdir(parents=True)
    (folder / "c" / PATIENT / "torn.nii.gz").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def cohort(folder, small_bundle_folder, tmp_path_factory) -> Path:
    """The output of one run over ``folder``, two adaptation steps a volume."""
    output = tmp_path_factory.mktemp("results") / "out"
    assert main(["cohort", str(folder), "-o", str(output), *adapt_quickly(small_bundle_folder)]) == 1
    return output


def adapt_quickly(bundle: Path, steps: int = 2) -> List[str]:
    return ["--bundle", str(bundle), "--set", f"steps={steps}", "--threads", "1"]


def test_volumes_are_found_and_labels_and_results_are_not(tmp_path) -> None:
    for name in ("p10.nii.gz", "p2.nii.gz", "p2.nrrd", "sub/p2.mha", ".hidden.nii.gz", ".cache/p3.nii.gz"):
        write_heart(tmp_path / name)
    for name in ("p2_manual.nii.gz", "p2_gt.nii.gz", "p2-label.nrrd", "p2.seg.nrrd", "p2_mask.nii", "seg.nrrd"):
        write_heart(tmp_path / name)
    write_heart(tmp_path / "earlier" / "cases" / "x.nii.gz")
    (tmp_path / "earlier" / "confuda-cohort.json").write_text("{}")
    volumes = find_volumes(tmp_path)
    assert [volume.relative for volume in volumes] == ["p2.nii.gz", "p2.nrrd", "p10.nii.gz", "sub/p2.mha"]
    names = [volume.name for volume in volumes]
    assert len(set(names)) == 4 and names[2:] == ["p10", "sub-p2"]
    assert names == [volume.name for volume in find_volumes(tmp_path)]
    assert [volume.name for volume in find_volumes(tmp_path, "sub/*")] == ["sub-p2"]
    with pytest.raises(InputError, match="none of its 4 volumes"):
        find_volumes(tmp_path, "*LGE*")


def test_dicom_series_are_found_one_by_one_and_those_without_images_are_told(tmp_path) -> None:
    write_dicom(tmp_path / "study" / "one", "1.2.3.4", "a")
    write_dicom(tmp_path / "study" / "two", "1.2.3.5", "a")
    write_dicom(tmp_path / "study" / "two", "1.2.3.6", "b")
    write_dicom(tmp_path / "study" / "two", "1.2.3.7", "c", modality="SR")
    said: List[str] = []
    volumes = find_volumes(tmp_path, warn=said.append)
    assert [volume.name for volume in volumes] == ["study-one", "study-two-series1", "study-two-series2"]
    assert [path.name[0] for volume in volumes[1:] for path in volume.series] == ["a"] * 3 + ["b"] * 3
    assert len(said) == 1 and "without images" in said[0]


def test_names_are_unique_on_every_file_system_and_never_too_long() -> None:
    names = make_names(["a/b.nii", "A-B.nrrd", "x" * 300 + ".nii", "ä ö:*.nii", "...nii"])
    assert len({name.casefold() for name in names}) == 5
    assert max(len(name.encode()) for name in names) <= 100
    assert not any(re.search(r'[\s/\\:*?"<>|]', name) for name in names)


def test_each_volume_is_segmented_as_by_confuda_adapt(cohort, folder, small_bundle_folder, tmp_path) -> None:
    alone = tmp_path / "alone.seg.nrrd"
    more = ["--bundle", str(small_bundle_folder), "--set", "steps=2"]
    assert main(["adapt", str(folder / "b" / "heart.nrrd"), "-o", str(alone), *more]) == 0
    here, there = (sitk.ReadImage(str(path)) for path in (cohort / "segmentations" / "b-heart.seg.nrrd", alone))
    differing = sitk.GetArrayFromImage(here) != sitk.GetArrayFromImage(there)
    assert differing.mean() < 0.002  # The number of threads may change the last bits.
    assert here.GetMetaData("Segment0_Name") == "Myocardium"


def test_the_table_has_a_row_for_each_case_and_one_failure_stops_nothing(cohort) -> None:
    rows = {row["name"]: row for row in read_rows(cohort)}
    assert set(rows) == {PATIENT, "b-heart", f"c-{PATIENT}-torn"}
    good, torn = rows["b-heart"], rows[f"c-{PATIENT}-torn"]
    labels = sitk.ReadImage(str(cohort / good["segmentation"]))
    voxel_ml = np.prod(labels.GetSpacing()) / 1000
    for label, name in ((1, "MYO"), (2, "LV"), (3, "RV")):
        volume = (sitk.GetArrayFromImage(labels) == label).sum() * voxel_ml
        assert float(good[f"{name}_ml"]) == pytest.approx(volume, abs=0.01)
    assert good["status"] == "done" and good["accepted"] in ("yes", "no") and float(good["seconds"]) > 0
    assert 0 <= float(good["agreement"]) <= 1
    assert torn["status"] == "failed" and torn["flags"] == "failed" and not torn["segmentation"]
    assert torn["reason"].startswith("The volume is not an image") and PATIENT not in torn["reason"]


def test_the_contact_sheet_opens_offline_shows_outlines_and_names_nobody(cohort, tmp_path) -> None:
    page = (cohort / "contact-sheet.html").read_text(encoding="utf-8")
    words = strip_pictures(page)
    assert "Doe" not in words and "heart" not in words and str(cohort.parent) not in words
    assert not re.search(r"(https?:)?//|<script|<link|url\(|@import", words)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2 and page.count("<article") == 3
    for number, text in enumerate(pictures):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b64decode(text))
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(int)
        colored = (pixels[..., 0] - pixels[..., 2]) > 60
        above_legend = colored[: -pixels.shape[0] // 6]
        # Outlines are thin curves around the heart in each slice, not a few points and no noise.
        assert 0.01 < above_legend.mean() < 0.2


def test_the_outlines_of_a_picture_are_those_of_the_segmentation(heart, tmp_path) -> None:
    from confuda.cohort.case import _draw_picture
    from confuda.cohort.record import CaseFiles
    from confuda.io.segmentation_file import write_segmentation

    sitk.WriteImage(heart[0], str(tmp_path / "heart.nii.gz"))
    files = CaseFiles(tmp_path / "heart.seg.nrrd", tmp_path / "heart.png", tmp_path / "heart.json")
    write_segmentation(heart[1], files.segmentation)
    assert _draw_picture(tmp_path / "heart.nii.gz", files)
    with_labels = files.picture.read_bytes()
    write_segmentation(heart[1] * 0, files.segmentation)
    assert _draw_picture(tmp_path / "heart.nii.gz", files)
    assert with_labels != files.picture.read_bytes() and len(with_labels) < 150_000
    empty = sitk.GetArrayFromImage(sitk.ReadImage(str(files.picture))).astype(int)
    rows = 5 * empty.shape[0] // 6
    assert not ((empty[:rows, :, 0] - empty[:rows, :, 2]) > 60).any()


def test_a_second_run_does_only_what_is_missing_or_changed(cohort, folder, small_bundle_folder, capsys) -> None:
    times = {path.name: path.stat().st_mtime_ns for path in (cohort / "segmentations").iterdir()}
    command = ["cohort", str(folder), "-o", str(cohort), *adapt_quickly(small_bundle_folder)]
    (folder / "b" / "heart.nrrd").touch()
    assert main(command) == 1
    assert "1 were done before and are kept" in capsys.readouterr().err
    again = {path.name: path.stat().st_mtime_ns for path in (cohort / "segmentations").iterdir()}
    assert [name for name in times if times[name] != again[name]] == ["b-heart.seg.nrrd"]
    (cohort / "segmentations" / f"{PATIENT}.seg.nrrd").write_bytes(b"torn")
    assert main([*command, "--segment-only"]) == 1
    assert "done before" not in capsys.readouterr().err
    assert json.loads((cohort / "cases" / "b-heart.json").read_text())["summary"]["method"] == "none"
    assert {row["status"] for row in read_rows(cohort)} == {"done", "failed"}


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
    said = second.communicate(timeout=400)[1]
    assert second.returncode == 0, said
    assert f"{len(done)} were done before" in said
    assert all((records / f"{name}.json").stat().st_mtime_ns == kept[name] for name in done)
    assert [row["status"] for row in read_rows(output)] == ["done"] * 3
    left = {path.name for path in output.rglob("*") if path.is_file() and path.name.startswith(".")}
    assert left == {".lock"}


def test_ctrl_c_ends_the_workers_and_keeps_the_table(folder, small_bundle_folder, tmp_path) -> None:
    output = tmp_path / "out"
    process = start(folder, "-o", output, *adapt_quickly(small_bundle_folder, steps=100_000), "--match", "b/*")
    workers = wait_for(lambda: find_workers(process))
    wait_for(lambda: workers[0].cpu_times().user > 2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and said.strip().splitlines()[-1] == "confuda: Cancelled."
    wait_for(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers), 60)
    assert [row["status"] for row in read_rows(output)] == ["waiting"]


def test_a_case_beyond_the_memory_limit_fails_with_a_sentence(folder, small_bundle_folder, tmp_path, capsys) -> None:
    arguments = [*adapt_quickly(small_bundle_folder), "--match", "b/*", "--memory-limit", "250MB", "--retries", "0"]
    assert main(["cohort", str(folder), "-o", str(tmp_path / "out"), *arguments]) == 1
    (row,) = read_rows(tmp_path / "out")
    assert row["status"] == "failed" and "--memory-limit" in row["reason"]


def test_adapting_once_serves_all_others(small_bundle_folder, tmp_path, capsys) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    for number in range(3):
        write_heart(scans / f"scan{number}.nii.gz", seed=number)
    command = ["cohort", str(scans), "-o", str(output), *adapt_quickly(small_bundle_folder), "--adapt-on", "2"]
    assert main(command) == 0
    adapted = output / "adapted-bundle"
    description = read_description(adapted)["adapted"]
    assert description["mode"] == "full" and description["volumes"] == 2 and description["steps"] == 2
    load_bundle(adapted)
    before = (adapted / "bundle.json").stat().st_mtime_ns
    (output / "cases" / "scan1.json").unlink()
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "is there and is kept" in said and "2 were done before" in said
    assert (adapted / "bundle.json").stat().st_mtime_ns == before
    # The bundle serves volumes to come, and paths choose the volumes as well.
    assert main(["segment", str(scans / "scan0.nii.gz"), "-o", str(tmp_path / "one"), "--bundle", str(adapted)]) == 0
    same = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "scan0.seg.nrrd")))
        for folder in (tmp_path / "one", output / "segmentations")
    ]
    assert (same[0] != same[1]).mean() < 0.002
    assert main([*command[:-1], str(tmp_path / "other.nii.gz")]) == 2


def test_a_volume_without_a_heart_is_not_adapted_to(small_bundle_folder, tmp_path, capsys) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    write_heart(scans / "a.nii.gz")
    sitk.WriteImage(make_non_heart("white noise"), str(scans / "b.nii.gz"))
    command = ["cohort", str(scans), "-o", str(output), *adapt_quickly(small_bundle_folder), "--adapt-on", "2"]
    assert main(command) == 0
    assert read_description(output / "adapted-bundle")["adapted"]["volumes"] == 1
    assert "Volume 2 of those to adapt to was left out: no heart was found" in capsys.readouterr().err
    assert [row["flags"] for row in read_rows(output)][1] == "empty"


def test_a_scheduler_elsewhere_does_the_work(folder, small_bundle_folder, tmp_path) -> None:
    from distributed import LocalCluster

    arguments = ["--bundle", str(small_bundle_folder), "--segment-only", "--match", "b/*"]
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        more = ["--scheduler", cluster.scheduler_address]
        assert main(["cohort", str(folder), "-o", str(tmp_path / "out"), *arguments, *more]) == 0
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


def test_one_of_several_series_in_a_folder_is_segmented(small_bundle_folder, tmp_path) -> None:
    for number, prefix in enumerate("ab"):
        write_dicom(tmp_path / "study" / "Doe^Jane", f"1.2.3.{number}", prefix)
    output = tmp_path / "out"
    assert main(["cohort", str(tmp_path / "study"), "-o", str(output), "--bundle", str(small_bundle_folder)]
                + ["--segment-only", "--threads", "1"]) == 0  # fmt: skip
    assert [row["status"] for row in read_rows(output)] == ["done", "done"]
    assert "Doe" not in strip_pictures((output / "contact-sheet.html").read_text(encoding="utf-8"))


def test_all_workers_together_use_each_core_once() -> None:
    for workers in range(1, 9):
        threads = PoolOptions(workers=workers).share_threads()
        assert threads >= 1 and (threads * workers <= count_cores() or threads == 1)
    assert PoolOptions(scheduler="tcp://127.0.0.1:1").share_threads() == 1


@pytest.mark.parametrize(
    "more, code, word",
    [
        (["--workers", "0"], 2, "--workers"),
        (["--memory-limit", "lots"], 2, "--memory-limit"),
        (["--set", "stepz=3"], 2, "stepz"),
        (["--device", "abacus"], 2, "abacus"),
        (["--adapt-on", "2", "--segment-only"], 2, "--adapt-on"),
        (["--adapt-on", "0"], 2, "--adapt-on"),
        (["--match", "*T2*"], 3, "T2"),
        (["--bundle", "/no/such/bundle"], 4, "No bundle"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(more, code, word, folder, tmp_path, capsys) -> None:
    assert main(["cohort", str(folder), "-o", str(tmp_path / "out"), *more]) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("confuda: ") and word in said[-1]


def test_a_folder_of_other_things_and_a_folder_in_use_are_left_alone(
    folder, cohort, small_bundle_folder, tmp_path, capsys
):
    mine = tmp_path / "segmentations" / "b-heart.seg.nrrd"
    mine.parent.mkdir()
    mine.write_bytes(b"drawn by an expert")
    command = ["cohort", str(folder), *adapt_quickly(small_bundle_folder), "-o"]
    assert main([*command, str(tmp_path)]) == 3
    assert mine.read_bytes() == b"drawn by an expert" and "not empty" in capsys.readouterr().err
    with lock_folder(cohort):
        assert main([*command, str(cohort)]) == 3
    assert "Another cohort" in capsys.readouterr().err


def test_without_dask_the_command_says_what_to_install(folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["cohort", str(folder), "-o", str(tmp_path / "out")]) == 2
    assert "pip install" in capsys.readouterr().err and not (tmp_path / "out").exists()
