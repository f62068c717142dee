"""What may go wrong in the middle of a run, from the panel: a clear sentence, a clean scene, nothing left behind."""

import os
import signal
import sys

import pytest


@pytest.fixture
def started(bench, phantom):
    """A run in its middle."""
    bench.volume = phantom.addVolume()
    bench.rememberScene()
    bench.worker = "slow"
    bench.press(bench.ui.applyButton)
    bench.job = bench.logic.job
    bench.run(lambda: bench.job.progress is not None and bench.job.progress.step > 2)
    return bench


def test_cancel(started):
    started.press(started.ui.applyButton)
    assert started.ui.applyButton.text() == "Cancelling…" and not started.ui.applyButton.isEnabled()
    started.run(lambda: not started.job.isRunning, seconds=30)

    assert started.job.state == "cancelled"
    assert "Cancelled" in started.ui.statusLabel.text()
    started.assertSceneUnchanged()
    started.assertNothingLeft()


def test_cancel_of_a_worker_that_does_not_listen(bench, phantom):
    phantom.addVolume()
    bench.rememberScene()
    bench.worker = "stubborn"
    bench.press(bench.ui.applyButton)
    job = bench.logic.job
    bench.run(lambda: job.progress is not None)
    bench.press(bench.ui.applyButton)
    bench.run(lambda: not job.isRunning)

    assert job.state == "cancelled"
    bench.assertSceneUnchanged()
    bench.assertNothingLeft()


def test_worker_killed_from_outside(started):
    os.kill(started.job.workerPid, signal.SIGKILL)
    started.run(lambda: not started.job.isRunning)

    assert started.job.state == "failed"
    assert "memory" in started.ui.statusLabel.text()
    started.assertSceneUnchanged()
    started.assertNothingLeft()


def test_a_crash_tells_what_to_do(bench, phantom):
    phantom.addVolume()
    bench.worker = "crash"
    bench.runFromPanel()
    assert "copy the details" in bench.ui.statusLabel.text() and bench.ui.copyButton.isVisibleTo(
        bench.ui.copyButton.parentWidget()
    )


@pytest.mark.parametrize(
    "worker, says",
    [
        ("crash", "stopped unexpectedly"),
        ("killed", "stopped unexpectedly"),
        ("early-crash", "stopped unexpectedly"),
        ("silent-end", "stopped unexpectedly"),
        ("memory", "Not enough memory"),
        ("no-file", "can't be read"),
        ("wrong-grid", "does not lie on the volume's grid"),
        ("bad-summary", "lacks the volumes"),
    ],
)
def test_bad_workers(bench, phantom, worker, says):
    phantom.addVolume()
    bench.rememberScene()
    bench.worker = worker

    job = bench.runFromPanel()

    assert job.state == "failed"
    assert says in bench.ui.statusLabel.text()
    assert bench.ui.applyButton.isEnabled() and bench.ui.applyButton.text() == "&Adapt && Segment"
    bench.assertSceneUnchanged()
    bench.assertNothingLeft()


def test_crash_details_are_kept_and_copied(bench, phantom):
    from PySide6 import QtWidgets

    phantom.addVolume(name="Jane Doe 1970")
    bench.worker = "crash"
    bench.runFromPanel()

    text = bench.ui.detailsText.toPlainText()
    assert "RuntimeError: broken in the middle" in text and "Slicer" in text
    assert "Jane" not in text and str(bench.host.temporaryPath) not in text
    bench.ui.detailsButton.setProperty("collapsed", False)
    bench.press(bench.ui.copyButton)
    assert QtWidgets.QApplication.clipboard().text() == text


def test_garbage_is_survived(bench, phantom):
    phantom.addVolume()
    bench.worker = "garbage"

    job = bench.runFromPanel()

    assert job.state == "finished"
    assert len(job.report()) < 30000


def test_worker_that_does_not_exit_after_its_result(bench, phantom, monkeypatch):
    from ConFUDASegmentLib import job as jobModule

    monkeypatch.setattr(jobModule, "FINISH_GRACE_SECONDS", 0.3)
    phantom.addVolume()
    bench.worker = "lingers"

    assert bench.runFromPanel().state == "finished"
    bench.assertNothingLeft()


def test_output_removed_in_the_middle(bench, phantom):
    import slicer

    phantom.addVolume()
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    bench.ui.outputSelector.setCurrentNode(chosen)
    bench.worker = "succeed"
    bench.press(bench.ui.applyButton)
    job = bench.logic.job
    slicer.mrmlScene.RemoveNode(chosen)
    bench.run(lambda: not job.isRunning)

    assert job.state == "finished"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert "output was removed" in bench.ui.statusLabel.text()


def test_volume_removed_in_the_middle(started):
    import slicer

    slicer.mrmlScene.RemoveNode(started.volume)

    assert started.job.state == "cancelled"
    assert "volume was removed" in started.ui.statusLabel.text()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert not started.ui.applyButton.isEnabled()
    started.assertNothingLeft()


def test_preview_removed_in_the_middle(started):
    import slicer

    started.run(lambda: slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is not None)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
    last = started.job.progress
    started.run(lambda: started.job.progress is not last)

    assert started.job.state == "running"
    started.job.cancel()
    started.run(lambda: not started.job.isRunning)
    started.assertSceneUnchanged()


def test_scene_closed_in_the_middle(started):
    import slicer

    slicer.mrmlScene.Clear(0)

    assert started.job.state == "cancelled"
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode") is None
    started.assertNothingLeft()
    assert not started.ui.applyButton.isEnabled()
    assert started.widget.panel._parameters is not None  # ready for the next scene


def test_slicer_quits_in_the_middle(started):
    started.host.app.emit("aboutToQuit()")

    assert started.job.state == "cancelled"
    started.assertNothingLeft()


@pytest.fixture
def modules_put_back():
    """A reload makes all classes anew, which other tests of this process have imported already."""
    packages = ("confuda", "ConFUDASegmentLib", "ConFUDASegment")

    def ours():
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] in packages}

    former = ours()
    yield
    for name in ours():
        del sys.modules[name]
    sys.modules.update(former)


def test_module_reloaded_in_the_middle(started, modules_put_back):
    job = started.job
    started.widget.onReload()

    assert job.state == "cancelled"
    started.assertNothingLeft()
    renewed = started.host.loadModule()
    assert renewed is not started.widget
    assert renewed.panel.ui.applyButton.isEnabled()


def test_only_one_run_at_a_time(started):
    with pytest.raises(RuntimeError, match="running already"):
        started.logic.start(started.volume)
    assert started.job.isRunning


def test_listener_that_fails_does_not_stop_the_run(bench, phantom):
    def fail(progress):
        raise ValueError("a user's callback")

    volume = phantom.addVolume()
    assert bench.logic.adaptAndSegment(volume, onProgress=fail) is not None


def test_disk_full_at_export(bench, phantom, monkeypatch):
    from ConFUDASegmentLib import job as jobModule

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    phantom.addVolume()
    bench.rememberScene()
    monkeypatch.setattr(jobModule, "exportVolume", refuse)
    bench.press(bench.ui.applyButton)

    assert "could not be started" in bench.ui.statusLabel.text()
    bench.assertSceneUnchanged()
    bench.assertNothingLeft()


def test_failure_while_writing_segments_restores_the_scene(bench, phantom, monkeypatch):
    import slicer

    from ConFUDASegmentLib import scene_out

    phantom.addVolume()
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    chosen.CreateDefaultDisplayNodes()
    chosen.GetSegmentation().AddEmptySegment("mine", "Mine", [1, 0, 0])
    bench.ui.outputSelector.setCurrentNode(chosen)
    bench.ui.previewCheck.setChecked(False)
    bench.rememberScene()

    def fail(node, structure):
        node.GetSegmentation().RemoveAllSegments()
        raise RuntimeError("broken")

    monkeypatch.setattr(scene_out, "declareSegment", fail)
    job = bench.runFromPanel()

    assert job.state == "failed"
    assert chosen.GetSegmentation().GetSegment("mine") is not None
    bench.assertSceneUnchanged()
