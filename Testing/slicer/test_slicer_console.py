"""The console API, through the door that users take: slicer.util.getModuleLogic."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def logic(bench):
    import slicer

    found = slicer.util.getModuleLogic("ConFUDASegment")
    assert found is bench.logic
    return found


def test_adapt_and_segment(logic, phantom):
    import slicer

    array = phantom.makeArray()
    volume = phantom.addVolume(array)

    segmentationNode = logic.adaptAndSegment(volume)

    for name, grey in phantom.GREY.items():
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, name, volume)
        assert np.array_equal(found > 0, array == grey)


def test_start_progress_wait(logic, phantom):
    lines = []
    job = logic.start(phantom.addVolume(), mode="few-shot", onProgress=lambda progress: lines.append(str(progress)))
    assert job.state == "running"
    node = job.wait()

    assert job.state == "finished" and job.segmentationNode is node
    assert any(line.startswith("adapt 4/20") and "contrast" in line for line in lines)
    assert job.request.mode == "few-shot"
    assert job.summary["volumes_ml"]["LV"] > 0


def test_cancel_and_wait(bench, logic, phantom):
    from ConFUDASegmentLib.errors import JobCancelledError

    volume = phantom.addVolume()
    bench.rememberScene()
    bench.worker = "slow"
    job = logic.start(volume)
    bench.run(lambda: job.progress is not None)
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(30)

    bench.assertSceneUnchanged()


def test_cancel_before_the_first_event(bench, logic, phantom):
    bench.worker = "hang"
    job = logic.start(phantom.addVolume())
    job.cancel()
    with pytest.raises(RuntimeError, match="Cancelled"):
        job.wait()


def test_wait_with_a_limit(bench, logic, phantom):
    bench.worker = "slow"
    job = logic.start(phantom.addVolume())
    with pytest.raises(TimeoutError):
        job.wait(0.1)
    assert job.isRunning
    job.cancel()


def test_failure_is_raised(bench, logic, phantom):
    from ConFUDASegmentLib.errors import JobFailedError

    bench.worker = "memory"
    with pytest.raises(JobFailedError, match="Not enough memory") as caught:
        logic.adaptAndSegment(phantom.addVolume())
    assert caught.value.code == 5


def test_panel_shows_a_job_of_the_console(bench, logic, phantom):
    bench.widget.parent.show()
    bench.worker = "slow"
    job = logic.start(phantom.addVolume())
    assert bench.ui.applyButton.text() == "&Cancel"
    bench.press(bench.ui.applyButton)
    bench.run(lambda: not job.isRunning)
    assert job.state == "cancelled"


@pytest.mark.parametrize(
    "options, says",
    [
        ({"mode": "zero-shot"}, "Unknown mode"),
        ({"method": "magic"}, "Unknown method"),
        ({"preset": "instant"}, "Unknown preset"),
        ({"slice": 6}, "slices 0 to 5"),
        ({"slice": -1}, "slices 0 to 5"),
        ({"settings": {"no_such": 1}}, "Unknown setting"),
        ({"settings": {"temperature": 0}}, "greater than 0"),
        ({"bundle": "/nowhere"}, "no bundle.json"),
        ({"frames": "all"}, "no frame of a sequence"),
        ({"frames": 3}, "the current one"),
        ({"scar": "much"}, "scar"),
    ],
)
def test_wrong_options_are_one_sentence(bench, logic, phantom, options, says):
    volume = phantom.addVolume()
    bench.rememberScene()
    with pytest.raises(RuntimeError, match=says):
        logic.start(volume, **options)
    bench.assertSceneUnchanged()
    bench.assertNothingLeft()


def test_unusable_inputs(bench, logic, phantom):
    import slicer

    def add(className, array=None):
        node = slicer.mrmlScene.AddNewNodeByClass(className)
        if array is not None:
            slicer.util.updateVolumeFromArray(node, array)
        return node

    cases = [
        (None, "Choose a volume"),
        (add("vtkMRMLTableNode"), "not a volume"),
        (add("vtkMRMLScalarVolumeNode"), "no image data"),
        (add("vtkMRMLLabelMapVolumeNode", np.zeros((2, 3, 4), np.int16)), "label map"),
        (add("vtkMRMLVectorVolumeNode", np.zeros((2, 3, 4, 3), np.uint8)), "several values"),
    ]
    bench.rememberScene()
    for volume, says in cases:
        with pytest.raises(RuntimeError, match=says):
            logic.start(volume)
    bench.assertSceneUnchanged()
    assert bench.processes == []


def test_unusable_outputs_are_refused_before_anything_is_computed(bench, logic, phantom):
    import slicer

    volume = phantom.addVolume()
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    surfaces = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    surfaces.GetSegmentation().SetSourceRepresentationName("Closed surface")
    removed = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    slicer.mrmlScene.RemoveNode(removed)
    bench.rememberScene()
    refused = (
        (labels, "not a segmentation"),
        (surfaces, "make Binary labelmap its source"),
        (removed, "no longer in the scene"),
    )
    for output, says in refused:
        with pytest.raises(RuntimeError, match=says):
            logic.start(volume, output)
    bench.assertSceneUnchanged()
    assert bench.processes == []


def test_a_bundle_may_be_a_path(logic, phantom):
    from ConFUDASegmentLib.results import SHIPPED_BUNDLE

    job = logic.start(phantom.addVolume(), bundle=Path(SHIPPED_BUNDLE))
    assert job.wait() is job.segmentationNode
    assert SHIPPED_BUNDLE not in job.report()


def test_missing_package_from_the_console(logic, phantom, monkeypatch):
    from ConFUDASegmentLib import installing

    monkeypatch.setattr(installing, "_isPresent", lambda name: name != "torch")
    with pytest.raises(RuntimeError, match="not installed: torch"):
        logic.start(phantom.addVolume())


def test_job_messages_carry_no_names(bench, logic, phantom, caplog):
    caplog.set_level("DEBUG")
    job = logic.start(phantom.addVolume(name="DOE^JOHN"))
    job.wait()
    assert "DOE" not in job.report() and "DOE" not in caplog.text
