"""Slice and 3D views, which a Slicer without a main window does not have."""

from typing import Any, Dict, List, Optional, Tuple

import slicer

OPACITY = 0.5  # of the uncertainty map over its volume


def redSliceNode() -> Optional[Any]:
    return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")


def centerThreeD() -> None:
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


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


def _sliceViews(scene: Any) -> List[Any]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(count)]
