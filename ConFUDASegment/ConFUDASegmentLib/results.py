"""The table of volumes: a Slicer table node, so that it can be shown, plotted, saved and copied."""

from typing import Any, Dict, List, Optional, Tuple

import vtk
from slicer.i18n import tr as _

from confuda.labels import LV, MYO, RV, STRUCTURES

from .errors import JobFailedError

MYOCARDIAL_DENSITY = 1.05  # g/mL, the usual figure in cardiac MR
TABLE_ROLE = "ConFUDA.volumes"  # node reference from the segmentation to its table


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
        (_("Myocardium"), myocardium, myocardium * MYOCARDIAL_DENSITY),
    ]


def writeTable(scene: Any, segmentationNode: Any, volumesMl: Dict[str, float]) -> Any:
    """Fills the segmentation's table, made at its first result."""
    table = segmentationNode.GetNodeReference(TABLE_ROLE)
    if table is None:
        name = scene.GenerateUniqueName(_("{segmentation} volumes").format(segmentation=segmentationNode.GetName()))
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        segmentationNode.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    names, millilitres, grams = vtk.vtkStringArray(), vtk.vtkDoubleArray(), vtk.vtkStringArray()
    names.SetName(_("Structure"))
    millilitres.SetName(_("Volume [mL]"))
    grams.SetName(_("Mass [g]"))
    for name, volume, mass in rows(volumesMl):
        names.InsertNextValue(name)
        millilitres.InsertNextValue(round(volume, 1))
        grams.InsertNextValue("" if mass is None else f"{mass:.1f}")
    wasModifying = table.StartModify()
    try:
        table.RemoveAllColumns()
        for column in (names, millilitres, grams):
            table.AddColumn(column)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetLocked(True)
    finally:
        table.EndModify(wasModifying)
    return table
