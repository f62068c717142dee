"""AHA's segments and the wall's thickness on phantoms whose answers follow from how they are drawn."""

import itertools
from dataclasses import dataclass
from typing import Iterator, Tuple

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.labels import LV, MYO, RV
from confuda.measure.aha_segments import APEX, find_aha_segments
from confuda.measure.heart_axes import LabelStack, find_heart_axes, restore_from_slices
from confuda.measure.thickness import measure_thickness_mm
from confuda.measure.wall import measure_wall

THICKNESS_MM = 10.0
FRONT_DEGREES, BACK_DEGREES = 70.0, -50.0
"""Where RV's wall meets the muscle, seen from the septum's direction: no mirror image looks the same."""

# A heart in its place (LPS): the apex to the left, in front and below.
APICAL = np.array([0.6, -0.5, -0.6]) / np.linalg.norm([0.6, -0.5, -0.6])
FRONT = np.array([0.0, -1.0, 1.0]) - np.array([0.0, -1.0, 1.0]) @ APICAL * APICAL
FRONT = FRONT / np.linalg.norm(FRONT)
SEPTAL = np.cross(APICAL, FRONT)


@dataclass
class Phantom:
    """A tapering tube of muscle with a cap, RV along a part of it; the axes of ``labels`` run base to apex, towards the
    front, and towards the septum."""

    labels: np.ndarray
    degrees: np.ndarray
    spacing_mm: Tuple[float, float, float]

    def make_image(self) -> sitk.Image:
        image = sitk.GetImageFromArray(self.labels)
        image.SetSpacing(self.spacing_mm[::-1])
        image.SetDirection(np.stack([SEPTAL, FRONT, APICAL], axis=1).ravel())
        image.SetOrigin((12.0, -30.0, 7.0))
        return image


def make_phantom(
    cavity_mm=(24, 23, 22, 21, 20, 19, 18, 17, 16), cap=True, margin=1, spacing=(8.0, 1.25, 1.25)
) -> Phantom:
    """``cavity_mm``: radius of the cavity in each slice from base to apex; ``margin``: empty slices at either end."""
    count = margin + len(cavity_mm) + int(cap) + margin
    size = int(2 * 46 / spacing[1])
    rows, columns = np.mgrid[0:size, 0:size]
    front, septal = (rows - size / 2 + 0.3) * spacing[1], (columns - size / 2 + 0.2) * spacing[2]
    radius, degrees = np.hypot(front, septal), np.degrees(np.arctan2(front, septal))
    labels = np.zeros((count, size, size), np.uint8)
    beside = (degrees <= FRONT_DEGREES) & (degrees >= BACK_DEGREES)
    for number, inner in enumerate(cavity_mm, start=margin):
        outer = inner + THICKNESS_MM
        labels[number][(radius <= outer + 9) & (radius > outer) & beside] = RV.label
        labels[number][radius <= outer] = MYO.label
        labels[number][radius <= inner] = LV.label
    if cap:
        labels[margin + len(cavity_mm)][radius <= 14] = MYO.label
    return Phantom(labels, degrees, spacing)


def number_slowly(level: str, degrees: float) -> int:
    """AHA's segment as the statement draws it: between two borders, counted from the front insertion to the septum."""
    turned = (FRONT_DEGREES - degrees) % 360
    if level == "apical":
        for segment, (low, high) in {14: (15, 105), 15: (105, 195), 16: (195, 285)}.items():
            if low <= turned < high:
                return segment
        return 13
    first = {"basal": 0, "mid": 6}[level]
    borders = {2: (0, 60), 3: (60, 120), 4: (120, 180), 5: (180, 240), 6: (240, 300), 1: (300, 360)}
    return first + next(segment for segment, (low, high) in borders.items() if low <= turned < high)


def draw_segments(phantom: Phantom, levels) -> np.ndarray:
    expected = np.zeros(phantom.labels.shape, np.uint8)
    for number, level in levels.items():
        for row, column in np.argwhere(phantom.labels[number] == MYO.label):
            segment = APEX if level == "cap" else number_slowly(level, phantom.degrees[row, column])
            expected[number, row, column] = segment
    return expected


def orient(image: sitk.Image) -> Iterator[Tuple[sitk.Image, int, Tuple, Tuple]]:
    """The same heart at the same place, its axes in all 48 orders and signs; with the slice axis of each."""
    array = sitk.GetArrayFromImage(image)
    steps = np.reshape(image.GetDirection(), (3, 3)).T  # A row for each of i, j, k.
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = array.transpose([2 - axis for axis in order[::-1]])
            flips = [2 - axis for axis in range(3) if signs[axis] < 0]
            other = sitk.GetImageFromArray(np.ascontiguousarray(np.flip(turned, flips)))
            other.SetSpacing([image.GetSpacing()[axis] for axis in order])
            other.SetDirection((steps[list(order)] * np.reshape(signs, (3, 1))).T.ravel())
            last = [signs[a] < 0 and (image.GetSize()[order[a]] - 1) * image.GetSpacing()[order[a]] for a in range(3)]
            other.SetOrigin(np.array(image.GetOrigin()) + sum(steps[order[a]] * last[a] for a in range(3)))
            yield other, order.index(2), order, signs


def test_each_voxel_has_the_segment_of_its_angle_and_third_in_all_48_orientations() -> None:
    phantom = make_phantom()
    levels = {number: ("basal", "mid", "apical")[(number - 1) // 3] for number in range(1, 10)}
    expected = draw_segments(phantom, {**levels, 10: "cap"})
    image = phantom.make_image()
    truth = sitk.GetImageFromArray(expected)
    truth.CopyInformation(image)
    orientations = set()
    for (turned, axis, order, signs), (turned_truth, *_) in zip(orient(image), orient(truth)):
        division = find_aha_segments(LabelStack.from_image(turned, axis))
        found = sitk.GetArrayFromImage(restore_from_slices(division.segments, axis, turned))
        wanted = sitk.GetArrayFromImage(turned_truth)
        # Where two segments meet the insertion's voxel decides, which is known to a voxel.
        assert np.mean(found[wanted > 0] == wanted[wanted > 0]) > 0.97, (order, signs)
        assert np.array_equal(found > 0, wanted > 0)
        assert not division.missing and not division.warnings
        orientations.add((order, signs))
    assert len(orientations) == 48


def test_thickness_area_and_mass_of_each_segment_are_those_drawn() -> None:
    wall = measure_wall(make_phantom().make_image(), 2)
    for number, part in wall.segments.items():
        if number == APEX:
            assert part.thickness_mm is None and part.area_cm2 is None
            assert part.mass_g == pytest.approx(np.pi * 1.4**2 * 0.8 * 1.05, rel=0.03)
            continue
        assert part.thickness_mm == pytest.approx(THICKNESS_MM, abs=0.3)
        level, share = min((number - 1) // 6, 2), 1 / (4 if number > 12 else 6)
        radii = np.array([(24, 23, 22), (21, 20, 19), (18, 17, 16)][level]) / 10
        volume = share * 0.8 * np.pi * ((radii + 1) ** 2 - radii**2).sum()
        assert part.volume_ml == pytest.approx(volume, rel=0.06)
        assert part.mass_g == pytest.approx(1.05 * volume, rel=0.06)
        # The wall's middle surface: circumference in the middle of the ring times the height of a slice.
        assert part.area_cm2 == pytest.approx(share * 0.8 * (2 * np.pi * (radii + 0.5)).sum(), rel=0.08)
    described = wall.describe()
    labelmap = sitk.GetArrayFromImage(wall.make_labelmap(make_phantom().make_image()))
    assert set(np.unique(labelmap)) == set(range(18))
    assert [part["segment"] for part in described["segments"]] == list(range(1, 18))
    assert described["segments"][0]["name"] == "basal anterior" and described["not_given"] == []


@pytest.mark.parametrize("spacing", [(1.5, 1.5), (0.75, 0.75), (1.9, 1.1), (2.0, 2.0)])
@pytest.mark.parametrize("inner, outer", [(20.0, 30.0), (22.0, 28.0), (6.0, 14.0)])
def test_thickness_of_a_ring_is_the_difference_of_its_radii(spacing, inner: float, outer: float) -> None:
    size = int(70 / min(spacing))
    rows, columns = np.mgrid[0:size, 0:size]
    radius = np.hypot((rows - size / 2 - 0.2) * spacing[0], (columns - size / 2 + 0.4) * spacing[1])
    labels = np.where(radius <= inner, LV.label, np.where(radius <= outer, MYO.label, 0))[None]
    thickness = measure_thickness_mm(labels, spacing)
    assert np.array_equal(np.isfinite(thickness), labels == MYO.label)
    assert np.nanmean(thickness) == pytest.approx(outer - inner, abs=0.25)
    assert np.nanpercentile(np.abs(thickness - (outer - inner)), 95) < 0.75 * max(spacing)


def test_thickness_of_a_wall_that_is_thick_on_one_side_is_told_by_side() -> None:
    rows, columns = np.mgrid[0:180, 0:180]
    across, along = (columns - 89.2) * 0.6, (rows - 88.6) * 0.6
    labels = np.where(np.hypot(across, along) <= 32, MYO.label, 0)
    # The cavity lies 4 mm off the middle: 8 mm of muscle on that side, 16 mm on the other one.
    labels[np.hypot(across - 4, along) <= 20] = LV.label
    thickness = measure_thickness_mm(labels[None], (0.6, 0.6))[0]
    middle = np.abs(along) < 1
    assert np.nanmean(thickness[middle & (across > 24)]) == pytest.approx(8, abs=0.4)
    assert np.nanmean(thickness[middle & (across < -16)]) == pytest.approx(16, abs=0.5)


def test_mean_and_largest_thickness_are_those_of_a_ring_that_is_thicker_on_one_side() -> None:
    """Of 10 mm in five sixths of the circle and 15 mm in segments 5 and 11; the 95th percentile of each is its own."""
    phantom = make_phantom((20,) * 8, cap=False)
    turned = (FRONT_DEGREES - phantom.degrees) % 360
    size = phantom.labels.shape[1]
    rows, columns = np.mgrid[0:size, 0:size]
    radius = np.hypot((rows - size / 2 + 0.3) * 1.25, (columns - size / 2 + 0.2) * 1.25)
    thick = (radius > 30) & (radius <= 35) & (turned >= 180) & (turned < 240)
    phantom.labels[1:-1][:, thick] = MYO.label
    wall = measure_wall(phantom.make_image(), 2)
    for number in (5, 11):
        assert wall.segments[number].largest_thickness_mm == pytest.approx(15, abs=0.8)
    for number in (1, 2, 7, 8):
        assert wall.segments[number].largest_thickness_mm == pytest.approx(10, abs=0.8)
        assert wall.segments[number].thickness_mm == pytest.approx(10, abs=0.4)
    # A sixth of the ring from 20 to 35 mm, five sixths of that to 30 mm, each voxel with its own thickness.
    areas = np.array([35**2 - 20**2, 5 * (30**2 - 20**2)])
    expected = (areas * [15, 10]).sum() / areas.sum()
    assert wall.describe()["mean_thickness_mm"] == pytest.approx(expected, abs=0.4)


def test_muscle_at_the_border_of_the_image_is_measured_too() -> None:
    whole = make_phantom(margin=0).labels
    _, rows, columns = np.nonzero(whole)
    cut = whole[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert np.nanmean(measure_thickness_mm(cut, (1.25, 1.25))) == pytest.approx(THICKNESS_MM, abs=0.3)


def test_without_an_apex_there_are_sixteen_segments() -> None:
    wall = measure_wall(make_phantom(cap=False).make_image(), 2)
    assert sorted(wall.segments) == list(range(1, 17))
    assert wall.missing == {APEX: "no slice shows muscle beyond the cavity's end"}


def draw_ellipsoid(positions, length=9.0, radius=24.0):
    """Radii of the cavity at ``positions`` of a half ellipsoid whose long half-axis is ``length`` slices."""
    return tuple(radius * np.sqrt(1 - (np.array(positions) / length) ** 2))


def test_a_stack_that_ends_before_the_apex_says_which_segments_it_cannot_give() -> None:
    # Five of nine slices: three of the basal third, two of the middle one.
    phantom = make_phantom(draw_ellipsoid(np.arange(5) + 0.5), cap=False, margin=0)
    wall = measure_wall(phantom.make_image(), 2)
    assert sorted(wall.segments) == list(range(1, 13))
    assert {number: wall.missing[number] for number in (13, 14, 15, 16, 17)} == dict.fromkeys(
        (13, 14, 15, 16, 17), "the volume ends before the apex"
    )
    assert [wall.division.levels[number] for number in range(5)] == ["basal"] * 3 + ["mid"] * 2
    assert any("ends before the heart's apex" in warning for warning in wall.warnings)


def test_a_stack_that_begins_below_the_base_says_which_segments_it_cannot_give() -> None:
    phantom = make_phantom(draw_ellipsoid(np.arange(3, 9) + 0.5), cap=True, margin=0)
    wall = measure_wall(phantom.make_image(), 2)
    assert sorted(wall.segments) == list(range(7, 18))
    assert set(wall.missing.values()) == {"the volume ends before the base"}
    assert any("ends before the heart's base" in warning for warning in wall.warnings)


def test_a_gap_of_muscle_at_the_outflow_tract_is_told() -> None:
    phantom = make_phantom()
    turned = (FRONT_DEGREES - phantom.degrees) % 360
    basal = phantom.labels[1:4]
    basal[(basal == MYO.label) & ((turned >= 60) & (turned < 120))] = 0
    wall = measure_wall(phantom.make_image(), 2)
    assert wall.missing == {3: "no muscle is marked there"}


def test_a_nominal_header_that_mirrors_the_heart_does_not_swap_front_and_back() -> None:
    """As in ACDC: pictures as on a scanner's screen, the directions of a table, slices from base to apex."""
    phantom = make_phantom()
    image = sitk.GetImageFromArray(phantom.labels[:, ::-1, ::-1])  # Rows to the back, columns away from the septum.
    image.SetSpacing(phantom.spacing_mm[::-1])
    wall = measure_wall(image, 2)
    expected = measure_wall(phantom.make_image(), 2)
    found = wall.division.segments[:, ::-1, ::-1]
    assert np.mean(found == expected.division.segments) > 0.995
    assert any("mirror image" in warning for warning in wall.warnings)


def test_a_heart_without_taper_takes_base_and_apex_from_the_header() -> None:
    phantom = make_phantom((20,) * 9, cap=False)
    image = phantom.make_image()
    axes = find_heart_axes(LabelStack.from_image(image, 2))
    assert np.allclose(axes.apical, APICAL) and any("header" in doubt for doubt in axes.doubts)
    turned = sitk.GetImageFromArray(phantom.labels[::-1])
    turned.SetSpacing(image.GetSpacing())
    turned.SetDirection(np.stack([SEPTAL, FRONT, -APICAL], axis=1).ravel())
    assert np.allclose(find_heart_axes(LabelStack.from_image(turned, 2)).apical, APICAL)


def test_what_cannot_be_divided_is_refused_with_the_reason() -> None:
    phantom = make_phantom()
    phantom.labels[phantom.labels == RV.label] = 0
    with pytest.raises(InputError, match="right ventricle nowhere touches"):
        measure_wall(phantom.make_image(), 2)
    phantom = make_phantom((20,), cap=False)
    with pytest.raises(InputError, match="two slices"):
        measure_wall(phantom.make_image(), 2)
    for middle in ((21, 20), (20, 20, 20, 20)):  # Neither base nor apex, and no shape that tells how far they are.
        with pytest.raises(InputError, match="ends within the left ventricle"):
            measure_wall(make_phantom(middle, cap=False, margin=0).make_image(), 2)


def test_a_gap_between_the_ventricles_does_not_hide_where_they_join() -> None:
    phantom = make_phantom()
    # One pixel of background between RV and muscle, as some annotators leave it.
    expected = measure_wall(phantom.make_image(), 2).division.segments
    labels = phantom.labels
    touching = np.zeros(labels.shape, bool)
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        touching |= np.roll(labels == MYO.label, shift, axis=(1, 2)) & (labels == RV.label)
    labels[touching] = 0
    found = measure_wall(phantom.make_image(), 2).division.segments
    assert np.mean(found[labels == MYO.label] == expected[labels == MYO.label]) > 0.95
