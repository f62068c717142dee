"""The way of a clinician: load a volume, press the button, get segments."""

import numpy as np
import pytest
import SimpleITK as sitk


@pytest.fixture
def nifti(tmp_path, phantom):
    """A NIfTI file on disk, lying obliquely in space."""
    matrix = phantom.obliqueMatrix()
    image = sitk.GetImageFromArray(phantom.makeArray())
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    lps = np.diag([-1, -1, 1]) @ matrix[:3, :3] / spacing
    image.SetSpacing(spacing.tolist())
    image.SetDirection(lps.ravel().tolist())
    image.SetOrigin((np.diag([-1, -1, 1]) @ matrix[:3, 3]).tolist())
    path = tmp_path / "Ünïcode Name" / "short axis.nii.gz"
    path.parent.mkdir()
    sitk.WriteImage(image, str(path))
    return path


def test_load_press_and_get_segments(bench, nifti):
    import slicer

    from confuda.labels import STRUCTURES

    volume = bench.host.loadVolume(nifti)
    bench.ui.inputSelector.setCurrentNode(volume)
    assert bench.ui.applyButton.isEnabled()

    job = bench.runFromPanel()

    assert job.state == "finished"
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert node is job.segmentationNode
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    for structure in STRUCTURES:
        segment = segmentation.GetSegment(structure.name)
        assert segment.GetName() == structure.display_name
        assert [round(value * 255) for value in segment.GetColor()] == list(structure.color)
        assert segment.GetTerminology() == structure.terminology_entry
        assert structure.code in segment.GetTerminology()
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    assert node.GetDisplayNode().GetVisibility3D()
    for structure in STRUCTURES:
        assert node.GetClosedSurfaceInternalRepresentation(structure.name).GetNumberOfPoints() > 0
    assert bench.ui.resultsButton.isVisible()
    assert bench.ui.show3DButton.isChecked()
    assert "Done" in bench.ui.statusLabel.text()
    assert bench.widget.panel._parameters.outputSegmentation is None  # the next run makes a new node again


def test_volumes_table(bench, phantom):
    array = phantom.makeArray()
    phantom.addVolume(array)

    job = bench.runFromPanel()

    millilitres = {
        name: np.count_nonzero(array == grey) * 1.5 * 1.5 * 8.0 / 1000 for name, grey in phantom.GREY.items()
    }
    table = job.tableNode
    shown = {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}
    assert float(shown["Left ventricle (cavity)"]) == pytest.approx(millilitres["LV"], abs=0.051)
    assert float(shown["Right ventricle (cavity)"]) == pytest.approx(millilitres["RV"], abs=0.051)
    assert float(shown["Myocardium"]) == pytest.approx(millilitres["MYO"], abs=0.051)
    assert float(table.GetCellText(2, 2)) == pytest.approx(millilitres["MYO"] * 1.05, abs=0.051)
    assert bench.ui.resultsTable.rowCount() == 3
    assert bench.ui.resultsTable.item(0, 0).text() == "Left ventricle (cavity)"


def test_show_3d_button_hides_and_shows(bench, phantom):
    phantom.addVolume()
    node = bench.runFromPanel().segmentationNode

    bench.press(bench.ui.show3DButton)
    assert not node.GetDisplayNode().GetVisibility3D()
    bench.press(bench.ui.show3DButton)
    assert node.GetDisplayNode().GetVisibility3D()


def test_progress_and_preview_are_shown_while_it_runs(bench, phantom):
    import slicer

    phantom.addVolume()
    bench.worker = "slow"
    bench.press(bench.ui.applyButton)
    job = bench.logic.job
    bench.run(lambda: job.progress is not None and job.progress.step > 3)

    assert bench.ui.applyButton.text() == "&Cancel"
    assert not bench.ui.inputsButton.isEnabled()
    assert bench.ui.progressPanel.isVisible()
    assert 6 < bench.ui.progressBar.value() < 100
    assert "Adapting" in bench.ui.stageLabel.text() and "contrast" in bench.ui.stageLabel.text()
    bench.run(lambda: "left" in bench.ui.timeLabel.text())
    preview = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert preview.GetHideFromEditors() and not preview.GetSaveWithScene()
    assert preview.GetSegmentation().GetNumberOfSegments() == 3
    assert bench.ui.outputSelector.count() == 1  # a preview can't be chosen

    bench.press(bench.ui.applyButton)
    bench.run(lambda: not job.isRunning)
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert bench.ui.applyButton.text() == "&Adapt && Segment"
    assert bench.ui.inputsButton.isEnabled()


def test_second_run_makes_a_second_node(bench, phantom):
    phantom.addVolume()
    first = bench.runFromPanel().segmentationNode
    second = bench.runFromPanel().segmentationNode

    assert first is not second and first.GetName() != second.GetName()


def test_chosen_output_is_replaced_and_foreign_segments_stay(bench, phantom):
    import slicer

    volume = phantom.addVolume()
    first = bench.runFromPanel().segmentationNode
    first.GetSegmentation().AddEmptySegment("scar", "Scar", [1, 1, 0])
    scar = np.zeros((6, 40, 48), np.uint8)
    scar[3, 16:20, 10:30] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(scar, first, "scar", volume)
    first.GetSegmentation().GetSegment("LV").SetName("renamed")
    bench.ui.outputSelector.setCurrentNode(first)

    again = bench.runFromPanel().segmentationNode

    assert again is first
    assert first.GetSegmentation().GetNumberOfSegments() == 4
    assert first.GetSegmentation().GetSegment("LV").GetName() == "Left ventricle"
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(first, "scar", volume), scar)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1


def test_foreign_segments_never_follow_another_transform(bench, phantom):
    """The volume was moved after the user drew: to put its segments among the user's would move these."""
    import slicer

    array = phantom.makeArray()
    volume = phantom.addVolume(array)
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.CreateDefaultDisplayNodes()
    mine.GetSegmentation().AddEmptySegment("drawn", "Drawn", [1, 1, 0])
    drawn = np.zeros(array.shape, np.uint8)
    drawn[3, 16:20, 10:30] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, mine, "drawn", volume)
    place = mine.GetSegmentCenterRAS("drawn")
    volume.SetAndObserveTransformNodeID(phantom.addTransform().GetID())
    bench.ui.outputSelector.setCurrentNode(mine)

    node = bench.runFromPanel().segmentationNode

    assert node is not mine and mine.GetSegmentation().GetNumberOfSegments() == 1
    assert mine.GetSegmentCenterRAS("drawn") == place
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, "LV", volume) > 0
    assert np.array_equal(found, array == phantom.GREY["LV"])
    assert "the result is in a new segmentation" in bench.ui.statusLabel.text()


def test_the_first_choice_is_a_volume_that_can_be_segmented(bench, phantom):
    """A colour picture was loaded before it: the selector does not list that, and neither may the button take it."""
    import slicer

    picture = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Picture")
    slicer.util.updateVolumeFromArray(picture, np.zeros((2, 3, 4, 3), np.uint8))
    volume = phantom.addVolume()
    bench.panel._parameters.inputVolume = None
    bench.widget.useParameterNode()

    assert bench.panel._parameters.inputVolume is volume
    assert bench.ui.inputSelector.currentText() == "Phantom"


def test_replacing_is_one_undoable_step(bench, phantom):
    import slicer

    volume = phantom.addVolume()
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    chosen.SetUndoEnabled(True)
    chosen.GetSegmentation().AddEmptySegment("mine", "Mine", [1, 0, 0])
    slicer.mrmlScene.SetUndoOn()
    try:
        bench.logic.adaptAndSegment(volume, chosen)
        assert chosen.GetSegmentation().GetNumberOfSegments() == 4
        assert slicer.mrmlScene.GetNumberOfUndoLevels() == 1
        slicer.mrmlScene.Undo()
        restored = slicer.mrmlScene.GetFirstNodeByName("Mine")
        assert restored.GetSegmentation().GetNumberOfSegments() == 1
    finally:
        slicer.mrmlScene.SetUndoOff()
        slicer.mrmlScene.ClearUndoStack()


def test_sequence_frame_is_named(bench, phantom):
    import slicer

    volume = phantom.addVolume()
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine")
    for frame in range(3):
        sequence.SetDataNodeAtValue(volume, str(frame))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume, sequence, False)
    browser.SetSelectedItemNumber(1)

    job = bench.runFromPanel()

    assert job.state == "finished"
    assert "current frame (2 of 3)" in bench.ui.statusLabel.text()


def test_warnings_of_the_worker_are_shown_once(bench, phantom):
    array = phantom.makeArray()
    array[array == phantom.GREY["RV"]] = 10
    phantom.addVolume(array)
    bench.worker = "warns"

    job = bench.runFromPanel()

    text = bench.ui.statusLabel.text()
    assert text.count("The image is noisy.") == 1 and "Few slices." in text
    assert "network as trained was used" in text
    assert "Right ventricle was not found" in text
    assert job.summary["accepted"] is False
