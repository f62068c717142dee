"""What the worker wrote, into the scene: all of it is read before the scene is changed."""

import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

from slicer.i18n import tr as _

from . import cine, readouts
from .errors import JobFailedError
from .request import SegmentationRequest
from .results import carryCaveat, checkVolumes, findWarnings, forgetReadOuts, massCaveat, writeTable
from .scene_in import Geometry, readLabels
from .scene_out import SegmentationWriter, forgetUncertainty, show3D, writeUncertainty


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
        self._frames = cine.readFrames(event["path"], geometry) if request.isCine else []
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
        summary, geometry = self._summary, self._geometry
        if self._frames:
            node = cine.writeFrames(scene, writer, self._frames, geometry, volumeNode)
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
            self._try(lambda: cine.writeFunction(scene, node, volumeNode, summary["function"]), _("function"))
        if self._wall is not None:
            self._try(
                lambda: readouts.writeWall(scene, node, volumeNode, self._wall, geometry, summary["wall"]), _("wall")
            )
        if self._scar is not None:
            self._try(lambda: readouts.writeScar(scene, node, self._scar, geometry, summary["scar"]), _("scar"))
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
