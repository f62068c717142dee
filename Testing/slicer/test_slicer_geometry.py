"""Segments land on the very voxels of the volume: compared in world coordinates, through every transform."""

import itertools
from pathlib import Path

import numpy as np
import pytest


def world_of_grey(volume, array, grey):
    """World coordinates of the volume's voxels of one grey value."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    ijk = np.argwhere(array == grey)[:, ::-1]
    return to_world(volume, ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3])


def world_of_segment(node, segment_id):
    """World coordinates of a segment's voxels, by the segment's own geometry and the node's own transform."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    extent = image.GetExtent()
    shape = [extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0)]
    mask = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    ijk = np.argwhere(mask)[:, ::-1] + np.array([extent[0], extent[2], extent[4]])
    return to_world(node, ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3])


def to_world(node, points):
    world = np.empty_like(points, dtype=float)
    for index, point in enumerate(points):
        result = [0.0, 0.0, 0.0]
        node.TransformPointToWorld(point.tolist(), result)
        world[index] = result
    return world[np.lexsort(np.round(world, 2).T)]


def assert_same_place(volume, array, node, phantom):
    for name, grey in phantom.GREY.items():
        expected, found = world_of_grey(volume, array, grey), world_of_segment(node, name)
        assert len(expected) == len(found) > 0
        assert np.abs(expected - found).max() < 0.01


def segment_without_process(volume, folder):
    """Export, label, read back, write: the job's own steps, with the scripted worker's labels and no process."""
    import slicer
    from Testing.host import scripted_worker

    from ConFUDASegmentLib.scene_in import exportVolume, readLabels
    from ConFUDASegmentLib.scene_out import SegmentationWriter

    geometry = exportVolume(volume, str(folder / "v.nrrd"))
    scripted_worker.segment(str(folder / "v.nrrd"), str(folder / "l.nrrd"))
    labels = readLabels(str(folder / "l.nrrd"), geometry)
    return SegmentationWriter(slicer.mrmlScene).write(labels, geometry, volume)


@pytest.mark.parametrize("transform", ["none", "linear", "nested", "warped"])
@pytest.mark.parametrize("matrix", ["plain", "oblique"])
def test_transformed_volumes(bench, phantom, tmp_path, transform, matrix):
    array = phantom.makeArray()
    volume = phantom.addVolume(array, phantom.obliqueMatrix() if matrix == "oblique" else None)
    if transform != "none":
        parent = phantom.addTransform(nonlinear=transform == "warped")
        if transform == "nested":
            parent.SetAndObserveTransformNodeID(phantom.addTransform().GetID())
        volume.SetAndObserveTransformNodeID(parent.GetID())

    node = segment_without_process(volume, tmp_path)

    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert_same_place(volume, array, node, phantom)


def test_all_48_axis_orientations(bench, phantom, tmp_path):
    import slicer

    array = phantom.makeArray((4, 30, 36))
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.eye(4)
            matrix[:3, :3] = np.eye(3)[:, order] * (np.array(signs) * np.array([1.5, 1.25, 8.0]))
            matrix[:3, 3] = [10.0, -20.0, 30.0]
            volume = phantom.addVolume(array, matrix)
            node = segment_without_process(volume, tmp_path)
            assert_same_place(volume, array, node, phantom)
            slicer.mrmlScene.Clear(0)


def test_transform_follows_when_it_moves_later(bench, phantom, tmp_path):
    array = phantom.makeArray()
    volume = phantom.addVolume(array)
    transform = phantom.addTransform()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node = segment_without_process(volume, tmp_path)

    moved = transform.GetMatrixTransformToParent()
    moved.SetElement(0, 3, 77.0)
    transform.SetMatrixTransformToParent(moved)

    assert_same_place(volume, array, node, phantom)


def test_transformed_volume_through_the_whole_run(bench, phantom):
    array = phantom.makeArray()
    volume = phantom.addVolume(array, phantom.obliqueMatrix())
    volume.SetAndObserveTransformNodeID(phantom.addTransform().GetID())

    node = bench.logic.adaptAndSegment(volume)

    assert_same_place(volume, array, node, phantom)


def test_volume_changed_during_the_run_does_not_shift_the_labels(bench, phantom):
    """The grid of the export counts: a frame change or a new origin in mid-run must not move the result."""
    import slicer

    array = phantom.makeArray()
    volume = phantom.addVolume(array)
    before = world_of_grey(volume, array, phantom.GREY["LV"])
    job = bench.logic.start(volume)
    volume.SetOrigin(99.0, 99.0, 99.0)
    node = job.wait()

    assert np.abs(world_of_segment(node, "LV") - before).max() < 0.01
    assert slicer.util.arrayFromVolume(volume) is not None


def test_transform_hardened_during_the_run(bench, phantom):
    """The volume keeps its place in the world and loses its transform: the result has to lie on it all the same."""
    import slicer

    array = phantom.makeArray()
    volume = phantom.addVolume(array, phantom.obliqueMatrix())
    volume.SetAndObserveTransformNodeID(phantom.addTransform().GetID())
    job = bench.logic.start(volume, wall=True, scar="fwhm")
    volume.HardenTransform()
    node = job.wait()

    assert_same_place(volume, array, node, phantom)
    muscle = array == phantom.GREY["MYO"]
    for part, name in ((node, "Scar"), (node.GetNodeReference("ConFUDA.wallSegments"), "AHA-1")):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(part, name, volume) > 0
        assert found.any() and not (found & ~muscle).any()


def test_segments_share_one_layer(bench, phantom, tmp_path):
    node = segment_without_process(phantom.addVolume(), tmp_path)
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_subject_hierarchy_place(bench, phantom, tmp_path):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    volume = phantom.addVolume()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)

    node = segment_without_process(volume, tmp_path)

    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_terminology_is_known_to_slicer(bench):
    import slicer
    import vtk

    from confuda.labels import CATEGORY_CODE, OWN_TERMINOLOGY, STRUCTURES

    logic = slicer.modules.terminologies.logic()
    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    assert OWN_TERMINOLOGY in [names.GetValue(index) for index in range(names.GetNumberOfValues())]
    category = slicer.vtkSlicerTerminologyCategory()
    assert logic.GetNthCategoryInTerminology(OWN_TERMINOLOGY, 0, category)
    assert category.GetCodeValue() == CATEGORY_CODE
    types = {}
    for index in range(logic.GetNumberOfTypesInTerminologyCategory(OWN_TERMINOLOGY, category)):
        kind = slicer.vtkSlicerTerminologyType()
        assert logic.GetNthTypeInTerminologyCategory(OWN_TERMINOLOGY, category, index, kind)
        types[kind.GetCodeValue()] = (kind.GetCodeMeaning(), list(kind.GetRecommendedDisplayRGBValue()))
    for structure in STRUCTURES:
        assert types[structure.code] == (structure.display_name, list(structure.color))


def test_slice_axis_is_the_workers(bench, phantom):
    from confuda.imaging.stack import find_slice_axis
    from ConFUDASegmentLib.scene_in import geometryOf

    random = np.random.default_rng(1)
    for _ in range(60):
        size = random.choice([1, 8, 12, 30, 31], 3).tolist()
        spacing = random.choice([1.0, 1.2, 1.5, 8.0], 3).tolist()
        volume = phantom.addVolume(np.zeros(size[::-1], np.uint8), np.diag([*spacing, 1.0]))
        geometry = geometryOf(volume)
        assert geometry.sliceAxis == find_slice_axis(size, spacing)
        assert geometry.sliceCount == size[geometry.sliceAxis]


def test_current_slice_of_the_view(bench, phantom):
    import slicer

    from ConFUDASegmentLib.scene_in import sliceAtView

    volume = phantom.addVolume(None, phantom.obliqueMatrix())
    volume.SetAndObserveTransformNodeID(phantom.addTransform().GetID())
    view = slicer.vtkMRMLSliceNode()
    for index in range(6):
        world = [0.0, 0.0, 0.0]
        ras = slicer.util.arrayFromVTKMatrix(_matrix(volume)) @ [20.0, 15.0, index, 1.0]
        volume.TransformPointToWorld(ras[:3].tolist(), world)
        for row in range(3):
            view.GetSliceToRAS().SetElement(row, 3, world[row])
        assert sliceAtView(volume, view) == index


def _matrix(volume):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_path_with_spaces_and_other_letters(bench, phantom, tmp_path):
    folder = Path(tmp_path, "Ω ü 心 folder")
    folder.mkdir()
    array = phantom.makeArray()
    volume = phantom.addVolume(array)
    assert_same_place(volume, array, segment_without_process(volume, folder), phantom)
