"""A cine's label maps as Slicer's own reader shows them: a sequence of label maps, in time, where they were."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart

from confuda.io.cine_file import write_cine, write_cine_labels


def load(path):
    """A sequence node with what ``path`` holds, as Slicer's own storage node reads it."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeSequenceStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def make_cine():
    """Three frames on an oblique grid, each another one."""
    image, labels = make_heart()
    for frame in (image, labels):
        frame.SetDirection((0.8, 0.0, -0.6, 0.0, 1.0, 0.0, 0.6, 0.0, 0.8))
        frame.SetOrigin((-60.0, 40.5, 12.0))
    return [labels, labels * 0, sitk.Cast(labels == 2, sitk.sitkUInt8) * 2], image


def test_slicer_reads_a_sequence_of_label_maps(host, tmp_path) -> None:
    import vtk
    from slicer.util import arrayFromVolume

    frames, _ = make_cine()
    node = load(write_cine_labels(frames, tmp_path / "cine.seq.nrrd", times_ms=(0, 41.5, 83)))
    assert node.GetNumberOfDataNodes() == 3
    assert [node.GetNthIndexValue(number) for number in range(3)] == ["0", "41.5", "83"]
    assert (node.GetIndexName(), node.GetIndexUnit()) == ("time", "ms")
    matrix = vtk.vtkMatrix4x4()
    for number, frame in enumerate(frames):
        data = node.GetNthDataNode(number)
        assert data.GetClassName() == "vtkMRMLLabelMapVolumeNode"
        assert np.array_equal(arrayFromVolume(data), sitk.GetArrayFromImage(frame))
        data.GetIJKToRASMatrix(matrix)
        for index in ((0, 0, 0), (5, 7, 2)):
            left, back, up = frame.TransformIndexToPhysicalPoint(index)
            assert np.allclose(matrix.MultiplyPoint((*index, 1))[:3], (-left, -back, up), atol=1e-3)


@pytest.mark.parametrize("name", ["cine.seq.nrrd", "cine.nii.gz"])
def test_slicer_reads_a_cine_of_images(host, tmp_path, name: str) -> None:
    from slicer.util import arrayFromVolume

    _, image = make_cine()
    frames = [image, image * 2, image * 0.5]
    frames = [sitk.Cast(frame, sitk.sitkFloat32) for frame in frames]
    node = load(write_cine(frames, tmp_path / name))
    assert node.GetNumberOfDataNodes() == 3
    for number, frame in enumerate(frames):
        data = node.GetNthDataNode(number)
        assert data.GetClassName() == "vtkMRMLScalarVolumeNode"
        assert np.allclose(arrayFromVolume(data), sitk.GetArrayFromImage(frame))
