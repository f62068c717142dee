"""Wall and scar in Slicer: segments, tables and the bull's eye, with what the worker measured."""

import numpy as np
import pytest
from test_panel_small_window import walk_with_tab


@pytest.fixture
def shown(bench, phantom):
    bench.array = phantom.makeArray()
    bench.volume = phantom.addVolume(bench.array, phantom.obliqueMatrix())
    bench.widget.parent.show()
    return bench


def choose_table(bench, name):
    bench.ui.tableCombo.setCurrentIndex(bench.ui.tableCombo.findText(name))
    table = bench.ui.resultsTable
    return [
        [table.item(row, column).text() for column in range(table.columnCount())] for row in range(table.rowCount())
    ]


def test_wall_segments_are_a_segmentation_of_their_own(shown, phantom):
    import slicer

    shown.ui.wallCheck.setChecked(True)
    node = shown.runFromPanel().segmentationNode

    wall = slicer.mrmlScene.GetFirstNodeByName("Phantom ConFUDA wall segments")
    assert wall.GetTransformNodeID() == shown.volume.GetTransformNodeID()
    assert [wall.GetSegmentation().GetNthSegment(i).GetName() for i in range(2)] == [
        "1 basal anterior",
        "2 basal anteroseptal",
    ]
    muscle = shown.array == phantom.GREY["MYO"]
    left = np.arange(shown.array.shape[2]) < shown.array.shape[2] // 2
    found = slicer.util.arrayFromSegmentBinaryLabelmap(wall, "AHA-1", shown.volume) > 0
    assert np.array_equal(found, muscle & left)
    assert "74281007" in wall.GetSegmentation().GetSegment("AHA-2").GetTerminology()
    # It lies in the muscle, so one of the two is shown.
    assert not wall.GetDisplayNode().GetVisibility() and node.GetDisplayNode().GetVisibility()
    shown.press(shown.ui.wallButton)
    assert wall.GetDisplayNode().GetVisibility() and not node.GetDisplayNode().GetVisibility()
    shown.press(shown.ui.wallButton)
    assert not wall.GetDisplayNode().GetVisibility() and node.GetDisplayNode().GetVisibility()


def test_wall_table_and_bulls_eye(shown):
    shown.ui.wallCheck.setChecked(True)
    shown.runFromPanel()
    assert not shown.ui.bullsEyeLabel.isVisible()
    rows = choose_table(shown, "Wall")
    assert len(rows) == 17
    assert rows[0] == ["1 basal anterior", "6.0", "6.3", "10.0"] and rows[2][1:] == ["–", "–", "–"]
    assert shown.ui.resultsTable.horizontalHeaderItem(1).text() == "Thickness [mm]"
    assert shown.ui.bullsEyeLabel.isVisible()
    picture = shown.ui.bullsEyeLabel.pixmap().toImage()
    # Segment 1 (thinnest) lies above, 2 (thickest) above to the left, 3 (not given) below it; the paper is white.
    assert at(picture, 75, 3.6) == (68, 1, 84)
    assert at(picture, 140, 3.6) == (253, 231, 37)
    assert at(picture, 200, 3.6) == (217, 217, 217)
    assert at(picture, 75, 4.9) == (255, 255, 255)


def at(picture, degrees, radius):
    """The colour at a place of the bull's eye, whose rings are 26 pixels wide."""
    x = picture.width() / 2 + 26 * radius * np.cos(np.radians(degrees))
    y = picture.height() / 2 - 26 * radius * np.sin(np.radians(degrees))
    color = picture.pixelColor(int(x), int(y))
    return color.red(), color.green(), color.blue()


def test_scar_is_a_segment_in_a_layer_of_its_own(shown, phantom):
    import slicer

    shown.ui.scarCombo.setCurrentIndex(shown.ui.scarCombo.findData("fwhm"))
    job = shown.runFromPanel()
    node = job.segmentationNode

    assert job.request.scar == "fwhm"
    scar = slicer.util.arrayFromSegmentBinaryLabelmap(node, "Scar", shown.volume) > 0
    muscle = slicer.util.arrayFromSegmentBinaryLabelmap(node, "MYO", shown.volume) > 0
    assert scar.any() and not (scar & ~muscle).any()
    assert np.array_equal(muscle, shown.array == phantom.GREY["MYO"])  # nothing was taken from it
    segment = node.GetSegmentation().GetSegment("Scar")
    assert [round(255 * part) for part in segment.GetColor()] == [240, 228, 66]
    share = 100 * np.count_nonzero(scar) / np.count_nonzero(muscle)
    rows = dict(choose_table(shown, "Scar"))
    assert rows["Share of the muscle"] == f"{share:.1f} %"
    assert rows["1 basal anterior"] == "40 %, transmural 75 %"
    assert shown.ui.caveatLabel.isVisible() and "not a diagnosis" in shown.ui.caveatLabel.text()


def test_tab_reaches_the_controls_of_wall_and_scar_in_order(shown):
    shown.ui.wallCheck.setChecked(True)
    shown.runFromPanel()
    shown.ui.inputsButton.setProperty("collapsed", False)
    wanted = ["presetCombo", "wallCheck", "scarCombo", "applyButton", "tableCombo", "resultsTable", "wallButton"]
    assert [name for name in walk_with_tab(shown) if name in wanted] == wanted


def test_both_and_neither(shown):
    import slicer

    job = shown.runFromPanel()
    assert not shown.ui.tableCombo.isVisible() and job.segmentationNode.GetSegmentation().GetSegment("Scar") is None
    shown.ui.wallCheck.setChecked(True)
    shown.ui.scarCombo.setCurrentIndex(1)
    shown.runFromPanel()
    names = [shown.ui.tableCombo.itemText(index) for index in range(shown.ui.tableCombo.count())]
    assert names == ["Volumes", "Wall", "Scar"]
    # The same output again without them: their tables are no longer this result's.
    chosen = slicer.mrmlScene.GetNthNodeByClass(0, "vtkMRMLSegmentationNode")
    shown.ui.outputSelector.setCurrentNode(chosen)
    shown.ui.wallCheck.setChecked(False)
    shown.ui.scarCombo.setCurrentIndex(0)
    shown.runFromPanel()
    assert not shown.ui.tableCombo.isVisible()


@pytest.mark.parametrize("again", [True, False])
def test_a_result_is_seen_though_its_former_wall_segments_were_shown(shown, again):
    """They stood in the place of the segmentation; what was measured before is not the new result's."""
    shown.ui.wallCheck.setChecked(True)
    node = shown.runFromPanel().segmentationNode
    former = node.GetNodeReference("ConFUDA.wallSegments")
    shown.press(shown.ui.wallButton)
    shown.ui.outputSelector.setCurrentNode(node)
    shown.ui.wallCheck.setChecked(again)
    shown.runFromPanel()

    assert node.GetDisplayNode().GetVisibility() and not former.GetDisplayNode().GetVisibility()
    assert node.GetNodeReference("ConFUDA.wallSegments") is not former and former.GetScene() is not None
    assert shown.ui.wallButton.isVisible() == again and not shown.ui.wallButton.isChecked()
