"""Several volumes: ticked in a list, one press, and each gets its segmentation, one process after the other."""

import pytest


@pytest.fixture
def three(bench, phantom):
    bench.volumes = [phantom.addVolume(name=name) for name in ("One", "Two", "Three")]
    bench.widget.parent.show()
    bench.press(bench.ui.severalButton)
    return bench


def tick(bench, *names):
    from PySide6 import QtCore

    for row in range(bench.ui.severalList.count()):
        item = bench.ui.severalList.item(row)
        wanted = item.text() in names
        item.setCheckState(QtCore.Qt.CheckState.Checked if wanted else QtCore.Qt.CheckState.Unchecked)


def segmented():
    """Names of the volumes that have a segmentation."""
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).GetName() for node in nodes]


def test_the_list_opens_with_the_chosen_volume_ticked(three):
    from PySide6 import QtCore

    ui = three.ui
    assert ui.severalList.isVisible() and not ui.inputSelector.isEnabled()
    states = {ui.severalList.item(row).text(): ui.severalList.item(row).checkState() for row in range(3)}
    assert [name for name, state in states.items() if state == QtCore.Qt.CheckState.Checked] == ["One"]
    three.press(ui.severalButton)
    assert not ui.severalList.isVisible() and ui.inputSelector.isEnabled()


def test_one_press_segments_the_ticked_ones_one_after_the_other(three):
    import slicer

    tick(three, "One", "Three")
    assert "each of 2 volumes" in three.ui.estimateLabel.text() or not three.ui.estimateLabel.isVisible()
    places = set()
    three.worker = "succeed"
    three.press(three.ui.applyButton)
    first = three.logic.job
    places.add(three.ui.stageLabel.text().splitlines()[0])
    three.run(lambda: three.logic.job is not first)
    places.add(three.ui.stageLabel.text().splitlines()[0])
    three.run(lambda: not three.logic.job.isRunning)

    assert segmented() == ["One", "Three"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2
    assert places == {"Volume 1 of 2", "Volume 2 of 2"}
    assert three.ui.statusLabel.text() == "2 of 2 volumes were segmented."
    three.assertNothingLeft()


def test_at_no_time_two_processes(three):
    tick(three, "One", "Two", "Three")
    three.press(three.ui.applyButton)
    most = 0

    def all_done():
        nonlocal most
        most = max(most, sum(not process.hasEnded() for process in three.processes))
        return len(segmented()) == 3 and not three.logic.job.isRunning

    three.run(all_done)
    assert most == 1 and len(three.processes) == 3


def test_a_volume_that_fails_does_not_stop_the_others(three, phantom):
    import numpy as np
    import slicer

    colour = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    assert colour is not None
    phantom.addVolume(np.full((3, 20, 20), 10, np.uint8), name="Four")
    tick(three, "Empty", "Two", "Four")
    three.press(three.ui.applyButton)
    three.run(lambda: three.panel._batch is None)

    assert sorted(segmented()) == ["Four", "Two"]
    said = three.ui.statusLabel.text()
    assert "2 of 3 volumes were segmented." in said
    assert "Empty: The volume holds no image data." in said
    assert "Four: Left ventricle was not found" in said


def test_cancel_stops_them_all(three):
    tick(three, "One", "Two", "Three")
    three.worker = "slow"
    three.press(three.ui.applyButton)
    job = three.logic.job
    three.run(lambda: job.progress is not None and job.progress.step > 2)
    three.press(three.ui.applyButton)
    three.run(lambda: not job.isRunning, seconds=30)
    three.host.process(0.2)

    assert three.logic.job is job and len(three.processes) == 1
    assert segmented() == []
    assert "0 of 3 volumes" in three.ui.statusLabel.text() and "Cancelled" in three.ui.statusLabel.text()
    assert three.ui.applyButton.text() == "&Adapt && Segment" and three.ui.applyButton.isEnabled()


def test_a_volume_removed_while_it_waits_is_left_out(three):
    import slicer

    tick(three, "One", "Two")
    three.worker = "slow"
    three.press(three.ui.applyButton)
    slicer.mrmlScene.RemoveNode(three.volumes[1])
    three.worker = "succeed"
    three.logic.job.cancel()
    three.run(lambda: three.panel._batch is None)
    assert three.ui.severalList.count() == 2


def test_a_volume_removed_while_it_is_segmented_does_not_stop_the_others(three):
    import slicer

    tick(three, "One", "Two", "Three")
    three.worker = "slow"
    three.press(three.ui.applyButton)
    job = three.logic.job
    three.run(lambda: job.progress is not None)
    three.worker = "succeed"
    slicer.mrmlScene.RemoveNode(three.volumes[0])
    three.run(lambda: three.panel._batch is None)

    assert job.state == "cancelled" and segmented() == ["Two", "Three"]
    text = three.ui.statusLabel.text()
    assert "2 of 3 volumes" in text and "One: The volume was removed" in text


def test_closing_the_scene_stops_them(three):
    import slicer

    tick(three, "One", "Two")
    three.worker = "slow"
    three.press(three.ui.applyButton)
    slicer.mrmlScene.Clear(0)
    three.host.process(0.2)
    assert three.panel._batch is None and len(three.processes) == 1
    assert not three.ui.severalButton.isChecked()
    three.assertNothingLeft()


def test_maps_of_uncertainty_and_label_maps_are_no_choice(bench, phantom):
    import slicer

    volume = phantom.addVolume()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    bench.logic.adaptAndSegment(volume, uncertainty=True)
    bench.widget.parent.show()
    bench.press(bench.ui.severalButton)
    assert [bench.ui.severalList.item(row).text() for row in range(bench.ui.severalList.count())] == ["Phantom"]


def test_ticks_end_with_their_scene(three, phantom):
    """The volumes of the next patient have the same identifiers."""
    import slicer

    tick(three, "One", "Two", "Three")
    assert len(three.panel.volumes()) == 3
    slicer.mrmlScene.Clear(0)
    for name in ("first", "second", "third"):
        phantom.addVolume(name=name)
    three.widget.useParameterNode()
    three.press(three.ui.severalButton)
    assert [node.GetName() for node in three.panel.volumes()] == ["first"]


def test_nothing_ticked_cannot_be_started(three):
    tick(three)
    assert not three.ui.applyButton.isEnabled()
