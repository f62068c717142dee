"""Function, wall and scar in the scene: their tables, the curve of a cine's volumes, AHA's segments as a segmentation,
scar as a segment of its own, the bull's eye."""

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import qt
import slicer
from slicer.i18n import tr as _
from vtk.util import numpy_support

from confuda.labels import MYO, SCAR, STRUCTURES
from confuda.measure.bulls_eye import find_place

from .scene_in import Geometry, browserOf
from .scene_out import addTable, declareSegment, placeBeside, setSegment

# Node references from the segmentation to its tables.
FUNCTION_ROLE, CURVE_ROLE = "ConFUDA.function", "ConFUDA.curve"
WALL_ROLE, SCAR_ROLE = "ConFUDA.wall", "ConFUDA.scar"
CHART_ROLE = "ConFUDA.chart"  # node reference from the segmentation to its plot
WALL_SEGMENTS_ROLE = "ConFUDA.wallSegments"  # node reference from the segmentation to that of AHA's segments

_SEGMENT, _THICKNESS, _TRANSMURALITY = "Segment", "Thickness [mm]", "Transmurality [%]"
# Viridis (matplotlib), which grows brighter evenly and reads in grey: Slicer has no matplotlib.
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_ABSENT = (217, 217, 217)
_WHERE = ((90, "anterior"), (180, "septal"), (270, "inferior"), (0, "lateral"))
_PICTURE_WIDTH, _PICTURE_HEIGHT, _RING, _LETTERS = 314, 254, 26, 11  # pixels


def functionRows(function: Dict[str, Any]) -> List[Tuple[str, str, str]]:
    """(what and unit, left ventricle, right ventricle) for each line of the table; a dash for what there is not."""
    names = [
        (_("Ejection fraction"), "ejection_fraction_percent", "%"),
        (_("End-diastolic volume"), "edv_ml", "mL"),
        (_("End-systolic volume"), "esv_ml", "mL"),
        (_("Stroke volume"), "stroke_volume_ml", "mL"),
        (_("Mass at end-diastole"), "mass_g", "g"),
        (_("End-diastolic volume index"), "edv_ml_per_m2", "mL/m²"),
        (_("End-systolic volume index"), "esv_ml_per_m2", "mL/m²"),
        (_("Stroke volume index"), "stroke_volume_ml_per_m2", "mL/m²"),
        (_("Mass index"), "mass_g_per_m2", "g/m²"),
        (_("Frame of end-diastole"), "ed_frame", ""),
        (_("Frame of end-systole"), "es_frame", ""),
    ]
    rows = []
    for text, key, unit in names:
        values = [function.get(f"{ventricle}_{key}") for ventricle in ("lv", "rv")]
        if any(value is not None for value in values):
            shown = [_shownNumber(value, isFrame=not unit) for value in values]
            rows.append((f"{text} [{unit}]" if unit else text, shown[0], shown[1]))
    return rows


def writeFunction(scene: Any, segmentationNode: Any, volumeNode: Any, function: Dict[str, Any]) -> None:
    """Table of function, table of volumes by frame, and the plot of these."""
    rows = functionRows(function)
    columns = [_("Measure"), _("LV"), _("RV")]
    addTable(scene, segmentationNode, FUNCTION_ROLE, _("function"), columns, rows)
    browser = browserOf(volumeNode)
    images = browser.GetSequenceNode(volumeNode)
    frames = [int(number) for number in function["frames"]]
    times = _numbers([images.GetNthIndexValue(number) for number in frames])
    first = f"{images.GetIndexName()} [{images.GetIndexUnit()}]" if times and images.GetIndexUnit() else _("Frame")
    names = {structure.name: f"{structure.display_name} [mL]" for structure in STRUCTURES}
    volumes = {name: function[f"{name.lower()}_volume_ml"] for name in names}
    # Frames are counted from 1 in Slicer's own browser.
    places = times if first != _("Frame") else [float(number + 1) for number in frames]
    table = addTable(
        scene,
        segmentationNode,
        CURVE_ROLE,
        _("volumes by frame"),
        [first, *names.values()],
        [(place, *(float(volumes[name][row]) for name in names)) for row, place in enumerate(places)],
    )
    _writeChart(scene, segmentationNode, table, first, names)


def chartOf(segmentationNode: Optional[Any]) -> Optional[Any]:
    """The plot of a cine's volumes, or None."""
    return segmentationNode.GetNodeReference(CHART_ROLE) if segmentationNode is not None else None


def _writeChart(scene: Any, segmentationNode: Any, table: Any, first: str, names: Dict[str, str]) -> None:
    name = segmentationNode.GetName()
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(f"{name} curve"))
    for structure in STRUCTURES:
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", structure.display_name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(first)
        series.SetYColumnName(names[structure.name])
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series.SetColor(*structure.rgb)
        series.SetLineWidth(2)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(_("Volumes over the cycle"))
    chart.SetXAxisTitle(first)
    chart.SetYAxisTitle(_("Volume [mL]"))
    segmentationNode.SetNodeReferenceID(CHART_ROLE, chart.GetID())


def _numbers(texts: Sequence[str]) -> List[float]:
    """Index values as numbers, or nothing where they are names."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return []


def _shownNumber(value: Optional[float], isFrame: bool) -> str:
    if value is None:
        return "–"
    return str(int(value) + 1) if isFrame else f"{value:.1f}"


def writeScar(scene: Any, segmentationNode: Any, labels: Any, geometry: Geometry, scar: Dict[str, Any]) -> None:
    """The segment Scar, in a layer of its own since it lies within the muscle, and its table."""
    array = numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
    declareSegment(segmentationNode, SCAR)
    setSegment(segmentationNode, SCAR.name, array > 0, geometry)
    rows: List[Tuple[Any, ...]] = [
        (_("Scar"), f"{scar['scar_ml']:.1f} mL, {scar['scar_g']:.1f} g"),
        (_("Share of the muscle"), f"{scar['scar_percent_of_lv_mass']:.1f} %"),
        (_("Microvascular obstruction in it"), f"{scar['microvascular_obstruction_ml']:.1f} mL"),
        (_("Threshold"), f"{_shown(scar['threshold'], 1)} ({scar['method']})"),
    ]
    for part in scar["segments"]:
        transmurality = part["transmurality_percent"]
        text = f"{part['scar_percent']:.0f} %"
        if transmurality is not None:
            text += ", " + _("transmural {percent:.0f} %").format(percent=transmurality)
        rows.append((f"{part['segment']} {part['name']}", text))
    table = addTable(scene, segmentationNode, SCAR_ROLE, _("scar"), [_("Measure"), _("Value")], rows)
    table.SetDescription(str(scar.get("note", "")))


def writeWall(
    scene: Any, segmentationNode: Any, volumeNode: Any, labels: Any, geometry: Geometry, wall: Dict[str, Any]
) -> None:
    """AHA's segments as a segmentation of their own, coloured by thickness, and their table."""
    rows = {
        int(part["segment"]): (
            part["name"],
            *(_shown(part[key], places) for key, places in (("thickness_mm", 1), ("mass_g", 1), ("area_cm2", 1))),
        )
        for part in wall["segments"]
    }
    rows.update({int(part["segment"]): (part["name"], "–", "–", "–") for part in wall["not_given"]})
    columns = [_SEGMENT, _THICKNESS, _("Mass [g]"), _("Area [cm²]")]
    lines = [(f"{number} {name}", *values) for number, (name, *values) in sorted(rows.items())]
    addTable(scene, segmentationNode, WALL_ROLE, _("wall"), columns, lines)
    name = scene.GenerateUniqueName(_("{name} wall segments").format(name=segmentationNode.GetName()))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentationNode.SetNodeReferenceID(WALL_SEGMENTS_ROLE, node.GetID())
    placeBeside(scene, node, volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.CreateDefaultDisplayNodes()
    colors = colorsOf({part["segment"]: part["thickness_mm"] for part in wall["segments"]})
    array = numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
    for part in wall["segments"]:
        number = int(part["segment"])
        structure = MYO._replace(
            name=f"AHA-{number}",
            display_name=f"{number} {part['name']}",
            color=colors[number],
            meaning=MYO.display_name,
        )
        declareSegment(node, structure)
        setSegment(node, structure.name, array == number, geometry)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    # Shown on demand: it lies over the muscle of the segmentation itself.
    node.GetDisplayNode().SetVisibility(False)


def wallSegmentsOf(segmentationNode: Optional[Any]) -> Optional[Any]:
    """The segmentation of AHA's segments that belongs to this one, or None."""
    return segmentationNode.GetNodeReference(WALL_SEGMENTS_ROLE) if segmentationNode is not None else None


def isWallTable(segmentationNode: Optional[Any], table: Any) -> bool:
    return segmentationNode is not None and segmentationNode.GetNodeReference(WALL_ROLE) is table


def showWallSegments(segmentationNode: Any, visible: bool) -> None:
    """Instead of the segmentation, whose muscle they lie in."""
    wall = wallSegmentsOf(segmentationNode)
    if wall is not None and wall.GetDisplayNode() is not None:
        if visible:
            wall.CreateClosedSurfaceRepresentation()
        wall.GetDisplayNode().SetVisibility(visible)
        segmentationNode.GetDisplayNode().SetVisibility(not visible)


def hideWallSegments(segmentationNode: Any) -> None:
    """Shows the segmentation again where its wall segments stand in its place."""
    wall = wallSegmentsOf(segmentationNode)
    if wall is not None and wall.GetDisplayNode() is not None and wall.GetDisplayNode().GetVisibility():
        showWallSegments(segmentationNode, False)


def colorsOf(values: Dict[int, Optional[float]]) -> Dict[int, Tuple[int, int, int]]:
    """A colour for each number, from the smallest to the largest; grey for None."""
    known = [value for value in values.values() if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return {
        key: _ABSENT if value is None else _mix((value - low) / max(high - low, 1e-9)) for key, value in values.items()
    }


def thicknessOf(wallTable: Any) -> Dict[int, Optional[float]]:
    """Thickness by segment, out of a table that may come from a saved scene."""
    values: Dict[int, Optional[float]] = {}
    segments, thicknesses = (wallTable.GetColumnIndex(name) for name in (_SEGMENT, _THICKNESS))
    for row in range(wallTable.GetNumberOfRows()):
        number = int(float(wallTable.GetCellText(row, segments).split()[0]))
        try:
            values[number] = float(wallTable.GetCellText(row, thicknesses))
        except ValueError:
            values[number] = None
    return values


def drawBullsEye(values: Dict[int, Optional[float]], title: str) -> Any:
    """A qt.QPixmap: base outside, apex in the middle, front above, septum at the left, as seen from the apex."""
    picture = qt.QPixmap(_PICTURE_WIDTH, _PICTURE_HEIGHT)
    picture.fill(qt.QColor(255, 255, 255))
    painter = qt.QPainter()
    painter.begin(picture)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    # Of one size on every computer, so that a number stays within its segment.
    letters = qt.QFont()
    letters.setPixelSize(_LETTERS)
    painter.setFont(letters)
    colors = colorsOf(values)
    painter.setPen(qt.QColor(255, 255, 255))
    for number in sorted(range(1, 18), key=lambda number: -find_place(number)[1]):  # from the outside: pies overlap
        _inner, outer, first, last = find_place(number)
        painter.setBrush(qt.QBrush(qt.QColor(*colors.get(number, _ABSENT))))
        radius = int(outer * _RING)
        box = (_PICTURE_WIDTH // 2 - radius, _PICTURE_HEIGHT // 2 - radius, 2 * radius, 2 * radius)
        if last - first >= 360:
            painter.drawEllipse(*box)
        else:
            painter.drawPie(*box, int(16 * first), int(16 * (last - first)))
    for number in range(1, 18):
        inner, outer, first, last = find_place(number)
        red, green, blue = colors.get(number, _ABSENT)
        isDark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 115
        painter.setPen(qt.QColor(255, 255, 255) if isDark else qt.QColor(0, 0, 0))
        radius = 0.0 if number == 17 else (inner + outer) / 2
        _writeAt(painter, radius, (first + last) / 2, _shown(values.get(number), 1))
    painter.setPen(qt.QColor(0, 0, 0))
    for degrees, name in _WHERE:
        _writeAt(painter, 4.4 if degrees % 180 else 5.0, degrees, name)
    painter.drawText(6, 14, title)
    painter.end()
    return picture


def _writeAt(painter: Any, radius: float, degrees: float, text: str) -> None:
    """radius: in rings from the middle; degrees: counter-clockwise from the right."""
    width, height = 60, 14
    x = _PICTURE_WIDTH / 2 + radius * _RING * math.cos(math.radians(degrees))
    y = _PICTURE_HEIGHT / 2 - radius * _RING * math.sin(math.radians(degrees))
    painter.drawText(int(x - width / 2), int(y - height / 2), width, height, qt.Qt.AlignCenter, text)


def _mix(share: float) -> Tuple[int, int, int]:
    place = min(max(share, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    below = min(int(place), len(_VIRIDIS) - 2)
    pairs: Sequence[Tuple[int, int]] = tuple(zip(_VIRIDIS[below], _VIRIDIS[below + 1]))
    red, green, blue = (round(low + (place - below) * (high - low)) for low, high in pairs)
    return red, green, blue


def _shown(value: Optional[float], places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"
