"""The read-outs of one segmentation that are asked for: wall and scar, as far as they can be measured."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import SimpleITK as sitk

from confuda.errors import InputError
from confuda.imaging.stack import find_slice_axis
from confuda.measure.scar import Scar, measure_scar, parse_scar_method
from confuda.measure.wall import Wall, measure_wall


@dataclass
class ReadOuts:
    """What was measured; None where it was not asked for, or could not be. warnings: a sentence each."""

    wall: Optional[Wall] = None
    scar: Optional[Scar] = None
    warnings: List[str] = field(default_factory=list)

    def describe(self, wall: bool, scar: Optional[str]) -> Dict[str, Any]:
        """``wall`` and ``scar`` as told in JSON, those that were asked for; None for what could not be measured."""
        told: Dict[str, Any] = {}
        if wall:
            told["wall"] = self.wall.describe() if self.wall is not None else None
        if scar is not None:
            told["scar"] = self.scar.describe() if self.scar is not None else None
        return told


def measure_read_outs(volume: sitk.Image, label_map: sitk.Image, wall: bool, scar: Optional[str]) -> ReadOuts:
    """Measure in ``label_map``, the segmentation of ``volume``; what cannot be measured is told in the warnings.

    wall: whether the wall is to be measured; scar: the way to measure scar (``fwhm``, ``5sd``), None for not at all.
    """
    found = ReadOuts()
    axis = find_slice_axis(volume.GetSize(), volume.GetSpacing())
    if wall:
        try:
            found.wall = measure_wall(label_map, axis)
            found.warnings += found.wall.warnings
        except InputError as error:
            found.warnings.append(f"The wall was not measured. {error}")
    if scar is not None:
        try:
            found.scar = measure_scar(volume, label_map, axis, parse_scar_method(scar))
            found.warnings += found.scar.warnings
        except InputError as error:
            found.warnings.append(f"Scar was not measured. {error}")
    return found
