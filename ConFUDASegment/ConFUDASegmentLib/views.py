"""Slice and 3D views, which a Slicer without a main window does not have."""

from typing import Any, Optional

import slicer


def redSliceNode() -> Optional[Any]:
    return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")


def centerThreeD() -> None:
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()
