"""The uncertainty map: a scalar volume on the volume's own grid, and how it lies over the volume in the slice views."""

from typing import Any, Dict, Optional, Tuple

from slicer.i18n import tr as _

from .segments import placeBeside
from .volumes import Geometry

UNCERTAINTY_ROLE = "ConFUDA.uncertainty"  # node reference from the segmentation to its map
COLOR_NODE_IDS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLColorTableNodeIron")  # the first that is there
SHOWN_FROM = 0.1  # below, the map is transparent: everywhere is a little doubt
SHOWN_TO = 0.6  # the brightest colour; 0.5 is a tie between two classes, and more is rare
OPACITY = 0.5


def writeUncertainty(scene: Any, segmentationNode: Any, image: Any, geometry: Geometry, volumeNode: Any) -> Any:
    """Puts `image` (float, 0 to 1) into the segmentation's map, made at its first one. No view is changed."""
    node = uncertaintyOf(segmentationNode)
    if node is None:
        name = _("{volume} uncertainty").format(volume=volumeNode.GetName() or _("Volume"))
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
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


def volumeOf(segmentationNode: Any) -> Optional[Any]:
    """The volume that was segmented."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def forgetUncertainty(segmentationNode: Any) -> None:
    """The segmentation was made anew without a map: an older map stays in the scene, but it is not this one's."""
    segmentationNode.SetNodeReferenceID(UNCERTAINTY_ROLE, None)


class Overlay:
    """Lays one map over its volume in the slice views, and gives back the foreground that it took the place of."""

    def __init__(self) -> None:
        self._former: Dict[str, Tuple[Optional[str], float]] = {}  # foreground and opacity by view
        self._shownId: Optional[str] = None

    def show(self, scene: Any, node: Any, volumeNode: Optional[Any]) -> None:
        """In every slice view that has `volumeNode` as its background. No background is ever changed."""
        self.hide(scene)
        if volumeNode is None:
            return
        self._shownId = node.GetID()
        for view in _sliceViews(scene):
            if view.GetBackgroundVolumeID() == volumeNode.GetID():
                self._former[view.GetID()] = (view.GetForegroundVolumeID(), view.GetForegroundOpacity())
                view.SetForegroundVolumeID(self._shownId)
                view.SetForegroundOpacity(OPACITY)

    def hide(self, scene: Any) -> None:
        """Views in which the user has meanwhile put something else are left alone."""
        for view in _sliceViews(scene):
            if view.GetID() in self._former and view.GetForegroundVolumeID() == self._shownId:
                foreground, opacity = self._former[view.GetID()]
                view.SetForegroundVolumeID(foreground)
                view.SetForegroundOpacity(opacity)
        self.forget()

    def forget(self) -> None:
        """The scene closes, and the views' contents with it."""
        self._former = {}
        self._shownId = None


def _sliceViews(scene: Any) -> Any:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(count)]


def _setDisplay(scene: Any, display: Any) -> None:
    for identifier in COLOR_NODE_IDS:
        if scene.GetNodeByID(identifier) is not None:
            display.SetAndObserveColorNodeID(identifier)
            break
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, SHOWN_TO)
    display.SetAutoThreshold(False)
    display.SetThreshold(SHOWN_FROM, 1.0)
    display.SetApplyThreshold(True)
