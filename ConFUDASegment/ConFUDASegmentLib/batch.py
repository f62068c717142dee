"""Several volumes, one after the other: the list in which they are ticked, and the runs that follow one press."""

from typing import Any, Callable, List, Optional, Set, Tuple

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .errors import ConFUDAError, InvalidInputError
from .job import CANCELLED, FINISHED, SegmentationJob
from .scene_out import isUncertainty
from .worker import Signal


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
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if node.GetClassName() != "vtkMRMLScalarVolumeNode" or node.GetHideFromEditors() or isUncertainty(node):
                continue
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
        if job.state == CANCELLED:
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
