"""The live preview: one temporary segmentation, gone when the job ends, never saved with the scene."""

from typing import Any, Optional

from slicer.i18n import tr as _

from .segments import SegmentationWriter
from .volumes import Geometry, readLabels


class Preview:
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
