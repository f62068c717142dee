"""The left ventricle's wall by AHA segment: thickness, area, volume and mass."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np
import SimpleITK as sitk

from confuda.labels import MYOCARDIAL_DENSITY_G_PER_ML
from confuda.measure.aha_segments import SEGMENT_NAMES, SegmentedWall, find_aha_segments
from confuda.measure.heart_axes import LabelStack, restore_from_slices
from confuda.measure.thickness import measure_thickness_mm

THICKNESS_METHOD = "Laplace's equation in the plane of each slice (Jones et al. 2000)"
SEGMENTS_METHOD = "AHA 17 segments (Cerqueira et al. 2002)"


@dataclass(frozen=True)
class WallSegment:
    """One segment. thickness_mm: mean over its voxels; largest_thickness_mm: their 95th percentile; area_cm2: of the
    surface in the middle of the wall, volume over mean thickness. None where no slice with a cavity shows the segment
    (the apex): the thickness in the slice's plane does not exist there."""

    segment: int
    volume_ml: float
    thickness_mm: Optional[float]
    largest_thickness_mm: Optional[float]

    @property
    def mass_g(self) -> float:
        return self.volume_ml * MYOCARDIAL_DENSITY_G_PER_ML

    @property
    def area_cm2(self) -> Optional[float]:
        # 1 mL over 1 mm is 10 cm2.
        return None if self.thickness_mm is None else 10 * self.volume_ml / self.thickness_mm


@dataclass(frozen=True)
class Wall:
    """The wall of one heart. segments: those that can be given, by number; missing: why the others cannot;
    thickness_mm: (S, rows, columns), NaN outside; division: slices, angles and axes behind it."""

    segments: Dict[int, WallSegment]
    missing: Dict[int, str]
    thickness_mm: np.ndarray
    division: SegmentedWall
    slice_axis: int

    @property
    def warnings(self) -> List[str]:
        return list(self.division.warnings)

    def make_labelmap(self, image: sitk.Image) -> sitk.Image:
        """The segments 1 to 17 (uint8, 0 elsewhere) on the grid of ``image``, the label map that was measured."""
        return restore_from_slices(self.division.segments, self.slice_axis, image)

    def describe(self) -> Dict[str, Any]:
        """As told in JSON, numbers rounded to hundredths."""
        return {
            "segments": [
                {
                    "segment": number,
                    "name": SEGMENT_NAMES[number],
                    "thickness_mm": _round(part.thickness_mm),
                    "largest_thickness_mm": _round(part.largest_thickness_mm),
                    "area_cm2": _round(part.area_cm2),
                    "volume_ml": _round(part.volume_ml),
                    "mass_g": _round(part.mass_g),
                }
                for number, part in sorted(self.segments.items())
            ],
            "not_given": [
                {"segment": number, "name": SEGMENT_NAMES[number], "reason": reason}
                for number, reason in sorted(self.missing.items())
            ],
            "mean_thickness_mm": _round(_mean(self.thickness_mm)),
            "thickness_method": THICKNESS_METHOD,
            "segments_method": SEGMENTS_METHOD,
        }


def measure_wall(labelmap: sitk.Image, slice_axis: int) -> Wall:
    """Segments and thickness of the wall in a label map of ours; slices are stacked along ``slice_axis`` (0, 1 or 2 in
    SimpleITK's order).

    Raises:
        InputError: where no segment can be given, saying why.
    """
    stack = LabelStack.from_image(labelmap, slice_axis)
    division = find_aha_segments(stack)
    thickness = measure_thickness_mm(stack.labels, tuple(stack.spacing_mm))
    segments = {}
    for number in SEGMENT_NAMES:
        if number in division.missing:
            continue
        inside = division.segments == number
        values = thickness[inside]
        values = values[np.isfinite(values)]
        segments[number] = WallSegment(
            number,
            int(inside.sum()) * stack.voxel_ml,
            _mean(values),
            float(np.percentile(values, 95)) if len(values) else None,
        )
    return Wall(segments, dict(division.missing), thickness, division, slice_axis)


def _mean(values: np.ndarray) -> Optional[float]:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _round(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, 2)
