"""Cines: a volume that shows one frame of a sequence, all frames out to the worker, and a sequence of segmentations in,
with its curve and table of function."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import slicer
from slicer.i18n import tr as _

from confuda.labels import STRUCTURES

from .errors import InvalidInputError, JobFailedError
from .results import CURVE_ROLE, FUNCTION_ROLE, addTable
from .scene_in import Geometry, checkVolume, geometryOf
from .scene_out import SegmentationWriter, placeBeside, removeSegmentation

CHART_ROLE = "ConFUDA.chart"  # node reference from the segmentation to its plot
SEQUENCE_ROLE = "ConFUDA.sequence"  # to the sequence of segmentations that it shows a frame of


def browserOf(volumeNode: Optional[Any]) -> Optional[Any]:
    """The browser of the sequence that the volume shows a frame of, or None."""
    if volumeNode is None or volumeNode.GetScene() is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", volumeNode.GetScene()):
        if browser.IsProxyNodeID(volumeNode.GetID()) and browser.GetSequenceNode(volumeNode) is not None:
            return browser
    return None


def frameCount(volumeNode: Optional[Any]) -> int:
    """Frames of the volume's sequence; 1 for a volume of its own."""
    browser = browserOf(volumeNode)
    return browser.GetSequenceNode(volumeNode).GetNumberOfDataNodes() if browser is not None else 1


def exportCine(volumeNode: Any, path: str) -> Geometry:
    """Writes all frames as an uncompressed `.seq.nrrd`. They must lie on one grid."""
    geometry = checkVolume(volumeNode)
    browser = browserOf(volumeNode)
    if browser is None:
        raise InvalidInputError(_("The volume is no frame of a sequence: choose Current frame."))
    sequence = browser.GetSequenceNode(volumeNode)
    for index in range(sequence.GetNumberOfDataNodes()):
        frame = sequence.GetNthDataNode(index)
        if not frame.IsA("vtkMRMLScalarVolumeNode") or frame.GetImageData() is None:
            raise InvalidInputError(_("Frame {number} of the sequence holds no image.").format(number=index + 1))
        if not geometryOf(frame).matches(geometry):
            raise InvalidInputError(
                _("Frame {number} of the sequence lies on another grid than the current one.").format(number=index + 1)
            )
    storage = slicer.vtkMRMLVolumeSequenceStorageNode()
    storage.SetFileName(path)
    storage.SetUseCompression(0)
    if not storage.WriteData(sequence):
        raise JobFailedError(_("The sequence could not be written to the temporary folder: is the disk full?"))
    return geometry


def readFrames(path: str, expected: Geometry) -> List[Any]:
    """The worker's label maps as vtkImageData, one a frame, once they are seen to lie on the volume's own grid."""
    ownScene = slicer.vtkMRMLScene()  # the reader makes the frames' nodes by its scene's classes
    sequence = ownScene.AddNode(slicer.vtkMRMLSequenceNode())
    storage = ownScene.AddNode(slicer.vtkMRMLVolumeSequenceStorageNode())
    storage.SetFileName(path)
    if not storage.ReadData(sequence) or sequence.GetNumberOfDataNodes() == 0:
        raise JobFailedError(_("The segmentation that the worker wrote can't be read."))
    frames = [sequence.GetNthDataNode(index) for index in range(sequence.GetNumberOfDataNodes())]
    for frame in frames:
        if frame.GetImageData() is None or not geometryOf(frame).matches(expected):
            raise JobFailedError(_("The segmentation does not lie on the volume's grid, so it was not used."))
    # The images outlive the sequence, which is gone when this returns.
    return [frame.GetImageData() for frame in frames]


def writeFrames(
    scene: Any, writer: SegmentationWriter, frames: Sequence[Any], geometry: Geometry, volumeNode: Any
) -> Any:
    """A segmentation that shows, and plays with the cine, the frames of a new sequence of segmentations."""
    browser = browserOf(volumeNode)
    if browser is None or browser.GetSequenceNode(volumeNode).GetNumberOfDataNodes() != len(frames):
        raise JobFailedError(_("The sequence was changed during the run, so the result was not used."))
    images = browser.GetSequenceNode(volumeNode)
    selected = browser.GetSelectedItemNumber()
    node = writer.write(frames[selected], geometry, volumeNode)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(f"{node.GetName()} frames"))
    try:
        sequence.SetIndexName(images.GetIndexName())
        sequence.SetIndexUnit(images.GetIndexUnit())
        sequence.SetIndexType(images.GetIndexType())
        for index, labels in enumerate(frames):
            writer.fill(node, labels, geometry, volumeNode)
            node.CreateClosedSurfaceRepresentation()  # in each frame, so that the surfaces play along
            sequence.SetDataNodeAtValue(node, images.GetNthIndexValue(index))
        browser.AddSynchronizedSequenceNodeID(sequence.GetID())
        shown = browser.GetProxyNode(sequence)
        browser.AddProxyNode(node, sequence, False)
        if shown is not None and shown is not node:  # Slicer shows each sequence of a browser at once, in a new node
            removeSegmentation(scene, shown)
        browser.SetOverwriteProxyName(sequence, False)
        node.SetNodeReferenceID(SEQUENCE_ROLE, sequence.GetID())
        placeBeside(scene, sequence, volumeNode)
        writer.fill(node, frames[selected], geometry, volumeNode)
    except Exception:
        removeSegmentation(scene, node)
        scene.RemoveNode(sequence)
        raise
    return node


def functionRows(function: Dict[str, Any]) -> List[Tuple[str, str, str, str]]:
    """(what, left ventricle, right ventricle, unit) for each line of the table; a dash for what there is not."""
    names = [
        (_("Ejection fraction"), "ejection_fraction_percent", "%"),
        (_("End-diastolic volume"), "edv_ml", "mL"),
        (_("End-systolic volume"), "esv_ml", "mL"),
        (_("Stroke volume"), "stroke_volume_ml", "mL"),
        (_("Mass at end-diastole"), "mass_g", "g"),
        (_("End-diastolic volume by body surface"), "edv_ml_per_m2", "mL/m²"),
        (_("End-systolic volume by body surface"), "esv_ml_per_m2", "mL/m²"),
        (_("Stroke volume by body surface"), "stroke_volume_ml_per_m2", "mL/m²"),
        (_("Mass by body surface"), "mass_g_per_m2", "g/m²"),
        (_("Frame of end-diastole"), "ed_frame", ""),
        (_("Frame of end-systole"), "es_frame", ""),
    ]
    rows = []
    for text, key, unit in names:
        values = [function.get(f"{ventricle}_{key}") for ventricle in ("lv", "rv")]
        if any(value is not None for value in values):
            shown = [_shown(value, isFrame=not unit) for value in values]
            rows.append((text, shown[0], shown[1], unit))
    return rows


def writeFunction(scene: Any, segmentationNode: Any, volumeNode: Any, function: Dict[str, Any]) -> None:
    """Table of function, table of volumes by frame, and the plot of these."""
    rows = functionRows(function)
    columns = [_("Measure"), _("Left ventricle"), _("Right ventricle"), _("Unit")]
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


def _shown(value: Optional[float], isFrame: bool) -> str:
    if value is None:
        return "–"
    return str(int(value) + 1) if isFrame else f"{value:.1f}"
