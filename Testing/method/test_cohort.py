"""A folder of volumes over night: found, segmented, tabled and drawn; what is killed goes on where it was."""

import json
import re
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.method.toy_cohort import PATIENT, adapt_quickly, read_rows, strip_pictures, write_heart
from Testing.torture.non_hearts import make_non_heart

pytest.importorskip("distributed", reason="needs dask and distributed")

from confuda.app.cli import main
from confuda.bundle.description import read_description
from confuda.bundle.format import load_bundle
from confuda.cohort.command import LOCK_NAME
from confuda.io.lock import hold_lock


@pytest.fixture(scope="module")
def cohort(scanner_folder, small_bundle_folder, tmp_path_factory) -> Path:
    """The output of one run over ``scanner_folder``, two adaptation steps a volume."""
    output = tmp_path_factory.mktemp("results") / "out"
    assert main(["cohort", str(scanner_folder), "-o", str(output), *adapt_quickly(small_bundle_folder)]) == 1
    return output


@pytest.mark.slow
def test_each_volume_is_segmented_as_by_confuda_adapt(cohort, scanner_folder, small_bundle_folder, tmp_path) -> None:
    alone = tmp_path / "alone.seg.nrrd"
    more = ["--bundle", str(small_bundle_folder), "--set", "steps=2"]
    assert main(["adapt", str(scanner_folder / "b" / "heart.nrrd"), "-o", str(alone), *more]) == 0
    here, there = (sitk.ReadImage(str(path)) for path in (cohort / "segmentations" / "b-heart.seg.nrrd", alone))
    differing = sitk.GetArrayFromImage(here) != sitk.GetArrayFromImage(there)
    assert differing.mean() < 0.002  # The number of threads may change the last bits.
    assert here.GetMetaData("Segment0_Name") == "Myocardium"


@pytest.mark.slow
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


@pytest.mark.slow
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

    files = CaseFiles(tmp_path / "heart.seg.nrrd", tmp_path / "heart.png", tmp_path / "heart.json")
    assert _draw_picture(heart[0], heart[1], files)
    with_labels = files.picture.read_bytes()
    assert _draw_picture(heart[0], heart[1] * 0, files)
    assert with_labels != files.picture.read_bytes() and len(with_labels) < 150_000
    empty = sitk.GetArrayFromImage(sitk.ReadImage(str(files.picture))).astype(int)
    rows = 5 * empty.shape[0] // 6
    assert not ((empty[:rows, :, 0] - empty[:rows, :, 2]) > 60).any()


@pytest.mark.slow
def test_a_second_run_does_only_what_is_missing_or_changed(cohort, scanner_folder, small_bundle_folder, capsys) -> None:
    times = {path.name: path.stat().st_mtime_ns for path in (cohort / "segmentations").iterdir()}
    command = ["cohort", str(scanner_folder), "-o", str(cohort), *adapt_quickly(small_bundle_folder)]
    (scanner_folder / "b" / "heart.nrrd").touch()
    assert main(command) == 1
    assert "1 were done before and are kept" in capsys.readouterr().err
    again = {path.name: path.stat().st_mtime_ns for path in (cohort / "segmentations").iterdir()}
    assert [name for name in times if times[name] != again[name]] == ["b-heart.seg.nrrd"]
    (cohort / "segmentations" / f"{PATIENT}.seg.nrrd").write_bytes(b"torn")
    assert main([*command, "--segment-only"]) == 1
    assert "done before" not in capsys.readouterr().err
    assert json.loads((cohort / "cases" / "b-heart.json").read_text())["summary"]["method"] == "none"
    assert {row["status"] for row in read_rows(cohort)} == {"done", "failed"}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_volume_without_a_heart_is_not_adapted_to(small_bundle_folder, tmp_path, capsys) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    write_heart(scans / "a.nii.gz")
    sitk.WriteImage(make_non_heart("white noise"), str(scans / "b.nii.gz"))
    command = ["cohort", str(scans), "-o", str(output), *adapt_quickly(small_bundle_folder), "--adapt-on", "2"]
    assert main(command) == 0
    assert read_description(output / "adapted-bundle")["adapted"]["volumes"] == 1
    assert "Volume 2 of those to adapt to was left out: no heart was found" in capsys.readouterr().err
    assert [row["flags"] for row in read_rows(output)][1] == "empty"


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
def test_what_cannot_be_is_refused_in_one_sentence(more, code, word, scanner_folder, tmp_path, capsys) -> None:
    assert main(["cohort", str(scanner_folder), "-o", str(tmp_path / "out"), *more]) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("confuda: ") and word in said[-1]


@pytest.mark.slow
def test_a_folder_of_other_things_and_a_folder_in_use_are_left_alone(
    scanner_folder, cohort, small_bundle_folder, tmp_path, capsys
):
    mine = tmp_path / "segmentations" / "b-heart.seg.nrrd"
    mine.parent.mkdir()
    mine.write_bytes(b"drawn by an expert")
    command = ["cohort", str(scanner_folder), *adapt_quickly(small_bundle_folder), "-o"]
    assert main([*command, str(tmp_path)]) == 3
    assert mine.read_bytes() == b"drawn by an expert" and "not empty" in capsys.readouterr().err
    with hold_lock(cohort / LOCK_NAME):
        assert main([*command, str(cohort)]) == 3
    assert "Another cohort" in capsys.readouterr().err


def test_without_dask_the_command_says_what_to_install(scanner_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["cohort", str(scanner_folder), "-o", str(tmp_path / "out")]) == 2
    assert "pip install" in capsys.readouterr().err and not (tmp_path / "out").exists()
