"""Several volumes: those ticked are segmented one after the other; those loaded one slice each, as one vendor exports a
short-axis stack, are found and joined on request."""

import re
from typing import Any, Callable, List, NamedTuple, Optional, Set, Tuple

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from confuda.imaging.parallel_slices import JoinedSlices, SlicePlace, join_slices, strip_number

from .errors import ConFUDAError, InvalidInputError
from .job import CANCELLED, FINISHED, SegmentationJob
from .scene_out import isUncertainty, placeBeside
from .worker import Signal

JOINED_ROLE = "ConFUDA.joined"  # node reference from each slice to the volume that it was joined into
_SERIES_NUMBER = re.compile(r"^\d+: ")  # Slicer's DICOM module puts it before the description


def offeredVolumes() -> List[Any]:
    """The volumes of the scene that may be segmented: grey-scale images, as the panel's selector lists them."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    isImage = [node.GetClassName() == "vtkMRMLScalarVolumeNode" and not isUncertainty(node) for node in nodes]
    return [node for node, wanted in zip(nodes, isImage) if wanted and not node.GetHideFromEditors()]


class VolumeList:
    """The volumes of the scene with a box each. Closed, it follows nothing; `changed` is emitted with nothing."""

    def __init__(self, button: Any, widget: Any) -> None:
        self.changed = Signal()
        self._button = button
        self._widget = widget
        self._scene: Optional[Any] = None
        self._observations: List[int] = []
        button.toggled.connect(self._onToggled)
        widget.itemChanged.connect(lambda *_arguments: self.changed.emit())

    @property
    def isOpen(self) -> bool:
        return bool(self._button.checked)

    def close(self) -> None:
        self._button.checked = False
        self._widget.clear()  # identifiers are used again in the next scene: its volumes must not come ticked

    def chosen(self) -> List[Any]:
        """The ticked volumes that are still in the scene, from top to bottom."""
        nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in self._ticked()]
        return [node for node in nodes if node is not None]

    def tick(self, volumeNode: Optional[Any]) -> None:
        if volumeNode is not None:
            self._fill({volumeNode.GetID()})

    def _onToggled(self, *_arguments: Any) -> None:
        self._widget.visible = self.isOpen
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._observations = []
        if self.isOpen:
            scene = self._scene = slicer.mrmlScene
            self._observations = [
                scene.AddObserver(event, self._onNode) for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent)
            ]
            self._fill(set())
        self.changed.emit()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, _caller: Any, _event: Any, node: Any) -> None:
        if node.IsA("vtkMRMLScalarVolumeNode"):
            self._fill(set())
            self.changed.emit()

    def _fill(self, alsoTicked: Set[str]) -> None:
        ticked = alsoTicked.union(self._ticked())
        wasBlocked = self._widget.blockSignals(True)
        self._widget.clear()
        for node in offeredVolumes():
            self._widget.addItem(node.GetName())  # by its text: an item made here would be Python's to delete
            item = self._widget.item(self._widget.count - 1)
            item.setData(qt.Qt.UserRole, node.GetID())
            item.setCheckState(qt.Qt.Checked if node.GetID() in ticked else qt.Qt.Unchecked)
        self._widget.blockSignals(wasBlocked)

    def _ticked(self) -> List[str]:
        items = [self._widget.item(row) for row in range(self._widget.count)]
        return [str(item.data(qt.Qt.UserRole)) for item in items if item.checkState() == qt.Qt.Checked]


class Batch:
    """The runs of one press. A volume that can't be segmented does not stop the others; a cancel stops them all."""

    def __init__(self, volumeNodes: List[Any], start: Callable[[Any], SegmentationJob]) -> None:
        self.total = len(volumeNodes)
        self.place = 0  # of the volume that is segmented now, from 1
        self.name = ""
        self._waiting: List[Tuple[str, str]] = [(node.GetID(), node.GetName()) for node in volumeNodes]
        self._start = start
        self._done: List[str] = []
        self._notes: List[str] = []

    def startNext(self) -> bool:
        """Starts the next volume that can be started; False when none is left."""
        while self._waiting:
            identifier, self.name = self._waiting.pop(0)
            self.place += 1
            node = slicer.mrmlScene.GetNodeByID(identifier)
            try:
                if node is None:
                    raise InvalidInputError(_("The volume was removed."))
                self._start(node)
                return True
            except ConFUDAError as error:
                self._note(error.message)
        return False

    def take(self, job: SegmentationJob) -> None:
        """Keeps what became of a run."""
        if job.state == FINISHED:
            self._done.append(self.name)
            for warning in job.warnings:
                self._note(warning)
        elif job.error is not None:
            self._note(job.error.message)
        if job.state == CANCELLED and not job.volumeWasRemoved:
            self._waiting = []

    @property
    def isComplete(self) -> bool:
        return len(self._done) == self.total and not self._notes

    def report(self) -> str:
        """What became of each volume."""
        head = _("{done} of {total} volumes were segmented.").format(done=len(self._done), total=self.total)
        return "\n".join([head, *self._notes])

    def _note(self, text: str) -> None:
        self._notes.append(f"{self.name}: {text}")


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
