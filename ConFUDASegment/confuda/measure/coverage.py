"""Whether a stack of slices shows the whole left ventricle, which volumes and ejection fraction take for granted."""

import SimpleITK as sitk

from confuda.labels import LV
from confuda.measure.heart_axes import view_as_slices

LARGEST_NARROW_END = 0.5
"""Of experts' outlines of 100 patients at end-diastole (ACDC), none has a cavity as large as this share of its largest
area in both the first and the last slice of the stack; where it has, the apex was not imaged."""

CUT_OFF = "The volume ends within the left ventricle: volumes, mass and ejection fraction are those of the part shown."


def measure_narrow_end(labelmap: sitk.Image, slice_axis: int) -> float:
    """Area of the LV in the first or in the last slice of the volume, the smaller of the two, as a share (0 to 1) of
    its largest area; 0 without an LV. Slices are stacked along ``slice_axis`` (0, 1 or 2 in SimpleITK's order)."""
    areas = (view_as_slices(labelmap, slice_axis) == LV.label).sum(axis=(1, 2))
    largest = int(areas.max())
    return float(min(areas[0], areas[-1]) / largest) if largest else 0.0
