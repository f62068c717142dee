"""The uncertainty map in the scene: on the very voxels of the volume, through every transform, and out of the way."""

import numpy as np
import pytest


def world_corners(node):
    """World coordinates of the grid's corners, by the node's own matrix and transform."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    last = [extent - 1 for extent in node.GetImageData().GetDimensions()]
    corners = []
    for corner in np.ndindex(2, 2, 2):
        local = matrix.MultiplyPoint((*(bit * index for bit, index in zip(corner, last)), 1.0))[:3]
        world = [0.0, 0.0, 0.0]
        node.TransformPointToWorld(local, world)
        corners.append(world)
    return np.array(corners)


@pytest.mark.parametrize("transform", ["none", "linear", "warped"])
@pytest.mark.parametrize("matrix", ["plain", "oblique", "left-handed"])
def test_the_map_lies_on_the_volume(bench, phantom, transform, matrix):
    import slicer

    array = phantom.makeArray()
    matrices = {"plain": None, "oblique": phantom.obliqueMatrix(), "left-handed": np.diag([1.5, 1.5, -8.0, 1.0])}
    volume = phantom.addVolume(array, matrices[matrix])
    if transform != "none":
        volume.SetAndObserveTransformNodeID(phantom.addTransform(nonlinear=transform == "warped").GetID())

    bench.logic.adaptAndSegment(volume, uncertainty=True)

    node = bench.logic.job.uncertaintyNode
    assert node.GetName() == "Phantom uncertainty"
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), array / 255, atol=1e-6)
    np.testing.assert_allclose(world_corners(node), world_corners(volume), atol=1e-3)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()


def test_from_the_console_no_view_changes(bench, phantom):
    import slicer

    volume = phantom.addVolume()
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    view.SetBackgroundVolumeID(volume.GetID())

    bench.logic.adaptAndSegment(volume, uncertainty=True)

    assert view.GetBackgroundVolumeID() == volume.GetID() and not view.GetForegroundVolumeID()


def test_two_runs_make_two_maps_and_a_chosen_output_keeps_its_own(bench, phantom):
    volume = phantom.addVolume()
    first = bench.logic.adaptAndSegment(volume, uncertainty=True)
    map_of_first = bench.logic.job.uncertaintyNode
    bench.logic.adaptAndSegment(volume, uncertainty=True)
    assert bench.logic.job.uncertaintyNode is not map_of_first
    bench.logic.adaptAndSegment(volume, first, uncertainty=True)
    assert bench.logic.job.uncertaintyNode is map_of_first


def test_it_stands_beside_the_volume_in_the_subject_hierarchy(bench, phantom):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    volume = phantom.addVolume()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)

    bench.logic.adaptAndSegment(volume, uncertainty=True)

    item = hierarchy.GetItemByDataNode(bench.logic.job.uncertaintyNode)
    assert hierarchy.GetItemParent(item) == study


def test_a_cancelled_run_leaves_no_map(bench, phantom):
    volume = phantom.addVolume()
    bench.rememberScene()
    bench.worker = "slow"
    job = bench.logic.start(volume, uncertainty=True)
    bench.run(lambda: job.progress is not None)
    job.cancel()
    bench.run(lambda: not job.isRunning)
    bench.assertSceneUnchanged()


def test_the_map_of_the_true_worker(bench, small_bundle_folder, heart):
    """A true process with a small trained bundle: values from 0 to 1, most doubt where structures meet."""
    import SimpleITK as sitk
    import slicer

    pytest.importorskip("torch")
    from Testing.host import phantom

    array = sitk.GetArrayFromImage(heart[0])
    volume = phantom.addVolume(array, np.diag([1.5, 1.5, 8.0, 1.0]))
    bench.worker = None

    bench.logic.adaptAndSegment(volume, bundle=str(small_bundle_folder), settings={"steps": 2}, uncertainty=True)

    doubt = slicer.util.arrayFromVolume(bench.logic.job.uncertaintyNode)
    assert doubt.dtype == np.float32 and doubt.shape == array.shape
    assert 0 <= doubt.min() and 0.1 < doubt.max() <= 1
    assert bench.logic.job.summary["uncertainty"]["heart_entropy"] > 0
