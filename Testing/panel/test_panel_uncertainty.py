"""The uncertainty map from the panel: shown over the volume while the box is ticked, and nothing of the user's is
replaced for good."""

import numpy as np
import pytest


@pytest.fixture
def views(bench):
    """Two slice views: Red, which shows the volume under test once it is there, and Green."""
    import slicer

    made = []
    for name in ("Red", "Green"):
        view = slicer.vtkMRMLSliceCompositeNode()
        view.SetSingletonTag(name)
        made.append(slicer.mrmlScene.AddNode(view))
    return made


def find_map():
    import slicer

    return slicer.mrmlScene.GetFirstNodeByName("Phantom uncertainty")


def test_nobody_asked_and_there_is_no_map(bench, phantom):
    phantom.addVolume()
    assert not bench.ui.uncertaintyCheck.isChecked()
    job = bench.runFromPanel()
    assert job.uncertaintyNode is None and find_map() is None


def test_ticked_the_map_lies_over_the_volume(bench, phantom, views):
    import slicer

    array = phantom.makeArray()
    volume = phantom.addVolume(array)
    other = phantom.addVolume(name="Other")
    views[0].SetBackgroundVolumeID(volume.GetID())
    views[1].SetBackgroundVolumeID(other.GetID())
    bench.ui.advancedButton.setProperty("collapsed", False)
    bench.press(bench.ui.uncertaintyCheck)
    assert bench.panel.request().uncertainty

    node = bench.runFromPanel().uncertaintyNode

    assert node is find_map() and node.GetClassName() == "vtkMRMLScalarVolumeNode"
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), array / 255, atol=1e-6)
    assert views[0].GetBackgroundVolumeID() == volume.GetID()
    assert views[0].GetForegroundVolumeID() == node.GetID()
    assert views[0].GetForegroundOpacity() == 0.5
    # A view of something else stays as it is.
    assert views[1].GetBackgroundVolumeID() == other.GetID() and not views[1].GetForegroundVolumeID()
    display = node.GetDisplayNode()
    assert display.GetColorNode() is not None and display.GetColorNode().GetName() != "Grey"
    assert not display.GetAutoWindowLevel()
    assert display.GetWindowLevelMin() == 0 and 0.5 <= display.GetWindowLevelMax() <= 1
    assert display.GetApplyThreshold() and 0 < display.GetLowerThreshold() < 0.3


def test_unticking_gives_the_former_foreground_back(bench, phantom, views):
    volume = phantom.addVolume()
    mine = phantom.addVolume(name="Mine")
    views[0].SetBackgroundVolumeID(volume.GetID())
    views[0].SetForegroundVolumeID(mine.GetID())
    views[0].SetForegroundOpacity(0.25)
    bench.ui.advancedButton.setProperty("collapsed", False)
    bench.press(bench.ui.uncertaintyCheck)
    bench.ui.inputSelector.setCurrentNode(volume)
    bench.runFromPanel()
    assert views[0].GetForegroundVolumeID() == find_map().GetID()

    bench.press(bench.ui.uncertaintyCheck)
    assert views[0].GetForegroundVolumeID() == mine.GetID() and views[0].GetForegroundOpacity() == 0.25
    assert find_map() is not None

    bench.press(bench.ui.uncertaintyCheck)
    assert views[0].GetForegroundVolumeID() == find_map().GetID() and views[0].GetForegroundOpacity() == 0.5


def test_what_the_user_put_in_its_place_stays(bench, phantom, views):
    volume = phantom.addVolume()
    mine = phantom.addVolume(name="Mine")
    views[0].SetBackgroundVolumeID(volume.GetID())
    bench.ui.inputSelector.setCurrentNode(volume)
    bench.ui.advancedButton.setProperty("collapsed", False)
    bench.press(bench.ui.uncertaintyCheck)
    bench.runFromPanel()
    views[0].SetForegroundVolumeID(mine.GetID())
    bench.press(bench.ui.uncertaintyCheck)
    assert views[0].GetForegroundVolumeID() == mine.GetID()


def test_a_map_that_a_loaded_scene_shows_can_be_hidden(bench, phantom, views):
    from ConFUDASegmentLib.views import Overlay

    volume = phantom.addVolume()
    views[0].SetBackgroundVolumeID(volume.GetID())
    bench.panel._parameters.showUncertainty = True
    bench.runFromPanel()
    bench.panel._overlay = Overlay()  # Slicer was started anew: the views come with the scene, and show the map
    bench.ui.advancedButton.setProperty("collapsed", False)

    bench.press(bench.ui.uncertaintyCheck)
    assert not bench.ui.uncertaintyCheck.isChecked() and not views[0].GetForegroundVolumeID()
    bench.press(bench.ui.uncertaintyCheck)
    assert views[0].GetForegroundVolumeID() == find_map().GetID()
    bench.panel._overlay = Overlay()
    bench.panel._layUncertainty()
    bench.press(bench.ui.uncertaintyCheck)
    assert not views[0].GetForegroundVolumeID()


def test_a_run_that_could_not_make_its_map_still_gives_segments(bench, phantom):
    phantom.addVolume()
    bench.panel._parameters.showUncertainty = True
    bench.worker = "no-map"

    job = bench.runFromPanel()

    assert job.state == "finished" and job.segmentationNode is not None
    assert job.uncertaintyNode is None
    assert "uncertainty map could not be read" in bench.ui.statusLabel.text()


def test_an_output_made_anew_without_a_map_forgets_the_old_one(bench, phantom, views):
    from ConFUDASegmentLib.scene_out import uncertaintyOf

    volume = phantom.addVolume()
    node = bench.logic.adaptAndSegment(volume, uncertainty=True)
    assert uncertaintyOf(node) is find_map()
    bench.logic.adaptAndSegment(volume, node)
    assert uncertaintyOf(node) is None
    assert find_map() is not None  # the user may want it still


def test_closing_the_scene_with_the_map_shown(bench, phantom, views):
    import slicer

    volume = phantom.addVolume()
    views[0].SetBackgroundVolumeID(volume.GetID())
    bench.panel._parameters.showUncertainty = True
    bench.runFromPanel()
    slicer.mrmlScene.Clear(0)
    assert not bench.ui.uncertaintyCheck.isChecked()
    phantom.addVolume()
    bench.ui.advancedButton.setProperty("collapsed", False)
    bench.press(bench.ui.uncertaintyCheck)
    assert bench.runFromPanel().uncertaintyNode is not None
