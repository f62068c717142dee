"""How a result looks: in the slice and 3D views, which a Slicer without a main window does not have and which go to the
heart and back; and in the panel, with its tables and what is said about them."""

import itertools
import math
from typing import Any, Dict, List, Optional, Tuple

import slicer
import vtk
from slicer.i18n import tr as _

from confuda.labels import STRUCTURES

from .controls import resultsHeader
from .readouts import chartOf, drawBullsEye, isWallTable, showWallSegments, thicknessOf, wallSegmentsOf
from .results import hasOwnColors, massCaveatOf, tablesOf, useColors
from .scene_in import geometryOf
from .scene_out import show3D, volumeOf

OPACITY = 0.5  # of the uncertainty map over its volume
SLICE_MARGIN = 1.6  # how much more than the heart a slice view shows: its surroundings tell where the outlines end
THREE_D_MARGIN = 1.15


def redSliceNode() -> Optional[Any]:
    return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")


def showVolume(volumeNode: Any) -> None:
    """In all slice views, as after loading it."""
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)


def showChart(chartNode: Any) -> None:
    """In a plot view, which the layout gets if it has none."""
    if slicer.app.layoutManager() is None:
        return
    plots = getattr(slicer.modules, "plots", None)
    if plots is not None:
        plots.logic().ShowChartInLayout(chartNode)
        return
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    for index in range(chartNode.GetScene().GetNumberOfNodesByClass("vtkMRMLPlotViewNode")):
        chartNode.GetScene().GetNthNodeByClass(index, "vtkMRMLPlotViewNode").SetPlotChartNodeID(chartNode.GetID())


def showHeart(segmentationNode: Any, volumeNode: Optional[Any]) -> None:
    """The slice views that show the volume go to the heart and fit it; the 3D views show it large.

    Views of other volumes stay as they are. Nothing happens where not a voxel was found.
    """
    corners = _heartCorners(segmentationNode, volumeNode) if volumeNode is not None else []
    if not corners:
        return
    scene = segmentationNode.GetScene()
    for view in _sliceViews(scene):
        if volumeNode.GetID() in (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()):
            sliceNode = _sliceNodeOf(view)
            if sliceNode is not None:
                _fitSlice(sliceNode, corners, volumeNode)
    fitThreeD(segmentationNode, volumeNode)


def fitThreeD(segmentationNode: Any, volumeNode: Optional[Any]) -> None:
    """From where each camera looks now. Slicer's own reset would fit all that is shown, large volumes included."""
    cameras = getattr(slicer.modules, "cameras", None)
    corners = _heartCorners(segmentationNode, volumeNode) if volumeNode is not None else []
    if cameras is None or not corners:
        return
    scene, center = segmentationNode.GetScene(), _middle(corners)
    radius = max(math.dist(center, corner) for corner in corners)
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLViewNode")):
        camera = cameras.logic().GetViewActiveCameraNode(scene.GetNthNodeByClass(index, "vtkMRMLViewNode"))
        if camera is None:
            continue
        away = [there - here for there, here in zip(camera.GetPosition(), camera.GetFocalPoint())]
        length = math.hypot(*away)
        if length == 0:
            continue
        distance = THREE_D_MARGIN * radius / math.sin(math.radians(camera.GetViewAngle()) / 2)
        camera.SetFocalPoint(*center)
        camera.SetPosition(*(middle + part * distance / length for middle, part in zip(center, away)))
        if camera.GetParallelProjection():
            camera.SetParallelScale(THREE_D_MARGIN * radius)
        camera.ResetClippingRange()


def _heartCorners(segmentationNode: Any, volumeNode: Any) -> List[List[float]]:
    """The corners, in the world, of the smallest box of the volume's voxels around the structures."""
    low, high = [math.inf] * 3, [-math.inf] * 3
    for structure in STRUCTURES:
        if segmentationNode.GetSegmentation().GetSegment(structure.name) is None:
            continue
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, structure.name, volumeNode)
        for axis, places in enumerate(reversed(mask.nonzero())):
            if len(places):
                low[axis], high[axis] = min(low[axis], places.min()), max(high[axis], places.max())
    if low[0] > high[0]:
        return []
    ijkToRas = geometryOf(volumeNode).ijkToRas
    corners = []
    for ijk in itertools.product(*zip((value - 0.5 for value in low), (value + 0.5 for value in high))):
        world = [0.0, 0.0, 0.0]
        volumeNode.TransformPointToWorld(ijkToRas.MultiplyPoint((*ijk, 1.0))[:3], world)
        corners.append(world)
    return corners


def _middle(corners: List[List[float]]) -> List[float]:
    return [sum(corner[axis] for corner in corners) / len(corners) for axis in range(3)]


def _fitSlice(sliceNode: Any, corners: List[List[float]], volumeNode: Any) -> None:
    """In the volume's own planes, so that the view shows acquired slices and not mixtures of them."""
    sliceNode.RotateToVolumePlane(volumeNode)
    sliceNode.JumpSliceByCentering(*_nearestSlice(volumeNode, _middle(corners)))
    rasToSlice = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceNode.GetSliceToRAS(), rasToSlice)
    seen = [rasToSlice.MultiplyPoint((*corner, 1.0)) for corner in corners]
    width = 2 * SLICE_MARGIN * max(abs(corner[0]) for corner in seen)
    height = 2 * SLICE_MARGIN * max(abs(corner[1]) for corner in seen)
    columns, rows = sliceNode.GetDimensions()[:2]
    if columns <= 0 or rows <= 0:
        return
    millimetresPerPixel = max(width / columns, height / rows)
    depth = sliceNode.GetFieldOfView()[2]
    sliceNode.SetFieldOfView(millimetresPerPixel * columns, millimetresPerPixel * rows, depth)
    sliceNode.UpdateMatrices()


def _nearestSlice(volumeNode: Any, world: List[float]) -> List[float]:
    """The point moved along the slice axis into the middle of a slice; transforms included."""
    geometry = geometryOf(volumeNode)
    local = [0.0, 0.0, 0.0]
    volumeNode.TransformPointFromWorld(world, local)
    rasToIjk = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(geometry.ijkToRas, rasToIjk)
    ijk = list(rasToIjk.MultiplyPoint((*local, 1.0)))
    ijk[geometry.sliceAxis] = min(max(round(ijk[geometry.sliceAxis]), 0), geometry.sliceCount - 1)
    moved = [0.0, 0.0, 0.0]
    volumeNode.TransformPointToWorld(geometry.ijkToRas.MultiplyPoint(ijk)[:3], moved)
    return moved


def _sliceNodeOf(view: Any) -> Optional[Any]:
    """The slice node of the view that a slice composite node belongs to: they share the layout's name."""
    scene = view.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        sliceNode = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        if sliceNode.GetLayoutName() == view.GetLayoutName():
            return sliceNode
    return None


class Overlay:
    """Lays one map over its volume in the slice views, and gives back the foreground that it took the place of."""

    def __init__(self) -> None:
        self._former: Dict[str, Tuple[Optional[str], float]] = {}  # foreground and opacity by view
        self._shownId: Optional[str] = None

    def show(self, scene: Any, node: Any, volumeNode: Optional[Any]) -> None:
        """In every slice view that has `volumeNode` as its background. No background is ever changed."""
        self.hide(scene, None)
        if volumeNode is None:
            return
        self._shownId = node.GetID()
        for view in _sliceViews(scene):
            if view.GetBackgroundVolumeID() == volumeNode.GetID():
                former = view.GetForegroundVolumeID()
                self._former[view.GetID()] = (
                    None if former == self._shownId else former,
                    view.GetForegroundOpacity(),
                )
                view.SetForegroundVolumeID(self._shownId)
                view.SetForegroundOpacity(OPACITY)

    def hide(self, scene: Any, node: Optional[Any]) -> None:
        """Views in which the user has meanwhile put something else are left alone.

        `node`: a map that is taken out of every view, for those of a loaded scene may show it already.
        """
        for view in _sliceViews(scene):
            if view.GetID() in self._former and view.GetForegroundVolumeID() == self._shownId:
                foreground, opacity = self._former[view.GetID()]
                view.SetForegroundVolumeID(foreground)
                view.SetForegroundOpacity(opacity)
            elif node is not None and view.GetForegroundVolumeID() == node.GetID():
                view.SetForegroundVolumeID(None)
        self.forget()

    def forget(self) -> None:
        """The scene closes, and the views' contents with it."""
        self._former = {}
        self._shownId = None


def _sliceViews(scene: Any) -> List[Any]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(count)]


class ResultDisplay:
    """The tables of the last result and what goes with them."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._tables: List[Tuple[str, Any]] = []
        self._segmentation: Optional[Any] = None
        ui.tableCombo.currentIndexChanged.connect(self._showTable)
        ui.show3DButton.clicked.connect(self._onShow3D)
        ui.colorsButton.clicked.connect(self._onColors)
        ui.curveButton.clicked.connect(self._onCurve)
        ui.wallButton.clicked.connect(self._onWall)

    def show(self, segmentation: Optional[Any], table: Optional[Any]) -> None:
        """`table`: what is shown where the segmentation has none, for it was removed."""
        ui = self._ui
        tables = tablesOf(segmentation)
        if not tables and table is not None:
            tables = [("", table)]
        isAnother = segmentation is not self._segmentation or [n for n, _t in tables] != [n for n, _t in self._tables]
        self._segmentation, self._tables = segmentation, tables
        if isAnother:
            wasBlocked = ui.tableCombo.blockSignals(True)
            ui.tableCombo.clear()
            for name, _table in tables:
                ui.tableCombo.addItem(name)
            # A cine's function is what was asked for; of a still volume the first table tells most.
            ui.tableCombo.currentIndex = 1 if len(tables) > 1 and chartOf(segmentation) is not None else 0
            ui.tableCombo.blockSignals(wasBlocked)
        ui.tableCombo.visible = len(tables) > 1
        ui.resultsButton.visible = segmentation is not None or bool(tables)
        ui.resultsButton.text = resultsHeader(segmentation)
        for button in (ui.show3DButton, ui.colorsButton):
            button.enabled = segmentation is not None
        display = segmentation.GetDisplayNode() if segmentation is not None else None
        ui.show3DButton.checked = display is not None and bool(display.GetVisibility3D())
        ui.colorsButton.checked = segmentation is not None and not hasOwnColors(segmentation)
        ui.curveButton.visible = chartOf(segmentation) is not None
        wall = wallSegmentsOf(segmentation)
        ui.wallButton.visible = wall is not None
        wallDisplay = wall.GetDisplayNode() if wall is not None else None
        ui.wallButton.checked = wallDisplay is not None and bool(wallDisplay.GetVisibility())
        self._showTable()

    def _onShow3D(self, *_arguments: Any) -> None:
        if self._segmentation is not None:
            show3D(self._segmentation, bool(self._ui.show3DButton.checked))
            fitThreeD(self._segmentation, volumeOf(self._segmentation))

    def _onColors(self, *_arguments: Any) -> None:
        if self._segmentation is not None:
            useColors(self._segmentation, own=not self._ui.colorsButton.checked)

    def _onCurve(self, *_arguments: Any) -> None:
        chart = chartOf(self._segmentation)
        if chart is not None:
            showChart(chart)

    def _onWall(self, *_arguments: Any) -> None:
        if self._segmentation is not None:
            showWallSegments(self._segmentation, bool(self._ui.wallButton.checked))

    def _showTable(self, *_arguments: Any) -> None:
        ui = self._ui
        place = min(max(ui.tableCombo.currentIndex, 0), len(self._tables) - 1)
        table = self._tables[place][1] if self._tables else None
        ui.resultsTable.setMRMLTableNode(table)
        ui.resultsTable.visible = table is not None
        caveat = massCaveatOf(table)
        ui.caveatLabel.text = caveat
        ui.caveatLabel.visible = bool(caveat)
        isWall = table is not None and isWallTable(self._segmentation, table)
        ui.bullsEyeLabel.visible = isWall
        if isWall:
            ui.bullsEyeLabel.pixmap = drawBullsEye(thicknessOf(table), _("Wall thickness [mm]"))
