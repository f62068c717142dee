"""The module with the true worker: a true process that loads torch, a bundle, and segments."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
SAMPLE = MODULE / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
SHIPPED = MODULE / "Resources" / "Models" / "confuda-acdc" / "bundle.json"
needs_bundle = pytest.mark.skipif(not SHIPPED.is_file(), reason="needs the shipped bundle, which is not in the tree")
pytest.importorskip("torch")


@pytest.fixture
def true_bench(bench):
    bench.worker = None
    return bench


@pytest.fixture
def heart_volume(true_bench, heart, tmp_path):
    import SimpleITK as sitk

    image, _ = heart
    sitk.WriteImage(image, str(tmp_path / "heart.nii.gz"))
    return true_bench.host.loadVolume(tmp_path / "heart.nii.gz")


def test_toy_bundle_from_volume_to_segments(true_bench, heart_volume, small_bundle_folder):
    import slicer

    stages = set()
    node = true_bench.logic.adaptAndSegment(
        heart_volume,
        bundle=str(small_bundle_folder),
        preset="fast",
        settings={"steps": 2},
        preview=True,
        onProgress=lambda progress: stages.add(progress.stage),
    )

    job = true_bench.logic.job
    assert job.state == "finished" and {"adapt", "predict"} <= stages
    for name, millilitres in job.summary["volumes_ml"].items():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, heart_volume)
        assert np.count_nonzero(mask) * 1.5 * 1.5 * 8.0 / 1000 == pytest.approx(millilitres, abs=0.1)


def test_true_worker_is_cancelled_within_two_seconds(true_bench, heart_volume, small_bundle_folder):
    import time

    true_bench.rememberScene()
    job = true_bench.logic.start(heart_volume, bundle=str(small_bundle_folder), preset="thorough")
    true_bench.run(lambda: job.progress is not None and job.progress.stage == "adapt", seconds=120)
    begin = time.monotonic()
    job.cancel()
    true_bench.run(lambda: not job.isRunning, seconds=3)

    assert time.monotonic() - begin < 2.0 and job.state == "cancelled"
    true_bench.assertSceneUnchanged()
    true_bench.assertNothingLeft()


@needs_bundle
@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs the bundled sample volume, which is not in the tree")
def test_sample_with_the_shipped_bundle_from_the_panel(true_bench):
    true_bench.host.loadVolume(SAMPLE)
    true_bench.panel._parameters.preset = "fast"
    true_bench.panel._parameters.method = "none"

    job = true_bench.runFromPanel(seconds=300)

    assert job.state == "finished", job.report()
    assert all(value > 10 for value in job.summary["volumes_ml"].values())
    assert "Done" in true_bench.ui.statusLabel.text()


def test_self_test(bench, monkeypatch):
    """ConFUDASegmentTest as Slicer runs it; with the scripted worker instead of minutes of adaptation."""
    from ConFUDASegmentLib import selftest

    monkeypatch.setattr(selftest.os.path, "isfile", lambda path: False)
    test = sys.modules["ConFUDASegment"].ConFUDASegmentTest()
    test.runTest()
    ran = selftest.runSelfTest(bench.logic, str(MODULE / "Resources"))
    assert ran == ["badInput", "segments"]


def test_self_tests_true_cases(bench):
    from ConFUDASegmentLib import selftest

    # The scripted worker finds in any grey value what it is: the sample's are all above 150, or below 50.
    with pytest.raises(AssertionError, match="implausible volumes"):
        selftest.checkRun(bench.logic, str(SAMPLE))()
    bench.clear()
    bench.worker = "slow"
    selftest.checkCancel(bench.logic, str(SAMPLE))()


INSTALLED_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from Testing.host import start
folder = Path({folder!r})
host = start(folder)
widget = host.loadModule(folder)
import ConFUDASegmentLib, confuda
assert Path(ConFUDASegmentLib.__file__).parent.parent == folder, ConFUDASegmentLib.__file__
assert Path(confuda.__file__).parent.parent == folder, confuda.__file__
from Testing.host import phantom
volume = phantom.addVolume()
try:
    node = widget.logic.adaptAndSegment(volume, method="none")
    print("RESULT", node.GetSegmentation().GetNumberOfSegments())
except RuntimeError as error:
    print("RESULT", type(error).__name__, error.code, error)
    print(error.details)
host.unloadModule()
"""


def test_installed_folder_with_spaces_and_other_letters(tmp_path, host):
    """As Slicer lays it out, somewhere else, read-only: nothing needs the repository and nothing is written there."""
    folder = tmp_path / "Slicer 5.12 Prüfung Ж" / "lib" / "qt-scripted-modules"
    ignored = shutil.ignore_patterns("__pycache__", ".ruff_cache", "CMakeLists.txt")
    shutil.copytree(MODULE, folder, ignore=ignored)
    before = sorted(folder.rglob("*"))
    for path in [folder, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", INSTALLED_RUN.format(repository=str(MODULE.parent), folder=str(folder))],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
        )
        result = answer.stdout.partition("RESULT")[2].strip()
        # Without the shipped bundle the true worker says so (code 4): it was found and ran all the same. With it, the
        # phantom, which is no heart image, may give segments or a refusal in a sentence.
        assert result.startswith(("3", "JobFailedError 4")), answer.stdout + answer.stderr
        assert sorted(folder.rglob("*")) == before
    finally:
        for path in [folder, *before]:
            path.chmod(0o755 if path.is_dir() else 0o644)
