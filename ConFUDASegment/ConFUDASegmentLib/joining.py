"""Volumes that were loaded one slice each, as one vendor exports a short-axis stack: found, and joined on request."""

import re
from typing import Any, List, NamedTuple, Optional

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from confuda.imaging.parallel_slices import JoinedSlices, SlicePlace, join_slices, strip_number

from .scene_out import isUncertainty, placeBeside

JOINED_ROLE = "ConFUDA.joined"  # node reference from each slice to the volume that it was joined into
_SERIES_NUMBER = re.compile(r"^\d+: ")  # Slicer's DICOM module puts it before the description


class Stack(NamedTuple):
    """Volumes of one slice each, in the order of their places."""

    volumeNodes: List[Any]
    isEven: bool


def findStack(scene: Any) -> Optional[Stack]:
    """The largest stack among the scene's volumes of one slice, or None. Those joined already don't count."""
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene) if _isSingleSlice(node)]
    found: List[JoinedSlices] = join_slices([_placeOf(node) for node in nodes])
    if not found:
        return None
    largest = max(found, key=lambda group: (group.is_even, len(group.order)))
    return Stack([nodes[number] for number in largest.order], largest.is_even)


def joinStack(stack: Stack) -> Any:
    """A new volume of these slices, beside the first of them. They stay as they are."""
    first = stack.volumeNodes[0]
    scene = first.GetScene()
    name = _SERIES_NUMBER.sub("", first.GetName() or "").rstrip("0123456789").rstrip(" _-.:") or _("Stack")
    voxels = np.concatenate([slicer.util.arrayFromVolume(node) for node in stack.volumeNodes])
    matrix, last = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    first.GetIJKToRASMatrix(matrix)
    stack.volumeNodes[-1].GetIJKToRASMatrix(last)
    for row in range(3):
        between = (last.GetElement(row, 3) - matrix.GetElement(row, 3)) / (len(stack.volumeNodes) - 1)
        matrix.SetElement(row, 2, between)
    name = scene.GenerateUniqueName(_("{name} joined").format(name=name))
    node = slicer.util.addVolumeFromArray(voxels, matrix, name)
    node.SetAndObserveTransformNodeID(first.GetTransformNodeID())
    placeBeside(scene, node, first)
    for part in stack.volumeNodes:
        part.SetNodeReferenceID(JOINED_ROLE, node.GetID())
    return node


def _isSingleSlice(node: Any) -> bool:
    image = node.GetImageData()
    return (
        node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and not isUncertainty(node)
        and node.GetNodeReference(JOINED_ROLE) is None
        and image is not None
        and image.GetPointData().GetScalars() is not None
        and image.GetDimensions()[2] == 1
        and min(image.GetDimensions()[:2]) > 1
        and image.GetNumberOfScalarComponents() == 1
    )


def _placeOf(node: Any) -> SlicePlace:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    columns = [[matrix.GetElement(row, column) for row in range(3)] for column in (0, 1, 3)]
    spacing = node.GetSpacing()
    row, column = ([part / spacing[axis] for part in columns[axis]] for axis in range(2))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) if hierarchy is not None else 0
    key = (strip_number(node.GetName() or ""), node.GetTransformNodeID(), study)
    size = node.GetImageData().GetDimensions()[:2]
    return SlicePlace(tuple(size), tuple(spacing[:2]), tuple(columns[2]), tuple(row), tuple(column), key)


class JoinSuggestion:
    """A line in the panel while such slices are in the scene, with a button that joins them."""

    def __init__(self, ui: Any, joined: Any) -> None:
        """joined: called with the new volume."""
        self._ui = ui
        self._joined = joined
        self._stack: Optional[Stack] = None
        self._isDue = False
        self._scene = slicer.mrmlScene
        events = (self._scene.NodeAddedEvent, self._scene.NodeRemovedEvent, self._scene.EndImportEvent)
        self._observations = [self._scene.AddObserver(event, self._onScene) for event in events]
        ui.joinButton.clicked.connect(self._onJoin)
        self.look()

    def close(self) -> None:
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._observations = []

    def look(self) -> None:
        """Looks for slices in the scene now."""
        self._isDue = False
        if not self._observations:
            return  # closed meanwhile
        stack = self._stack = findStack(self._scene)
        self._ui.joinPanel.visible = stack is not None
        self._ui.joinButton.visible = stack is not None and stack.isEven
        if stack is not None:
            text = (
                _("{count} volumes of one slice each belong together.")
                if stack.isEven
                else _("{count} volumes of one slice each lie in one stack, but a slice between them is missing.")
            )
            self._ui.joinLabel.text = text.format(count=len(stack.volumeNodes))

    def _onScene(self, _caller: Any, _event: Any) -> None:
        # Later and once: a volume gets its voxels after it was added, and dozens may be loaded at a time.
        if not self._isDue:
            self._isDue = True
            qt.QTimer.singleShot(0, self.look)

    def _onJoin(self, *_arguments: Any) -> None:
        self.look()  # what was found may have changed since
        if self._stack is not None and self._stack.isEven:
            self._joined(joinStack(self._stack))
            self.look()
