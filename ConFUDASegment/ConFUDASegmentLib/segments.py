"""Labels into a segmentation node: segments with terminology, colours, geometry, transform, place and surface."""

from typing import Any, List, Optional

import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from confuda.labels import STRUCTURES, Structure

from .volumes import Geometry


class SegmentationWriter:
    """Writes one result. If anything fails, the scene is left as it was."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def write(self, labels: Any, geometry: Geometry, volumeNode: Any, outputNode: Optional[Any] = None) -> Any:
        """Segments in `outputNode`, or in a new node. The user's own further segments in `outputNode` stay."""
        if outputNode is None:
            node = self._newNode(volumeNode)
            try:
                self.fill(node, labels, geometry, volumeNode)
            except Exception:
                removeSegmentation(self._scene, node)
                raise
            return node
        self._scene.SaveStateForUndo()
        backup = slicer.vtkSegmentation()
        backup.DeepCopy(outputNode.GetSegmentation())
        try:
            self.fill(outputNode, labels, geometry, volumeNode)
        except Exception:
            outputNode.GetSegmentation().DeepCopy(backup)
            raise
        return outputNode

    def fill(self, node: Any, labels: Any, geometry: Geometry, volumeNode: Any) -> None:
        """Puts MYO, LV and RV into `node`, under the volume's transform and on the volume's grid."""
        wasModifying = node.StartModify()
        try:
            node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
            node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
            node.CreateDefaultDisplayNodes()
            array = numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
            for structure in STRUCTURES:
                _declareSegment(node, structure)
                image = _binaryImage(array == structure.label, geometry)
                if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, structure.name):
                    raise RuntimeError(f"segment {structure.name} could not be set")
            node.GetSegmentation().CollapseBinaryLabelmaps(False)
        finally:
            node.EndModify(wasModifying)

    def _newNode(self, volumeNode: Any) -> Any:
        name = self._scene.GenerateUniqueName(_("{volume} ConFUDA").format(volume=volumeNode.GetName() or _("Volume")))
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        placeBeside(self._scene, node, volumeNode)
        return node


def removeSegmentation(scene: Any, node: Any) -> None:
    """Takes the node out of the scene together with its display node, which the scene would keep."""
    display = node.GetDisplayNode()
    scene.RemoveNode(node)
    if display is not None:
        scene.RemoveNode(display)


def emptyStructures(node: Any) -> List[Structure]:
    """The structures of which not a voxel was found."""
    empty = []
    for structure in STRUCTURES:
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(structure.name, image)
        if image.IsEmpty() or image.GetScalarRange()[1] == 0:
            empty.append(structure)
    return empty


def show3D(node: Any, visible: bool) -> None:
    """Shows or hides the closed surfaces; they are made the first time they are wanted."""
    if visible:
        node.CreateClosedSurfaceRepresentation()
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility3D(visible)


def placeBeside(scene: Any, node: Any, volumeNode: Any) -> None:
    """Puts `node` under the volume's parent (study or folder) in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    volumeItem = hierarchy.GetItemByDataNode(volumeNode)
    nodeItem = hierarchy.GetItemByDataNode(node)
    if volumeItem and nodeItem:
        hierarchy.SetItemParent(nodeItem, hierarchy.GetItemParent(volumeItem))


def _declareSegment(node: Any, structure: Structure) -> None:
    segmentation = node.GetSegmentation()
    color = [value / 255.0 for value in structure.color]
    segment = segmentation.GetSegment(structure.name)
    if segment is None:
        segmentation.AddEmptySegment(structure.name, structure.display_name, color)
        segment = segmentation.GetSegment(structure.name)
    segment.SetName(structure.display_name)
    segment.SetColor(color)
    # The tag instead of SetTerminology: Slicer 5.8 has no such method.
    segment.SetTag(segment.GetTerminologyEntryTagName(), structure.terminology_entry)


def _binaryImage(mask: Any, geometry: Geometry) -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*geometry.dimensions)
    scalars = numpy_support.numpy_to_vtk(mask.astype("uint8"), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(geometry.ijkToRas)
    return image
