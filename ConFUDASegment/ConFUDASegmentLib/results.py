"""A run's result: the worker's files, all read before the scene is changed; the table of volumes with its caveat,
warnings, and the segments' colours."""

import json
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

import slicer
import vtk
from slicer.i18n import tr as _

from confuda.labels import LV, MYO, MYOCARDIAL_DENSITY_G_PER_ML, OWN_TERMINOLOGY, RV, STRUCTURES, Structure

from .errors import JobFailedError
from .parameters import SegmentationRequest
from .readouts import (
    CHART_ROLE,
    CURVE_ROLE,
    FUNCTION_ROLE,
    SCAR_ROLE,
    WALL_ROLE,
    WALL_SEGMENTS_ROLE,
    hideWallSegments,
    writeFunction,
    writeScar,
    writeWall,
)
from .scene_in import Geometry, placedNow, readFrames, readLabels
from .scene_out import (
    SegmentationWriter,
    addTable,
    emptyStructures,
    forgetUncertainty,
    framesOf,
    show3D,
    writeFrames,
    writeUncertainty,
)

TABLE_ROLE = "ConFUDA.volumes"  # node reference from the segmentation to this table; the others' are in readouts
_CAVEAT = "ConFUDA.massCaveat"  # attribute of the table
_SLICERS_LISTS = (
    "Segmentation category and type - 3D Slicer General Anatomy list",
    "Segmentation category and type - DICOM master list",
)
SHIPPED_BUNDLE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Resources", "Models", "confuda-acdc"
)


@dataclass
class Imported:
    """The nodes of one result, and what to say about it."""

    segmentationNode: Any
    tableNode: Any
    uncertaintyNode: Optional[Any] = None
    warnings: List[str] = field(default_factory=list)


class Result:
    """The worker's files, read and checked. Raises JobFailedError where the segmentation itself is unusable."""

    def __init__(self, event: Dict[str, Any], request: SegmentationRequest, geometry: Geometry) -> None:
        """event: path, uncertainty and summary, as the worker tells them at its end."""
        self._request = request
        self._geometry = geometry
        self._summary: Dict[str, Any] = event["summary"]
        self._warnings: List[str] = []
        self._frames = readFrames(event["path"], geometry) if request.isCine else []
        self._labels = None if request.isCine else readLabels(event["path"], geometry)
        self._volumes = checkVolumes(self._summary)
        self._uncertainty: Optional[Any] = None
        if request.uncertainty and not request.isCine:
            self._uncertainty = self._readOptional(event.get("uncertainty"), _("uncertainty map"))
        stem = event["path"][: -len(".seq.nrrd" if request.isCine else ".nrrd")]
        self._scar = self._readOptional(f"{stem}-scar.nrrd", _("scar")) if self._summary.get("scar") else None
        wall = self._summary.get("wall") or {}
        self._wall = self._readOptional(wall.get("label_map"), _("wall")) if wall else None

    def write(self, scene: Any, writer: SegmentationWriter, volumeNode: Any, outputNode: Optional[Any]) -> Imported:
        """Into `outputNode`, or a new segmentation; several frames always make a new one."""
        summary, geometry = self._summary, placedNow(self._geometry, volumeNode)
        if self._frames:
            node = writeFrames(scene, writer, self._frames, geometry, volumeNode)
        else:
            node = writer.write(self._labels, geometry, volumeNode, outputNode)
        show3D(node, True)
        caveat = massCaveat(self._request.bundle)
        table = writeTable(scene, node, self._volumes, caveat)
        forgetReadOuts(node)
        imported = Imported(node, table)
        if self._uncertainty is not None:
            imported.uncertaintyNode = writeUncertainty(scene, node, self._uncertainty, geometry, volumeNode)
        else:
            forgetUncertainty(node)
        if self._frames and summary.get("function"):
            self._try(lambda: writeFunction(scene, node, volumeNode, summary["function"]), _("function"))
        if self._wall is not None:
            self._try(lambda: writeWall(scene, node, volumeNode, self._wall, geometry, summary["wall"]), _("wall"))
        if self._scar is not None:
            self._try(lambda: writeScar(scene, node, self._scar, geometry, summary["scar"]), _("scar"))
        carryCaveat(node, caveat)
        imported.warnings = [*self._warnings, *findWarnings(summary, node)]
        return imported

    def _readOptional(self, path: Optional[Any], what: str) -> Optional[Any]:
        """An image beside the segmentation, which is worth having without it."""
        try:
            if path and os.path.isfile(str(path)):
                return readLabels(str(path), self._geometry)
        except JobFailedError:
            pass
        self._warnings.append(_("The {what} could not be read, so there is none.").format(what=what))
        return None

    def _try(self, write: Callable[[], None], what: str) -> None:
        try:
            write()
        except (KeyError, TypeError, ValueError):
            self._warnings.append(
                _("The worker's numbers on {what} could not be understood, so there are none.").format(what=what)
            )


def checkVolumes(summary: Dict[str, Any]) -> Dict[str, float]:
    """The millilitres of each structure, out of the worker's summary."""
    try:
        return {structure.name: float(summary["volumes_ml"][structure.name]) for structure in STRUCTURES}
    except (KeyError, TypeError, ValueError) as error:
        raise JobFailedError(
            _("The worker's summary lacks the volumes, so its result was not used."), repr(error)
        ) from error


def rows(volumesMl: Dict[str, float]) -> List[Tuple[str, float, Optional[float]]]:
    """(what, mL, g or None) for each line of the table."""
    myocardium = volumesMl[MYO.name]
    return [
        (_("Left ventricle (cavity)"), volumesMl[LV.name], None),
        (_("Right ventricle (cavity)"), volumesMl[RV.name], None),
        (_("Myocardium"), myocardium, myocardium * MYOCARDIAL_DENSITY_G_PER_ML),
    ]


def writeTable(scene: Any, segmentationNode: Any, volumesMl: Dict[str, float], caveat: str) -> Any:
    """Fills the segmentation's table, made at its first result. The caveat goes where the mass goes."""
    columns = [_("Structure"), _("Volume [mL]"), _("Mass [g]")]
    lines = [(name, round(volume, 1), "" if mass is None else f"{mass:.1f}") for name, volume, mass in rows(volumesMl)]
    table = addTable(scene, segmentationNode, TABLE_ROLE, _("volumes"), columns, lines)
    table.SetColumnDescription(columns[2], caveat)
    table.SetAttribute(_CAVEAT, caveat)
    return table


def tablesOf(segmentationNode: Optional[Any]) -> List[Tuple[str, Any]]:
    """(what it tells, table) for each table of a result, the main one first."""
    if segmentationNode is None:
        return []
    names = {
        TABLE_ROLE: _("Volumes"),
        FUNCTION_ROLE: _("Function"),
        CURVE_ROLE: _("Volumes by frame"),
        WALL_ROLE: _("Wall"),
        SCAR_ROLE: _("Scar"),
    }
    found = [(name, segmentationNode.GetNodeReference(role)) for role, name in names.items()]
    return [(name, table) for name, table in found if table is not None]


def carryCaveat(segmentationNode: Any, caveat: str) -> None:
    """The other tables that have a mass say the same beside it; that of the scar says what it is not."""
    for role in (FUNCTION_ROLE, WALL_ROLE, SCAR_ROLE):
        table = segmentationNode.GetNodeReference(role)
        if table is not None:
            table.SetAttribute(_CAVEAT, table.GetDescription() if role == SCAR_ROLE else caveat)


def forgetReadOuts(segmentationNode: Any) -> None:
    """The segmentation was made anew: what was measured in the former one stays in the scene, but is not this one's."""
    hideWallSegments(segmentationNode)
    for role in (FUNCTION_ROLE, CURVE_ROLE, CHART_ROLE, WALL_ROLE, WALL_SEGMENTS_ROLE, SCAR_ROLE):
        segmentationNode.SetNodeReferenceID(role, None)


def massCaveatOf(table: Optional[Any]) -> str:
    """What has to be said beside the mass, or the scar; or nothing."""
    return (table.GetAttribute(_CAVEAT) or "") if table is not None else ""


def massCaveat(bundleFolder: Optional[str]) -> str:
    """How the outlined muscle compares with the experts', by the bundle's model card. None: the shipped bundle."""
    ratios = _muscleRatios(bundleFolder or SHIPPED_BUNDLE)
    text = _("Mass: outlined muscle times {density} g/mL.").format(density=MYOCARDIAL_DENSITY_G_PER_ML)
    if not ratios:
        return f"{text} " + _("How near this network's muscle is to experts' was not measured: check the outlines.")
    listed = "; ".join(f"{title} {ratio:.2f}" for title, ratio in ratios)
    return f"{text} " + _("This network's muscle volume divided by the experts', median: {list}.").format(list=listed)


def _muscleRatios(bundleFolder: str) -> List[Tuple[str, float]]:
    """(data, ratio) of the model card, of the first run in it that has one."""
    try:
        with open(os.path.join(bundleFolder, "bundle.json"), encoding="utf-8") as file:
            scores = json.load(file)["scores"]
        found = []
        for title, runs in scores.items():
            ratios = [run["muscle_ratio"] for run in runs.values() if "muscle_ratio" in run]
            found += [(str(title), float(ratio)) for ratio in ratios[:1]]
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # a bundle without a model card works all the same


def findWarnings(summary: Dict[str, Any], segmentationNode: Any) -> List[str]:
    """What the summary and the segments say beyond the worker's own warnings."""
    warnings = []
    if summary.get("accepted") is False:
        warnings.append(
            _("Adapting did not help on this volume, so the network as trained was used. Check the result.")
        )
    for structure in emptyStructures(segmentationNode):
        warnings.append(_("{name} was not found in this volume.").format(name=structure.display_name))
    return warnings


def hasOwnColors(segmentationNode: Any) -> bool:
    """Whether the structures have ConFUDA's colours."""
    for structure in STRUCTURES:
        segment = segmentationNode.GetSegmentation().GetSegment(structure.name)
        if segment is not None and max(abs(a - b) for a, b in zip(segment.GetColor(), structure.rgb)) > 0.004:
            return False
    return True


def useColors(segmentationNode: Any, own: bool) -> None:
    """ConFUDA's colours, or those of the user's terminology, in all frames. What no list knows keeps ConFUDA's."""
    for structure in STRUCTURES:
        color = (None if own else terminologyColor(structure)) or structure.rgb
        for node in (segmentationNode, *framesOf(segmentationNode)):
            segment = node.GetSegmentation().GetSegment(structure.name)
            if segment is not None:
                segment.SetColor(*color)


def terminologyColor(structure: Structure) -> Optional[Tuple[float, float, float]]:
    """What Slicer's terminology lists recommend for the structure's code: a list that the user added comes first."""
    logic = slicer.modules.terminologies.logic()
    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    loaded = [names.GetValue(index) for index in range(names.GetNumberOfValues())]
    users = [name for name in loaded if name not in _SLICERS_LISTS and name != OWN_TERMINOLOGY]
    for name in users + [name for name in _SLICERS_LISTS if name in loaded]:
        category = slicer.vtkSlicerTerminologyCategory()
        kind = slicer.vtkSlicerTerminologyType()
        for place in range(logic.GetNumberOfCategoriesInTerminology(name)):
            logic.GetNthCategoryInTerminology(name, place, category)
            for index in range(logic.GetNumberOfTypesInTerminologyCategory(name, category)):
                logic.GetNthTypeInTerminologyCategory(name, category, index, kind)
                if kind.GetCodingSchemeDesignator() == "SCT" and kind.GetCodeValue() == structure.code:
                    red, green, blue = (channel / 255.0 for channel in kind.GetRecommendedDisplayRGBValue())
                    return red, green, blue
    return None
