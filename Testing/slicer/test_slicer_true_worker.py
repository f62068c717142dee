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
SAMPLE_CINE = SAMPLE.with_name("SimulatedCine.seq.nrrd")
SHIPPED = MODULE / "Resources" / "Models" / "confuda-acdc" / "bundle.json"
needs_bundle = pytest.mark.skipif(
    not (SHIPPED.is_file() and SAMPLE.is_file()),
    reason="needs the shipped bundle and sample, not in this tree",
)
pytest.importorskip("torch")


@pytest.fixture
def true_bench(bench):
    bench.worker = None
    return bench


@needs_bundle
@pytest.mark.slow
def test_sample_with_the_shipped_bundle(true_bench):
    """Few steps, then all slices: every stage of a true run, its preview, and volumes that agree with the segments."""
    import slicer

    volume = true_bench.host.loadVolume(SAMPLE)
    voxel = np.prod(volume.GetSpacing()) / 1000
    stages, previews = set(), []
    job = true_bench.logic.start(
        volume,
        settings={"steps": 2, "strength": 1.0},
        preview=True,
        onProgress=lambda progress: stages.add(progress.stage),
    )
    job.previewed.connect(lambda node: previews.append(node.GetName()))
    node = job.wait(300)

    assert {"adapt", "predict"} <= stages
    for name, millilitres in job.summary["volumes_ml"].items():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, volume)
        assert np.count_nonzero(mask) * voxel == pytest.approx(millilitres, abs=0.1)
        assert millilitres > 10


@needs_bundle
@pytest.mark.slow
def test_sample_cine_with_the_shipped_bundle(true_bench):
    """Its first frames, without adaptation: volumes by frame agree with the segments, and the wall was measured."""
    import slicer

    volume = true_bench.host.loadSequence(SAMPLE_CINE)
    browser = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    sequence = browser.GetMasterSequenceNode()
    while sequence.GetNumberOfDataNodes() > 2:
        sequence.RemoveDataNodeAtValue(sequence.GetNthIndexValue(2))
    voxel = np.prod(volume.GetSpacing()) / 1000
    node = true_bench.logic.adaptAndSegment(volume, method="none", frames="all", wall=True)

    function = true_bench.logic.job.summary["function"]
    for number, millilitres in enumerate(function["lv_volume_ml"]):
        browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LV", volume)
        assert np.count_nonzero(mask) * voxel == pytest.approx(millilitres, abs=0.1)
    assert min(function["lv_volume_ml"]) > 10
    assert true_bench.logic.job.summary["wall"]["segments"]


@needs_bundle
def test_true_worker_is_cancelled(true_bench):
    volume = true_bench.host.loadVolume(SAMPLE)
    true_bench.rememberScene()
    job = true_bench.logic.start(volume, preset="thorough")
    true_bench.run(lambda: job.progress is not None and job.progress.stage == "adapt", seconds=600)
    job.cancel()
    true_bench.run(lambda: not job.isRunning, seconds=600)

    assert job.state == "cancelled"
    true_bench.assertSceneUnchanged()
    true_bench.assertNothingLeft()


def test_self_test(bench, monkeypatch):
    """ConFUDASegmentTest as Slicer runs it; with the scripted worker instead of minutes of adaptation."""
    module = sys.modules["ConFUDASegment"]
    monkeypatch.setattr(module.os.path, "isfile", lambda path: False)
    test = module.ConFUDASegmentTest()
    test.runTest()
    assert test.runCases(bench.logic) == ["checkBadInput", "checkSegments"]


@pytest.mark.slow
def test_self_tests_true_cases(bench, phantom, tmp_path):
    """The cases with a run, here with the scripted worker."""
    from ConFUDASegmentLib.scene_in import exportVolume

    test = sys.modules["ConFUDASegment"].ConFUDASegmentTest()

    sample = str(tmp_path / "phantom.nrrd")
    exportVolume(phantom.addVolume(), sample)
    bench.clear()
    test.checkRun(bench.logic, sample)
    bench.clear()
    bench.worker = "slow"
    test.checkCancel(bench.logic, sample)


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
volume = host.loadVolume({sample!r})
try:
    node = widget.logic.adaptAndSegment(volume, method="none")
    print("RESULT", node.GetSegmentation().GetNumberOfSegments())
except RuntimeError as error:
    print("RESULT", type(error).__name__, error.code, error)
    print(error.details)
host.unloadModule()
"""


@pytest.mark.slow
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
            [
                sys.executable,
                "-c",
                INSTALLED_RUN.format(repository=str(MODULE.parent), folder=str(folder), sample=str(SAMPLE)),
            ],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        result = answer.stdout.partition("RESULT")[2].strip()
        # Without the shipped bundle the true worker says so (code 4): it was found and ran all the same.
        assert result.startswith(("3", "JobFailedError 4")), answer.stdout + answer.stderr
        assert sorted(folder.rglob("*")) == before
    finally:
        for path in [folder, *before]:
            path.chmod(0o755 if path.is_dir() else 0o644)
