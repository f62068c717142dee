"""The commands as a user types them: what they write, say and return."""

import functools
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.app.cli import main
from confuda.bundle.format import SHIPPED_BUNDLE


def run(*arguments, stdout=subprocess.PIPE) -> subprocess.CompletedProcess:
    package = Path(__file__).resolve().parents[2] / "ConFUDASegment"
    return subprocess.run(
        [sys.executable, "-m", "confuda", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        timeout=600,
    )


@pytest.fixture(scope="module")
def volume(heart, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("volumes") / "heart.nii.gz"
    sitk.WriteImage(heart[0], str(path))
    return path


def test_adapt_writes_segments_on_the_volumes_grid_and_tells_in_json(volume, small_bundle_folder, tmp_path) -> None:
    output = tmp_path / "out.seg.nrrd"
    result = run("adapt", volume, "-o", output, "--bundle", small_bundle_folder, "--set", "steps=3", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert {
        "output",
        "mode",
        "method",
        "device",
        "steps",
        "seconds",
        "peak_memory_mb",
        "volumes_ml",
        "accepted",
        "warnings",
    } <= set(summary)
    assert set(summary["seconds"]) == {"load", "adapt", "predict", "total"}
    assert summary["steps"] == 3 and summary["method"] == "confuda" and summary["mode"] == "few-shot"
    labels, source = sitk.ReadImage(str(output)), sitk.ReadImage(str(volume))
    assert labels.GetSize() == source.GetSize()
    np.testing.assert_allclose(labels.GetOrigin(), source.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(labels.GetSpacing(), source.GetSpacing(), atol=1e-4)
    names = {labels.GetMetaData(f"Segment{k}_Name") for k in range(3)}
    assert names == {"Myocardium", "Left ventricle", "Right ventricle"}
    voxel_ml = np.prod(source.GetSpacing()) / 1000
    voxels = sitk.GetArrayFromImage(labels)
    for label, name in ((1, "MYO"), (2, "LV"), (3, "RV")):
        assert summary["volumes_ml"][name] == pytest.approx((voxels == label).sum() * voxel_ml, abs=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["out.seg.nrrd"]


@pytest.mark.parametrize("extra", [["--slice", "2"], ["--slice", "auto"], []])
def test_one_shot_segments_all_slices(volume, small_bundle_folder, tmp_path, extra, capsys) -> None:
    output = tmp_path / "out.nii.gz"
    code = main(
        ["adapt", str(volume), "-o", str(output), "--bundle", str(small_bundle_folder), "--mode", "one-shot"]
        + ["--set", "steps=2", "--json", *extra]
    )
    assert code == 0
    assert json.loads(capsys.readouterr().out)["mode"] == "one-shot"
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(output))).any(axis=(1, 2)).all()


def test_adapted_bundle_segments_other_volumes(volume, small_bundle_folder, tmp_path, capsys) -> None:
    adapted = tmp_path / "adapted"
    code = main(
        ["adapt", str(volume), "-o", str(tmp_path / "a.nii.gz"), "--bundle", str(small_bundle_folder)]
        + ["--set", "steps=2", "--save-bundle", str(adapted)]
    )
    assert code == 0
    assert main(["bundle", "verify", str(adapted)]) == 0
    assert main(["segment", str(volume), "-o", str(tmp_path / "all"), "--bundle", str(adapted)]) == 0
    assert (tmp_path / "all" / "heart.seg.nrrd").exists()
    # Weights travel in float16, so a voxel on an edge may change its mind, and no more.
    direct = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "all" / "heart.seg.nrrd")))
    assert (direct != again).mean() < 0.005


def test_method_none_takes_no_step(volume, small_bundle_folder, tmp_path, capsys) -> None:
    assert (
        main(
            ["adapt", str(volume), "-o", str(tmp_path / "a.nii.gz"), "--bundle", str(small_bundle_folder)]
            + ["--method", "none", "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["steps"] == 0


def test_evaluate_says_what_was_scored(heart, tmp_path, capsys) -> None:
    path = tmp_path / "truth.nii.gz"
    sitk.WriteImage(heart[1], str(path))
    assert main(["evaluate", str(path), str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["average"]["dice"] == 1
    assert main(["evaluate", str(path), str(path)]) == 0
    assert "HD95 mm" in capsys.readouterr().out


def write(path: Path, voxels: np.ndarray, spacing=None) -> Path:
    image = sitk.GetImageFromArray(voxels)
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def make_text(folder: Path) -> Path:
    path = folder / "notes.nii.gz"
    path.write_text("not an image")
    return path


def make_archive(folder: Path) -> Path:
    """A study as a scanner hands it out."""
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        archive.writestr("DICOM/IM000001", bytes(1000))
    return folder / "study.zip"


def make_cine(folder: Path) -> Path:
    frames = [sitk.GetImageFromArray(np.random.rand(4, 16, 16).astype(np.float32)) for _ in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(folder / "cine.nii.gz"))
    return folder / "cine.nii.gz"


REFUSED = {
    "missing": (lambda folder: folder / "nothing.nii.gz", "nothing.nii.gz"),
    "text": (make_text, "not an image"),
    "a zip": (make_archive, "unpack it"),
    "2-D": (lambda folder: write(folder / "flat.nrrd", np.random.rand(32, 32).astype(np.float32)), "2-D"),
    "4-D": (make_cine, "3"),
    "all zero": (lambda folder: write(folder / "zero.nrrd", np.zeros((4, 32, 32), np.float32)), "zero.nrrd"),
    "all NaN": (lambda folder: write(folder / "nan.nrrd", np.full((4, 32, 32), np.nan, np.float32)), "nan.nrrd"),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_unusable_input_gets_one_sentence_and_code_3(kind, small_bundle_folder, tmp_path, capfd) -> None:
    make, word = REFUSED[kind]
    (tmp_path / "in").mkdir()
    output = tmp_path / "out.seg.nrrd"
    code = main(["adapt", str(make(tmp_path / "in")), "-o", str(output), "--bundle", str(small_bundle_folder)])
    assert code == 3
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("confuda:")]
    assert len(said) == 1 and word in said[0]
    assert not output.exists()


def test_nans_in_a_volume_are_told_and_survived(heart, small_bundle_folder, tmp_path, capsys) -> None:
    voxels = sitk.GetArrayFromImage(heart[0])
    voxels[0, :5, :5] = np.nan
    path = write(tmp_path / "some.nrrd", voxels, heart[0].GetSpacing())
    code = main(
        ["adapt", str(path), "-o", str(tmp_path / "o.nii.gz"), "--bundle", str(small_bundle_folder)]
        + ["--set", "steps=2", "--json"]
    )
    assert code == 0
    assert json.loads(capsys.readouterr().out)["warnings"]


def test_one_slice_is_a_volume_too(heart, small_bundle_folder, tmp_path) -> None:
    path = write(tmp_path / "one.nrrd", sitk.GetArrayFromImage(heart[0])[2:3], heart[0].GetSpacing())
    for mode in ("one-shot", "few-shot"):
        output = tmp_path / f"{mode}.nii.gz"
        code = main(
            ["adapt", str(path), "-o", str(output), "--bundle", str(small_bundle_folder), "--mode", mode]
            + ["--set", "steps=2"]
        )
        assert code == 0
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(output))).any()


def test_no_heart_gives_a_warning_and_empty_segments(small_bundle_folder, tmp_path, capsys) -> None:
    noise = np.random.default_rng(0).normal(100, 1, (4, 64, 64)).astype(np.float32)
    path = write(tmp_path / "noise.nrrd", noise, (1.5, 1.5, 8.0))
    output = tmp_path / "o.seg.nrrd"
    assert main(["adapt", str(path), "-o", str(output), "--bundle", str(small_bundle_folder), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    if not summary["volumes_ml"]["LV"]:
        assert summary["warnings"]


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["adapt"], 2),
        (["adapt", "VOLUME", "-o", "OUT", "--mode", "many-shot"], 2),
        (["adapt", "VOLUME", "-o", "out.txt"], 2),
        (["adapt", "VOLUME", "-o", "OUT", "--slice", "2"], 2),
        (["adapt", "VOLUME", "-o", "OUT", "--set", "stepz=2"], 2),
        (["adapt", "VOLUME", "-o", "OUT", "--device", "abacus"], 2),
        (["adapt", "VOLUME", "-o", "OUT", "--mode", "one-shot", "--slice", "99"], 3),
        (["adapt", "VOLUME", "-o", "OUT", "--center", "9999,3"], 3),
        (["adapt", "VOLUME", "-o", "/no/such/folder/out.nii.gz", "--set", "steps=1"], 3),
        (["adapt", "VOLUME", "-o", "OUT", "--bundle", "/no/such/bundle"], 4),
    ],
)
def test_exit_codes(arguments, code, volume, small_bundle_folder, tmp_path, capsys) -> None:
    output = tmp_path / "out.nii.gz"
    filled = [{"VOLUME": str(volume), "OUT": str(output)}.get(argument, argument) for argument in arguments]
    if "--bundle" not in filled and len(filled) > 1:
        filled += ["--bundle", str(small_bundle_folder)]
    try:
        seen = main(filled)
    except SystemExit as stop:
        seen = stop.code
    assert seen == code
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("confuda")
    assert not output.exists()


def test_an_interrupted_run_leaves_the_earlier_output_alone(volume, small_bundle_folder, tmp_path) -> None:
    output = tmp_path / "out.nii.gz"
    output.write_bytes(b"earlier")
    package = Path(__file__).resolve().parents[2] / "ConFUDASegment"
    process = subprocess.Popen(
        [sys.executable, "-m", "confuda", "adapt", str(volume), "-o", str(output)]
        + ["--bundle", str(small_bundle_folder), "--set", "steps=100000"],
        env={"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("adapt"):
            break
    time.sleep(0.2)
    process.terminate()
    assert process.wait(timeout=600) == 130
    process.stderr.close()
    assert output.read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["out.nii.gz"]


def test_the_volume_itself_is_never_overwritten(volume, small_bundle_folder, capsys) -> None:
    before = volume.read_bytes()
    assert main(["adapt", str(volume), "-o", str(volume), "--bundle", str(small_bundle_folder)]) == 2
    assert volume.read_bytes() == before


def test_help_and_version_need_no_torch() -> None:
    program = (
        "import sys; from confuda.app.options import build_parser; build_parser(); sys.exit('torch' in sys.modules)"
    )
    package = Path(__file__).resolve().parents[2] / "ConFUDASegment"
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(package)}).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
@pytest.mark.parametrize("arguments, code", [(["--help"], 3), (["adapt", "--help"], 3), (["--version"], 3), ([], 2)])
def test_help_that_cannot_be_printed_is_told(arguments, code) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = run(*arguments, stdout=full)
    assert result.returncode == code
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr
    assert ("confuda: The results cannot be printed: No space left on device." in result.stderr) == (code == 3)


@pytest.mark.parametrize(
    "command, code",
    [
        (["adapt", "PATH.nrrd", "-o", "out.nrrd"], 3),
        (["adapt", "SAMPLE", "-o", "PATH/out.nrrd"], 3),
        (["adapt", "SAMPLE", "-o", "out.nrrd", "--report", "PATH"], 3),
        (["adapt", "SAMPLE", "-o", "out.nrrd", "--uncertainty", "PATH/u.nrrd"], 3),
        (["adapt", "SAMPLE", "-o", "out.nrrd", "--save-bundle", "PATH"], 3),
        (["adapt", "SAMPLE", "-o", "out.nrrd", "--bundle", "PATH"], 4),
        (["segment", "SAMPLE", "-o", "PATH", "--bundle", "BUNDLE"], 3),
        (["cohort", "PATH", "-o", "out"], 3),
        (["evaluate", "PATH.nrrd", "PATH.nrrd"], 3),
        (["train", "segmenter", "--data", "PATH", "-o", "out"], 3),
        (["bundle", "verify", "PATH"], 4),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else str(part),
)
def test_a_path_longer_than_the_system_takes_is_refused(command, code, volume, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    stand = {"PATH": "/".join(["x" * 200] * 30), "SAMPLE": str(volume), "BUNDLE": str(SHIPPED_BUNDLE)}
    words = [functools.reduce(lambda word, name: word.replace(name, stand[name]), stand, word) for word in command]
    assert main(words) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("confuda: ") and "unexpected" not in said[-1]
    assert not list(tmp_path.iterdir())
