"""A cine in Slicer: the current frame or all of them, a sequence of segmentations that plays along, table and curve."""

import numpy as np
import pytest
from test_panel_small_window import walk_with_tab

FRAMES = 5


def make_frames(phantom):
    """Hearts whose left ventricle shrinks and grows again: frame 0 is end-diastole, frame 2 end-systole."""
    frames = []
    for number in range(FRAMES):
        array = phantom.makeArray()
        squeezed = array.copy()
        rows, columns = np.mgrid[0 : array.shape[1], 0 : array.shape[2]]
        for index in range(1, array.shape[0] - 1):
            inside = np.hypot(rows - 18, columns - 26 - index) < 5 - 0.7 * index - min(number, FRAMES - number)
            squeezed[index][array[index] == phantom.GREY["LV"]] = phantom.GREY["MYO"]
            squeezed[index][inside] = phantom.GREY["LV"]
        frames.append(squeezed)
    return frames


@pytest.fixture
def cine(bench, phantom):
    """A volume that shows a frame of a sequence, as Slicer's Sequences module makes it."""
    import slicer

    bench.arrays = make_frames(phantom)
    volume = bench.volume = phantom.addVolume(bench.arrays[0], phantom.obliqueMatrix(), name="Cine")
    volume.SetAndObserveTransformNodeID(phantom.addTransform().GetID())
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine frames")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("ms")
    for number, array in enumerate(bench.arrays):
        slicer.util.updateVolumeFromArray(volume, array)
        sequence.SetDataNodeAtValue(volume, str(40 * number))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Cine browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume, sequence, False)
    browser.SetSelectedItemNumber(1)
    bench.browser = browser
    bench.widget.parent.show()
    return bench


def lv_of(node, volume):
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(node, "LV", volume) > 0


def test_a_plain_volume_offers_no_frames(bench, phantom):
    phantom.addVolume()
    bench.widget.parent.show()
    assert not bench.ui.framesCombo.isVisible()


def test_the_current_frame_is_the_default(cine, phantom):
    assert cine.ui.framesCombo.isVisible() and cine.ui.framesCombo.currentText() == "Current frame"
    job = cine.runFromPanel()
    assert job.request.frames is None
    assert "current frame (2 of 5)" in cine.ui.statusLabel.text()
    assert np.array_equal(lv_of(job.segmentationNode, cine.volume), cine.arrays[1] == phantom.GREY["LV"])


def test_scar_in_the_current_frame_is_warned_of(cine):
    cine.ui.scarCombo.setCurrentIndex(cine.ui.scarCombo.findData("fwhm"))
    cine.runFromPanel()
    assert "one frame of several" in cine.ui.statusLabel.text()


def test_all_frames_give_segmentations_that_play_with_the_cine(cine, phantom):
    import slicer

    cine.ui.framesCombo.setCurrentIndex(1)
    assert not cine.ui.outputSelector.isEnabled()
    job = cine.runFromPanel()

    assert job.state == "finished", job.report()
    node = job.segmentationNode
    assert node.GetTransformNodeID() == cine.volume.GetTransformNodeID()
    assert cine.browser.GetSelectedItemNumber() == 1  # where the user left it
    for number in (1, 3, 0, 4, 2):
        cine.browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(cine.browser)
        assert np.array_equal(slicer.util.arrayFromVolume(cine.volume), cine.arrays[number])
        assert np.array_equal(lv_of(node, cine.volume), cine.arrays[number] == phantom.GREY["LV"]), number
        assert node.GetClosedSurfaceInternalRepresentation("LV").GetNumberOfPoints() > 0
        assert node.GetNodeReference("referenceImageGeometryRef") is cine.volume
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [node]
    assert cine.browser.IsProxyNodeID(node.GetID())
    cine.assertNothingLeft()


def go_to(cine, number):
    import slicer

    cine.browser.SetSelectedItemNumber(number)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(cine.browser)


def test_a_corrected_frame_stays_corrected(cine, phantom):
    """The user edits a frame, looks at another one and comes back."""
    import slicer

    cine.ui.framesCombo.setCurrentIndex(1)
    node = cine.runFromPanel().segmentationNode
    go_to(cine, 3)
    mine = np.zeros(cine.arrays[3].shape, np.uint8)
    mine[3, 10:15, 10:15] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mine, node, "LV", cine.volume)
    for number in (1, 3, 0, 4, 2):
        go_to(cine, number)
        assert np.array_equal(lv_of(node, cine.volume), mine if number == 3 else cine.arrays[number] == 100), number


def test_a_frame_of_a_former_result_made_anew(cine, phantom):
    import slicer

    cine.ui.framesCombo.setCurrentIndex(1)
    node = cine.runFromPanel().segmentationNode
    go_to(cine, 3)
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ones(cine.arrays[3].shape, np.uint8), node, "LV", cine.volume)
    cine.ui.framesCombo.setCurrentIndex(0)
    cine.ui.outputSelector.setCurrentNode(node)
    cine.runFromPanel()

    assert not cine.ui.curveButton.isVisible()  # the curve was the former result's
    for number in (0, 3):
        go_to(cine, number)
        assert np.array_equal(lv_of(node, cine.volume), cine.arrays[number] == phantom.GREY["LV"]), number


@pytest.mark.parametrize("place, frame", [(2, 1), (8, 4)])
def test_a_cine_beside_a_longer_sequence(cine, phantom, place, frame):
    """The browser counts in its master sequence, which has twice as many items as the cine."""
    import slicer

    other = phantom.addVolume(name="Other")
    master = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Master")
    for number in range(2 * FRAMES - 1):
        master.SetDataNodeAtValue(other, str(20 * number))
    cine.browser.SetAndObserveMasterSequenceNodeID(master.GetID())
    cine.browser.AddProxyNode(other, master, False)
    images = slicer.mrmlScene.GetFirstNodeByName("Cine frames")
    cine.browser.AddSynchronizedSequenceNodeID(images.GetID())
    cine.browser.AddProxyNode(cine.volume, images, False)
    go_to(cine, place)
    assert np.array_equal(slicer.util.arrayFromVolume(cine.volume), cine.arrays[frame])

    node = cine.logic.adaptAndSegment(cine.volume, frames="all")

    assert np.array_equal(lv_of(node, cine.volume), cine.arrays[frame] == phantom.GREY["LV"])


def test_of_several_volumes_the_current_frames_are_taken(cine, phantom):
    """All frames of the cine had been chosen: the choice is not offered here, and a still volume has none."""
    from PySide6 import QtCore

    phantom.addVolume(name="Still")
    cine.ui.framesCombo.setCurrentIndex(1)
    cine.panel._parameters.mode = "one-shot"
    cine.panel._parameters.automaticSlice = False
    cine.panel._parameters.sliceIndex = 4
    cine.press(cine.ui.severalButton)
    rows = [cine.ui.severalList.item(row) for row in range(cine.ui.severalList.count())]
    for row in rows:
        row.setCheckState(QtCore.Qt.CheckState.Checked if row.text() == "Still" else QtCore.Qt.CheckState.Unchecked)
    assert not cine.ui.sliceSlider.isEnabled()

    job = cine.runFromPanel()

    assert job.state == "finished" and (job.request.frames, job.request.slice) == (None, None)
    assert job.segmentationNode.GetName().startswith("Still")


def test_colours_are_given_to_all_frames(cine):
    cine.ui.framesCombo.setCurrentIndex(1)
    node = cine.runFromPanel().segmentationNode
    for number in (3, 1):
        go_to(cine, number)
        node.GetSegmentation().GetSegment("LV").SetColor(1.0, 0.0, 1.0)
    cine.panel._refresh()
    assert cine.ui.colorsButton.isChecked()

    cine.press(cine.ui.colorsButton)  # ConFUDA's again

    for number in (1, 3, 0):
        go_to(cine, number)
        color = node.GetSegmentation().GetSegment("LV").GetColor()
        assert [round(255 * part) for part in color] == [213, 94, 0], number


def test_function_is_a_table_and_a_curve(cine, phantom):
    import slicer

    cine.ui.framesCombo.setCurrentIndex(1)
    node = cine.runFromPanel().segmentationNode
    voxel_ml = abs(np.linalg.det(phantom.obliqueMatrix()[:3, :3])) / 1000
    volumes = [np.count_nonzero(array == phantom.GREY["LV"]) * voxel_ml for array in cine.arrays]
    edv, esv = max(volumes), min(volumes)

    assert cine.ui.tableCombo.isVisible() and cine.ui.tableCombo.currentText() == "Function"
    table = cine.ui.resultsTable
    shown = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount())}
    assert float(shown["End-diastolic volume [mL]"]) == pytest.approx(edv, abs=0.051)
    assert float(shown["End-systolic volume [mL]"]) == pytest.approx(esv, abs=0.051)
    assert float(shown["Ejection fraction [%]"]) == pytest.approx(100 * (edv - esv) / edv, abs=0.051)
    assert shown["Frame of end-diastole"] == "1"  # as Slicer's browser counts
    assert list(shown)[0] == "Ejection fraction [%]"  # what is asked for first is seen without scrolling
    assert "1.05 g/mL" in cine.ui.caveatLabel.text()  # its mass carries the caveat, too

    chart = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() == 3 and cine.ui.curveButton.isVisible()
    series = {chart.GetNthPlotSeriesNode(i).GetName(): chart.GetNthPlotSeriesNode(i) for i in range(3)}
    line = series["Left ventricle"]
    np.testing.assert_allclose(line.GetColor(), (213 / 255, 94 / 255, 0), atol=1e-6)
    curve = line.GetTableNode()
    x, y = (curve.GetTable().GetColumnByName(name) for name in (line.GetXColumnName(), line.GetYColumnName()))
    assert line.GetXColumnName() == "time [ms]"
    assert [x.GetValue(row) for row in range(FRAMES)] == [0, 40, 80, 120, 160]
    np.testing.assert_allclose([y.GetValue(row) for row in range(FRAMES)], volumes, atol=1e-6)
    assert node.GetName().startswith("Cine")


def test_the_result_comes_back_with_the_scene(cine, tmp_path):
    import slicer

    cine.ui.framesCombo.setCurrentIndex(1)
    cine.runFromPanel()
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    assert "ConFUDA.chart" in (tmp_path / "scene.mrml").read_text(encoding="utf-8")


def test_height_and_weight_go_with_all_frames_only(cine):
    cine.ui.heightSpin.setValue(180)
    cine.ui.weightSpin.setValue(75)
    assert cine.panel.request().height_cm is None
    cine.ui.framesCombo.setCurrentIndex(1)
    request = cine.panel.request()
    assert (request.frames, request.height_cm, request.weight_kg) == ("all", 180.0, 75.0)


def test_frames_on_different_grids_are_refused_in_one_sentence(cine):
    import slicer

    sequence = cine.browser.GetMasterSequenceNode()
    sequence.GetNthDataNode(3).SetOrigin(1, 2, 3)
    cine.ui.framesCombo.setCurrentIndex(1)
    cine.rememberScene()
    cine.press(cine.ui.applyButton)
    assert "Frame 4 of the sequence lies on another grid" in cine.ui.statusLabel.text()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    cine.assertSceneUnchanged()
    cine.assertNothingLeft()


def test_cancelled_all_frames_leave_nothing(cine):
    cine.ui.framesCombo.setCurrentIndex(1)
    cine.rememberScene()
    cine.worker = "slow"
    cine.press(cine.ui.applyButton)
    job = cine.logic.job
    cine.run(lambda: job.progress is not None and job.progress.step > 2)
    cine.press(cine.ui.applyButton)
    cine.run(lambda: not job.isRunning, seconds=30)
    assert job.state == "cancelled"
    cine.assertSceneUnchanged()


def test_from_the_console(cine, phantom):
    node = cine.logic.adaptAndSegment(cine.volume, frames="all")
    assert cine.logic.job.summary["function"]["lv_ejection_fraction_percent"] > 0
    assert np.array_equal(lv_of(node, cine.volume), cine.arrays[1] == phantom.GREY["LV"])


def test_the_table_of_function_fits_a_small_window(cine):
    """Ventricles and units are seen without scrolling to the side, at the width of the smallest window."""
    cine.widget.parent.setFixedWidth(370)
    cine.ui.framesCombo.setCurrentIndex(1)
    cine.ui.heightSpin.setValue(180)
    cine.ui.weightSpin.setValue(75)
    cine.runFromPanel()
    cine.host.process(0.1)
    table = cine.ui.resultsTable
    assert [table.horizontalHeaderItem(column).text() for column in range(3)] == ["Measure", "LV", "RV"]
    assert table.columnCount() == 3 and table.horizontalScrollBar().maximum() == 0


def test_tab_reaches_the_controls_of_a_cine_in_order(cine):
    cine.ui.framesCombo.setCurrentIndex(1)
    cine.runFromPanel()
    for part in (cine.ui.inputsButton, cine.ui.advancedButton):
        part.setProperty("collapsed", False)
    reached = walk_with_tab(cine)
    wanted = [
        *("inputSelector", "severalButton", "framesCombo", "modeCombo", "presetCombo", "wallCheck", "applyButton"),
        *("tableCombo", "resultsTable", "show3DButton", "colorsButton", "curveButton", "heightSpin", "weightSpin"),
    ]
    assert [name for name in reached if name in wanted] == wanted
