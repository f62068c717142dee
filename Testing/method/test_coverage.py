"""Whether a stack shows the whole left ventricle, on cavities of known areas."""

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.labels import LV, MYO
from confuda.measure.coverage import LARGEST_NARROW_END, measure_narrow_end


def make_stack(areas, slice_axis: int = 2) -> sitk.Image:
    """A label map with so many pixels of LV in each slice, and muscle beside them."""
    labels = np.zeros((len(areas), 12, 12), dtype=np.uint8)
    for number, area in enumerate(areas):
        labels[number].ravel()[:area] = LV.label
        labels[number].ravel()[-20:] = MYO.label
    return sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(labels, 0, 2 - slice_axis)))


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize(
    "areas, share",
    [([80, 100, 60, 10], 0.1), ([0, 90, 100, 50], 0.0), ([60, 100, 80], 0.6), ([70], 1.0), ([0, 0, 0], 0.0)],
)
def test_the_narrower_end_is_its_share_of_the_largest_area(areas, share: float, slice_axis: int) -> None:
    assert measure_narrow_end(make_stack(areas, slice_axis), slice_axis) == pytest.approx(share)


def test_a_stack_from_base_to_apex_is_below_the_limit_and_a_middle_part_above() -> None:
    radii = np.sqrt(1 - np.linspace(0, 0.98, 10) ** 2)  # Of a half ellipsoid, from base to apex.
    areas = (100 * radii**2).astype(int).tolist()
    assert measure_narrow_end(make_stack(areas), 2) < LARGEST_NARROW_END
    assert measure_narrow_end(make_stack(areas[:6]), 2) > LARGEST_NARROW_END
