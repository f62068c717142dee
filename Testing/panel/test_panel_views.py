"""After a run the views show the heart: slice views of the volume go there and fit it, the 3D view is filled by it."""

import math

import numpy as np
import pytest


@pytest.fixture
def views(bench):
    """Two slice views (Red shows the volume under test once it is there) and a 3D view with its camera."""
    import slicer

    made = {}
    for name in ("Red", "Green"):
        for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            node = getattr(slicer, kind)()
            node.SetSingletonTag(name)
            node.SetLayoutName(name)
            made[name, kind] = slicer.mrmlScene.AddNode(node)
        made[name, "vtkMRMLSliceNode"].SetDimensions(400, 200, 1)
        made[name, "vtkMRMLSliceNode"].SetFieldOfView(800.0, 400.0, 1.0)
    return made


@pytest.fixture
def camera(bench, monkeypatch):
    """A 3D view that looks from the front, from far away. The wheel's cameras logic needs the application's layout."""
    import types

    import slicer

    slicer.mrmlScene.AddNode(slicer.vtkMRMLViewNode())
    camera = slicer.mrmlScene.AddNode(slicer.vtkMRMLCameraNode())
    camera.SetFocalPoint(0.0, 0.0, 0.0)
    camera.SetPosition(0.0, 900.0, 0.0)
    camera.SetViewUp(0.0, 0.0, 1.0)
    logic = types.SimpleNamespace(GetViewActiveCameraNode=lambda view: camera)
    monkeypatch.setattr(slicer.modules, "cameras", types.SimpleNamespace(logic=lambda: logic), raising=False)
    return camera


def heart_points(volume, array):
    """World coordinates of all voxels of the heart."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    ijk = np.argwhere(array >= 50)[:, ::-1]
    points = ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    world = []
    for point in points:
        moved = [0.0, 0.0, 0.0]
        volume.TransformPointToWorld(point.tolist(), moved)
        world.append(moved)
    return np.array(world)


@pytest.mark.parametrize("matrix", ["plain", "oblique"])
@pytest.mark.parametrize("moved", [False, True])
def test_slice_views_of_the_volume_show_all_of_the_heart_and_little_else(bench, phantom, views, matrix, moved):
    array = phantom.makeArray()
    volume = phantom.addVolume(array, phantom.obliqueMatrix() if matrix == "oblique" else None)
    if moved:
        volume.SetAndObserveTransformNodeID(phantom.addTransform().GetID())
    other = phantom.addVolume(name="Other")
    views["Red", "vtkMRMLSliceCompositeNode"].SetBackgroundVolumeID(volume.GetID())
    views["Green", "vtkMRMLSliceCompositeNode"].SetBackgroundVolumeID(other.GetID())
    bench.ui.inputSelector.setCurrentNode(volume)
    bench.runFromPanel()

    import vtk

    red = views["Red", "vtkMRMLSliceNode"]
    to_view = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(red.GetXYToRAS(), to_view)
    pixels = np.array([to_view.MultiplyPoint((*point, 1.0))[:2] for point in heart_points(volume, array)])
    assert pixels.min() >= 0 and pixels[:, 0].max() <= 400 and pixels[:, 1].max() <= 200
    shown = np.ptp(pixels, axis=0) / (400, 200)
    assert shown.max() > 0.3
    # One pixel is as wide as high.
    fov = red.GetFieldOfView()
    assert fov[0] / 400 == pytest.approx(fov[1] / 200)
    # The view lies in the middle of a slice of the volume, in the plane of the slices or across it.
    middle = [0.0, 0.0, 0.0]
    volume.TransformPointFromWorld([red.GetSliceToRAS().GetElement(row, 3) for row in range(3)], middle)
    ras_to_ijk = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(ras_to_ijk)
    k = ras_to_ijk.MultiplyPoint((*middle, 1.0))[2]
    assert k == pytest.approx(round(k), abs=1e-3) and 1 <= round(k) <= 4
    assert views["Green", "vtkMRMLSliceNode"].GetFieldOfView()[0] == 800.0


def test_the_3d_view_is_filled_and_keeps_its_direction(bench, phantom, views, camera):
    array = phantom.makeArray()
    volume = phantom.addVolume(array)
    bench.runFromPanel()

    points = heart_points(volume, array)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    np.testing.assert_allclose(camera.GetFocalPoint(), middle, atol=8.0)  # voxels have an extent
    away = np.array(camera.GetPosition()) - camera.GetFocalPoint()
    np.testing.assert_allclose(away / np.linalg.norm(away), (0, 1, 0), atol=1e-6)
    height = 2 * np.linalg.norm(away) * math.tan(math.radians(camera.GetViewAngle()) / 2)
    largest = np.linalg.norm(np.ptp(points, axis=0))
    assert 1.0 < height / largest < 1.5


def test_an_empty_result_moves_no_view(bench, phantom, views, camera):
    volume = phantom.addVolume(np.full((6, 40, 48), 10, np.uint8))
    views["Red", "vtkMRMLSliceCompositeNode"].SetBackgroundVolumeID(volume.GetID())
    assert bench.runFromPanel().state == "finished"
    assert views["Red", "vtkMRMLSliceNode"].GetFieldOfView()[0] == 800.0
    assert camera.GetPosition() == (0.0, 900.0, 0.0)


def test_from_the_console_no_view_moves(bench, phantom, views, camera):
    volume = phantom.addVolume()
    views["Red", "vtkMRMLSliceCompositeNode"].SetBackgroundVolumeID(volume.GetID())
    bench.panel.close()  # the module's panel was never opened
    bench.logic.adaptAndSegment(volume)
    assert views["Red", "vtkMRMLSliceNode"].GetFieldOfView()[0] == 800.0
    assert camera.GetPosition() == (0.0, 900.0, 0.0)
