"""What the command line writes is what Slicer's own reader shows: segments, names, colours, codes, voxels."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart

from confuda.io.segmentation_file import read_segmentation, write_segmentation
from confuda.labels import SCAR, STRUCTURES


@pytest.fixture
def labelmap() -> sitk.Image:
    """The toy heart's labels on an oblique grid."""
    truth = make_heart()[1]
    truth.SetDirection((0.8, 0.0, -0.6, 0.0, 1.0, 0.0, 0.6, 0.0, 0.8))
    truth.SetOrigin((-60.0, 40.5, 12.0))
    return truth


def load(path):
    """A segmentation node with what ``path`` holds, as Slicer's own storage node reads it."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def test_slicer_shows_names_colours_and_codes(host, labelmap, tmp_path):
    import vtk

    node = load(write_segmentation(labelmap, tmp_path / "heart.seg.nrrd"))
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    for number, structure in enumerate(STRUCTURES):
        segment = segmentation.GetNthSegment(number)
        assert segmentation.GetNthSegmentID(number) == structure.name
        assert segment.GetName() == structure.display_name
        assert np.rint(255 * np.array(segment.GetColor())).tolist() == list(structure.color)
        # The one way to the entry that Slicer 5.8 to 5.13 share.
        entry = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), entry)
        words = str(entry).split("~")
        assert words[1] == "SCT^123037004^Anatomical Structure"
        assert words[2] == f"SCT^{structure.code}^{structure.display_name}"


def test_slicer_sees_every_voxel_where_it_was_and_saves_it_again_uncropped(host, labelmap, tmp_path):
    import slicer

    path = write_segmentation(labelmap, tmp_path / "heart.seg.nrrd")
    node = load(path)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    again = tmp_path / "again.seg.nrrd"
    storage.SetFileName(str(again))
    assert storage.WriteData(node)
    expected, saved = read_segmentation(path), read_segmentation(again)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), sitk.GetArrayFromImage(labelmap))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(saved, name)(), getattr(expected, name)(), atol=1e-4)


def test_an_absent_structure_is_an_empty_segment(host, labelmap, tmp_path):
    import slicer

    path = write_segmentation(sitk.Cast(labelmap == 1, sitk.sitkUInt8), tmp_path / "wall.seg.nrrd")
    node = load(path)
    voxels = {}
    for structure in STRUCTURES:
        segment = node.GetSegmentation().GetSegment(structure.name)
        layer = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, structure.name)
        voxels[segment.GetName()] = int((layer == segment.GetLabelValue()).sum())
    wall = int((sitk.GetArrayFromImage(labelmap) == 1).sum())
    assert voxels == {"Myocardium": wall, "Left ventricle": 0, "Right ventricle": 0}


def test_slicer_shows_the_scar_as_a_fourth_segment_that_overlaps_the_muscle(host, labelmap, tmp_path):
    import slicer

    scar = sitk.Cast(labelmap == 1, sitk.sitkUInt8)
    node = load(write_segmentation(labelmap, tmp_path / "heart.seg.nrrd", scar=scar))
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegmentID(number) for number in range(4)] == ["MYO", "LV", "RV", "Scar"]
    assert np.rint(255 * np.array(segmentation.GetSegment("Scar").GetColor())).tolist() == list(SCAR.color)
    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    sitk.WriteImage(labelmap, str(tmp_path / "grid.nrrd"))
    storage.SetFileName(str(tmp_path / "grid.nrrd"))
    assert storage.ReadData(reference)
    labels = sitk.GetArrayFromImage(labelmap)
    for name, label in (("MYO", 1), ("LV", 2), ("RV", 3), ("Scar", 1)):
        shown = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, reference)
        assert np.array_equal(shown > 0, labels == label), name
