"""Results into the scene: segments with terminology, colours, geometry, transform, place and surface; frames of a cine;
tables; the preview and the uncertainty map."""

from typing import Any, List, Optional, Sequence, Tuple

import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from confuda.labels import DOUBT_COLORS, SCAR, STRUCTURES, Structure

from .errors import JobFailedError
from .scene_in import Geometry, browserOf, placedNow, readLabels, shownFrame

UNCERTAINTY_ROLE = "ConFUDA.uncertainty"  # node reference from the segmentation to its map
_COLORS_TAG = "ConFUDAUncertainty"  # of the one colour table of all maps in a scene
_COLOR_COUNT = 256
SHOWN_FROM = 0.1  # below, the map is transparent: a little doubt is everywhere
SHOWN_TO = 0.6  # the brightest colour; 0.5 is a tie between two classes, and more is rare
SEQUENCE_ROLE = "ConFUDA.sequence"  # to the sequence of segmentations that it shows a frame of


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
        geometry = placedNow(geometry, volumeNode)
        wasModifying = node.StartModify()
        try:
            node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
            node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
            node.CreateDefaultDisplayNodes()
            array = numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
            for structure in STRUCTURES:
                declareSegment(node, structure)
                setSegment(node, structure.name, array == structure.label, geometry)
            node.GetSegmentation().CollapseBinaryLabelmaps(False)
        finally:
            node.EndModify(wasModifying)

    def _newNode(self, volumeNode: Any) -> Any:
        name = self._scene.GenerateUniqueName(_("{volume} ConFUDA").format(volume=volumeNode.GetName() or _("Volume")))
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        placeBeside(self._scene, node, volumeNode)
        return node


def writeFrames(
    scene: Any, writer: SegmentationWriter, frames: Sequence[Any], geometry: Geometry, volumeNode: Any
) -> Any:
    """A segmentation that shows, and plays with the cine, the frames of a new sequence of segmentations."""
    browser = browserOf(volumeNode)
    if browser is None or browser.GetSequenceNode(volumeNode).GetNumberOfDataNodes() != len(frames):
        raise JobFailedError(_("The sequence was changed during the run, so the result was not used."))
    images = browser.GetSequenceNode(volumeNode)
    selected = shownFrame(browser, images)
    node = writer.write(frames[selected], geometry, volumeNode)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(f"{node.GetName()} frames"))
    try:
        sequence.SetIndexName(images.GetIndexName())
        sequence.SetIndexUnit(images.GetIndexUnit())
        sequence.SetIndexType(images.GetIndexType())
        for index, labels in enumerate(frames):
            writer.fill(node, labels, geometry, volumeNode)
            node.CreateClosedSurfaceRepresentation()  # in each frame, so that the surfaces play along
            sequence.SetDataNodeAtValue(node, images.GetNthIndexValue(index))
        browser.AddSynchronizedSequenceNodeID(sequence.GetID())
        shown = browser.GetProxyNode(sequence)
        browser.AddProxyNode(node, sequence, False)
        if shown is not None and shown is not node:  # Slicer shows each sequence of a browser at once, in a new node
            removeSegmentation(scene, shown)
        browser.SetOverwriteProxyName(sequence, False)
        node.SetNodeReferenceID(SEQUENCE_ROLE, sequence.GetID())
        placeBeside(scene, sequence, volumeNode)
        writer.fill(node, frames[selected], geometry, volumeNode)
        browser.SetSaveChanges(sequence, True)  # what the user corrects in a frame outlives a look at another one
    except Exception:
        removeSegmentation(scene, node)
        scene.RemoveNode(sequence)
        raise
    return node


def framesOf(segmentationNode: Any) -> List[Any]:
    """The segmentations of a cine's frames, of which this one shows one at a time; none for a still volume's."""
    sequence = segmentationNode.GetNodeReference(SEQUENCE_ROLE)
    count = sequence.GetNumberOfDataNodes() if sequence is not None else 0
    return [sequence.GetNthDataNode(index) for index in range(count)]


def removeSegmentation(scene: Any, node: Any) -> None:
    """Takes the node out of the scene together with its display node, which the scene would keep."""
    display = node.GetDisplayNode()
    scene.RemoveNode(node)
    if display is not None:
        scene.RemoveNode(display)


def wouldMoveOthers(outputNode: Any, volumeNode: Any) -> bool:
    """Whether following the volume's transform would move segments of the output that are not ConFUDA's."""
    own = {structure.name for structure in (*STRUCTURES, SCAR)}
    isSame = (outputNode.GetTransformNodeID() or "") == (volumeNode.GetTransformNodeID() or "")
    return not isSame and not own.issuperset(outputNode.GetSegmentation().GetSegmentIDs())


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


def declareSegment(node: Any, structure: Structure) -> None:
    """A segment with the structure's name, colour and terminology, made where it is not there."""
    segmentation = node.GetSegmentation()
    color = list(structure.rgb)
    segment = segmentation.GetSegment(structure.name)
    if segment is None:
        segmentation.AddEmptySegment(structure.name, structure.display_name, color)
        segment = segmentation.GetSegment(structure.name)
    segment.SetName(structure.display_name)
    segment.SetColor(color)
    # The tag instead of SetTerminology: Slicer 5.8 has no such method.
    segment.SetTag(segment.GetTerminologyEntryTagName(), structure.terminology_entry)


def setSegment(node: Any, segmentId: str, mask: Any, geometry: Geometry) -> None:
    """Puts a mask, an array in the order of the voxels, into a segment that is there."""
    image = _binaryImage(mask, geometry)
    if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segmentId):
        raise RuntimeError(f"segment {segmentId} could not be set")


def _binaryImage(mask: Any, geometry: Geometry) -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*geometry.dimensions)
    scalars = numpy_support.numpy_to_vtk(mask.astype("uint8"), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(geometry.ijkToRas)
    return image


def addTable(
    scene: Any, segmentationNode: Any, role: str, name: str, columns: Sequence[str], lines: Sequence[Tuple[Any, ...]]
) -> Any:
    """A table of the segmentation, made when it is first needed: columns of texts or of numbers, as the first line."""
    table = segmentationNode.GetNodeReference(role)
    if table is None:
        unique = scene.GenerateUniqueName(f"{segmentationNode.GetName()} {name}")
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", unique)
        segmentationNode.SetNodeReferenceID(role, table.GetID())
    wasModifying = table.StartModify()
    try:
        table.RemoveAllColumns()
        for place, title in enumerate(columns):
            values = [line[place] for line in lines]
            array = vtk.vtkStringArray() if values and isinstance(values[0], str) else vtk.vtkDoubleArray()
            array.SetName(title)
            for value in values:
                array.InsertNextValue(value)
            table.AddColumn(array)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)
    finally:
        table.EndModify(wasModifying)
    return table


class Preview:
    """The live preview: one temporary segmentation, gone when the job ends, never saved with the scene."""

    def __init__(self, scene: Any, writer: SegmentationWriter) -> None:
        self._scene = scene
        self._writer = writer
        self._nodeId: Optional[str] = None
        self._display: Optional[Any] = None
        self._stopped = False

    @property
    def node(self) -> Optional[Any]:
        return self._scene.GetNodeByID(self._nodeId) if self._nodeId else None

    def show(self, path: str, geometry: Geometry, volumeNode: Any) -> None:
        """Shows a labelmap file. Once the user has deleted the preview, no further one appears."""
        if self._stopped:
            return
        labels = readLabels(path, geometry)
        node = self.node
        if node is None and self._nodeId is not None:
            self._stopped = True
            return
        if node is None:
            node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", _("ConFUDA preview"))
            node.SetSaveWithScene(False)
            node.SetHideFromEditors(True)  # it can't be picked as an input or output anywhere
            self._nodeId = node.GetID()
            node.CreateDefaultDisplayNodes()
            self._display = node.GetDisplayNode()
            self._display.SetSaveWithScene(False)
            self._display.SetVisibility2DFill(False)  # outlines: the image stays visible under them
        self._writer.fill(node, labels, geometry, volumeNode)

    def remove(self) -> None:
        """Both nodes, each if it is still there: the scene does not remove a display node with its node."""
        self._stopped = True
        for node in (self.node, self._display):
            if node is not None and self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)
        self._display = None


def writeUncertainty(scene: Any, segmentationNode: Any, image: Any, geometry: Geometry, volumeNode: Any) -> Any:
    """Puts `image` (float, 0 to 1) into the segmentation's map, made at its first one. No view is changed."""
    node = uncertaintyOf(segmentationNode)
    if node is None:
        name = _("{volume} uncertainty").format(volume=volumeNode.GetName() or _("Volume"))
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
        node.SetAttribute(UNCERTAINTY_ROLE, "map")
        _setDisplay(scene, node.GetDisplayNode())
        segmentationNode.SetNodeReferenceID(UNCERTAINTY_ROLE, node.GetID())
        placeBeside(scene, node, volumeNode)
    wasModifying = node.StartModify()
    try:
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.SetIJKToRASMatrix(geometry.ijkToRas)
        node.SetAndObserveImageData(image)
    finally:
        node.EndModify(wasModifying)
    return node


def uncertaintyOf(segmentationNode: Optional[Any]) -> Optional[Any]:
    """The map of this segmentation, or None."""
    return segmentationNode.GetNodeReference(UNCERTAINTY_ROLE) if segmentationNode is not None else None


def isUncertainty(volumeNode: Any) -> bool:
    """Whether a volume is one of our maps and no image."""
    return volumeNode.GetAttribute(UNCERTAINTY_ROLE) is not None


def volumeOf(segmentationNode: Any) -> Optional[Any]:
    """The volume that was segmented."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def forgetUncertainty(segmentationNode: Any) -> None:
    """The segmentation was made anew without a map: an older map stays in the scene, but it is not this one's."""
    segmentationNode.SetNodeReferenceID(UNCERTAINTY_ROLE, None)


def _setDisplay(scene: Any, display: Any) -> None:
    display.SetAndObserveColorNodeID(_doubtColors(scene).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, SHOWN_TO)
    display.SetAutoThreshold(False)
    display.SetThreshold(SHOWN_FROM, 1.0)
    display.SetApplyThreshold(True)


def _doubtColors(scene: Any) -> Any:
    """The colour table of uncertainty maps, made with the scene's first map."""
    found = scene.GetSingletonNode(_COLORS_TAG, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetSingletonTag(_COLORS_TAG)
    node.SetName(_("ConFUDA uncertainty"))
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLOR_COUNT)
    for index in range(_COLOR_COUNT):
        place = index / (_COLOR_COUNT - 1) * (len(DOUBT_COLORS) - 1)
        below = min(int(place), len(DOUBT_COLORS) - 2)
        share = place - below
        pairs = zip(DOUBT_COLORS[below], DOUBT_COLORS[below + 1])
        node.SetColor(index, *(((1 - share) * low + share * high) / 255 for low, high in pairs), 1.0)
    node.SetNamesFromColors()
    return scene.AddNode(node)
