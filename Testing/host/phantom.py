"""Test volumes that carry their own truth: grey values 50, 100 and 150 are MYO, LV and RV."""

from typing import Any, Optional, Sequence, Tuple

import numpy as np
import slicer
import vtk

GREY = {"MYO": 50, "LV": 100, "RV": 150}


def makeArray(shape: Tuple[int, int, int] = (6, 40, 48)) -> np.ndarray:
    """A ring, its cavity and a crescent, different in each slice and symmetric in no axis."""
    array = np.full(shape, 10, np.uint8)
    rows, columns = np.mgrid[0 : shape[1], 0 : shape[2]]
    for index in range(1, shape[0] - 1):
        radius = np.hypot(rows - 18, columns - 26 - index)
        outer = 10 - 0.7 * index
        right = np.hypot(rows - 18, columns - 12) < outer - 1
        array[index][right & (radius > outer)] = GREY["RV"]
        array[index][radius <= outer] = GREY["MYO"]
        array[index][radius < outer - 4] = GREY["LV"]
    return array


def addVolume(
    array: Optional[np.ndarray] = None, ijkToRas: Optional[Sequence[Sequence[float]]] = None, name: str = "Phantom"
) -> Any:
    """A volume node in the scene. The default grid has thick slices, as short-axis stacks have."""
    matrix = np.array(ijkToRas) if ijkToRas is not None else np.diag([1.5, 1.5, 8.0, 1.0])
    return slicer.util.addVolumeFromArray(
        makeArray() if array is None else array, slicer.util.vtkMatrixFromArray(matrix), name
    )


def obliqueMatrix() -> np.ndarray:
    """Turned about two axes, as a short-axis acquisition lies in the body."""
    a, b = np.radians(35.0), np.radians(-50.0)
    first = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = first @ second @ np.diag([1.3, 1.4, 9.0])
    matrix[:3, 3] = [-40.0, 25.5, 110.25]
    return matrix


def addTransform(nonlinear: bool = False) -> Any:
    """A parent transform: rotation, shift and scaling; or a thin-plate spline."""
    if not nonlinear:
        transform = vtk.vtkTransform()
        transform.Translate(12.0, -7.0, 30.0)
        transform.RotateWXYZ(25.0, 1.0, 2.0, 3.0)
        transform.Scale(1.1, 0.9, 1.2)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
        node.SetMatrixTransformToParent(transform.GetMatrix())
        return node
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (60, 0, 0), (0, 60, 0), (0, 0, 40), (60, 60, 40)):
        source.InsertNextPoint(*point)
        target.InsertNextPoint(point[0] + 4, point[1] - 3 + point[0] * 0.05, point[2] + point[1] * 0.04)
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warped")
    node.SetAndObserveTransformToParent(spline)
    return node
