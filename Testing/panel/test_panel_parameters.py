"""Parameters: in the scene, back from it, and in the worker's job."""

import pytest


def test_controls_and_parameters_follow_each_other(bench, phantom):
    phantom.addVolume()
    ui, parameters = bench.ui, bench.panel._parameters
    ui.modeCombo.setCurrentIndex(1)
    ui.presetCombo.setCurrentIndex(2)
    ui.seedSpin.setValue(7)
    ui.contrastSpin.setValue(0.25)
    ui.partitionsSpin.setValue(3)
    ui.previewCheck.setChecked(False)
    assert (parameters.mode, parameters.preset, parameters.seed) == ("few-shot", "thorough", 7)
    assert (parameters.lambdaContrast, parameters.partitions, parameters.livePreview) == (0.25, 3, False)

    parameters.mode = "one-shot"
    parameters.automaticSlice = False
    parameters.sliceIndex = 4
    assert ui.modeCombo.currentIndex() == 0
    assert ui.sliceSlider.value == 5 and ui.sliceSlider.isEnabled()  # counted from 1 in the panel


def test_request_holds_what_was_chosen(bench, phantom):
    phantom.addVolume()
    ui = bench.ui
    assert bench.panel.request().settings == {} and bench.panel.request().slice is None
    ui.modeCombo.setCurrentIndex(0)
    ui.automaticSliceCheck.setChecked(False)
    ui.sliceSlider.value = 3
    ui.normSpin.setValue(0.0)
    ui.temperatureSpin.setValue(0.2)
    request = bench.panel.request()
    assert request.slice == 2
    assert request.settings == {"lambda_norm": 0.0, "temperature": 0.2}
    job = request.toJob("v.nrrd", "o.nrrd", "p")
    assert set(job) == {
        "volume", "output", "mode", "slice", "method", "preset", "bundle", "device", "seed", "center", "settings",
        "preview_folder", "frames", "wall", "scar", "height_cm", "weight_kg",
    }  # fmt: skip
    assert job["preview_folder"] == "p" and job["bundle"] is None


def test_jobs_fields_are_those_of_the_worker(bench):
    pytest.importorskip("torch")
    import dataclasses

    from confuda.app.job import Job
    from ConFUDASegmentLib.parameters import SegmentationRequest

    job = SegmentationRequest().toJob("v.nrrd", "o.nrrd", "p")
    assert set(job) <= {field.name for field in dataclasses.fields(Job)}


def test_scene_saves_and_restores_all_of_it(bench, phantom, tmp_path):
    import slicer

    volume = phantom.addVolume()
    slicer.modules.volumes.logic()
    bench.ui.presetCombo.setCurrentIndex(0)
    bench.ui.seedSpin.setValue(11)
    bench.ui.automaticSliceCheck.setChecked(False)
    bench.ui.sliceSlider.value = 4
    node = bench.runFromPanel().segmentationNode
    for storable, name in ((volume, "v.nrrd"), (node, "s.seg.nrrd"), (bench.logic.job.tableNode, "t.tsv")):
        storage = storable.CreateDefaultStorageNode()
        slicer.mrmlScene.AddNode(storage)
        storable.SetAndObserveStorageNodeID(storage.GetID())
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(storable)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()

    slicer.mrmlScene.Clear(0)
    assert bench.ui.presetCombo.currentIndex() == 1  # defaults
    assert not bench.ui.resultsButton.isVisibleTo(bench.widget.parent)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    bench.host.process(0.05)

    parameters = bench.panel._parameters
    assert (parameters.preset, parameters.seed, parameters.sliceIndex) == ("fast", 11, 3)
    assert bench.ui.presetCombo.currentIndex() == 0 and bench.ui.sliceSlider.value == 4
    assert parameters.inputVolume.GetName() == "Phantom"
    assert parameters.resultSegmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert bench.ui.resultsTable.rowCount() == 3
    preview = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    assert preview == []


def test_unknown_values_of_another_version_take_the_default(bench, phantom):
    phantom.addVolume()
    bench.widget.enter()
    bench.run(lambda: not bench.panel._probe.isRunning)
    node = bench.logic.getParameterNode().parameterNode
    for name in ("mode", "preset", "method"):
        node.SetParameter(name, "of-the-future")
    parameters = bench.panel._parameters
    assert (parameters.mode, parameters.preset, parameters.method) == ("few-shot", "balanced", "confuda")
    assert bench.ui.presetCombo.currentText() == "Balanced"
    assert bench.runFromPanel().state == "finished"


def test_a_device_of_another_computer_gives_way_to_automatic(bench, phantom):
    """A scene saved where there was a graphics card: what the panel shows is what is asked for."""
    phantom.addVolume()
    node = bench.logic.getParameterNode().parameterNode
    node.SetParameter("device", "cuda:0")
    bench.widget.enter()
    bench.run(lambda: not bench.panel._probe.isRunning)
    assert bench.ui.deviceCombo.currentText() == "Automatic" and bench.panel.request().device == "auto"

    node.SetParameter("device", "cuda:1")  # a scene that is loaded later
    assert bench.panel.request().device == "auto"
    bench.panel._parameters.device = "cpu"
    assert bench.panel.request().device == "cpu"


def test_switching_volumes_keeps_the_slice_in_range(bench, phantom):
    import numpy as np

    long = phantom.addVolume(phantom.makeArray((12, 40, 48)), name="long")
    short = phantom.addVolume(np.full((3, 40, 48), 10, np.uint8), name="short")
    parameters = bench.panel._parameters
    bench.ui.inputSelector.setCurrentNode(long)
    parameters.automaticSlice = False
    parameters.sliceIndex = 10
    bench.ui.inputSelector.setCurrentNode(short)
    assert bench.ui.sliceSlider.maximum == 3 and 0 <= parameters.sliceIndex < 3
    bench.ui.inputSelector.setCurrentNode(long)
    assert bench.ui.sliceSlider.maximum == 12


def test_use_current_slice(bench, phantom):
    import slicer

    phantom.addVolume()
    view = slicer.vtkMRMLSliceNode()
    view.SetSingletonTag("Red")
    view = slicer.mrmlScene.AddNode(view)
    view.GetSliceToRAS().SetElement(2, 3, 4 * 8.0)
    bench.ui.modeCombo.setCurrentIndex(0)
    bench.press(bench.ui.currentSliceButton)
    assert bench.ui.sliceSlider.value == 5
    assert not bench.ui.automaticSliceCheck.isChecked()


def test_bundle_folder_that_is_none(bench, phantom, tmp_path):
    phantom.addVolume()
    bench.ui.bundlePath.currentPath = str(tmp_path)
    bench.rememberScene()
    bench.press(bench.ui.applyButton)
    assert "no bundle.json" in bench.ui.statusLabel.text()
    bench.assertSceneUnchanged()
    bench.assertNothingLeft()


def test_every_control_has_a_tooltip_and_labels_have_keys(bench):
    from PySide6 import QtWidgets

    ui = bench.ui
    silent = ("QLabel", "QWidget", "ctkCollapsibleButton", "qMRMLWidget")
    for name, widget in vars(ui).items():
        kind = widget.metaObject().className()
        if not name.startswith("qt_") and kind not in silent:
            assert widget.toolTip(), name
    labels = [w for w in vars(ui).values() if isinstance(w, QtWidgets.QLabel) and w.buddy() is not None]
    assert len(labels) >= 12
    keys = [label.text()[label.text().index("&") + 1].lower() for label in labels]
    visible = [key for key, label in zip(keys, labels) if label.parent() is ui.inputsButton]
    assert len(set(visible)) == len(visible)


def test_keyboard_starts_a_run(bench, phantom):
    from PySide6 import QtCore, QtTest

    phantom.addVolume()
    bench.widget.parent.show()
    bench.ui.applyButton.setFocus()
    QtTest.QTest.keyClick(bench.ui.applyButton, QtCore.Qt.Key.Key_Space)
    job = bench.logic.job
    assert job is not None
    bench.run(lambda: not job.isRunning)
    assert job.state == "finished"
