"""What speaks against a segmentation although a heart was found: drawn hearts of known size, spoilt in one way each."""

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.imaging.stack import ShortAxisStack
from confuda.inference.acceptance import Opinion
from confuda.inference.cautions import find_cautions, measure_signs

PIXEL_MM = 1.25
SLICE_MM = 10.0
OUTER_MM, WALL_MM = 35.5, 10.0
LEVELS = np.array([60.0, 90.0, 200.0, 190.0])
MIDDLE = (90, 100)


def draw(noise: float = 6.0, levels: np.ndarray = LEVELS):
    """Voxels and labels (9 slices, 180, 192): a left ventricle of 39.6 square centimetres with its wall, 90 mm long."""
    rows, columns = np.indices((180, 192)) * PIXEL_MM
    left = np.hypot(rows - MIDDLE[0] * PIXEL_MM, columns - MIDDLE[1] * PIXEL_MM)
    right = np.hypot(rows - MIDDLE[0] * PIXEL_MM, columns - MIDDLE[1] * PIXEL_MM + 40.0)
    labels = np.zeros((9, *left.shape), np.uint8)
    for number, plane in enumerate(labels):
        size = 1.0 - 0.04 * number
        plane[right < 28.0 * size] = 3
        plane[left < OUTER_MM * size] = 1
        plane[left < (OUTER_MM - WALL_MM) * size] = 2
    random = np.random.default_rng(0)
    return levels[labels] + random.normal(0, noise, labels.shape), labels


def crop_on_heart(voxels: np.ndarray, labels: np.ndarray, pixel_mm: float = PIXEL_MM):
    image, truth = (sitk.GetImageFromArray(array) for array in (voxels.astype(np.float32), labels))
    for one in (image, truth):
        one.SetSpacing((pixel_mm, pixel_mm, SLICE_MM))
    stack = ShortAxisStack(image, PIXEL_MM)
    on_grid = stack.resample_labels(truth)
    center = np.argwhere((on_grid == 1) | (on_grid == 2))[:, 1:].mean(axis=0)
    crop = stack.crop(center, 144)
    return crop, crop.cut(on_grid)


def look(voxels, labels, pixel_mm: float = PIXEL_MM, agreement: float = 0.96, rival: float = 0.0):
    """The cautions of outlines that are the truth."""
    crop, seen = crop_on_heart(voxels, labels, pixel_mm)
    soft = (seen == np.arange(4)[:, None, None, None]).astype(np.float32)
    return find_cautions(crop, Opinion(soft, agreement), rival)


def expect(cautions, *words) -> None:
    """One caution for each of ``words``, in this order, and no other."""
    assert len(cautions) == len(words), cautions
    for caution, word in zip(cautions, words):
        assert word in caution and caution.endswith(".")


def test_a_heart_without_fault_gets_no_caution() -> None:
    expect(look(*draw()))


def test_what_is_measured_has_the_units_that_it_says() -> None:
    crop, labels = crop_on_heart(*draw(noise=1.0))
    signs = measure_signs(crop, labels, 0.9, 0.5)
    assert signs.area_cm2 == pytest.approx(np.pi * 3.55**2, rel=0.01)
    assert signs.aspect == pytest.approx(90.0 / (2 * OUTER_MM), rel=0.01)
    # The median of the large slices, of which the smallest has a diameter of 0.80 times the largest.
    assert signs.wall_mm == pytest.approx(WALL_MM * 0.9, abs=0.5)
    assert signs.enclosure == 1.0 and signs.without_rv == 0.0 and signs.gaps == 0 and signs.border_share == 0.0
    assert (signs.agreement, signs.rival) == (0.9, 0.5)


def test_signal_to_noise_is_that_of_the_image() -> None:
    voxels, labels = draw(noise=10.0)
    voxels[:, 40:60, 60:140] = 400.0  # brighter than blood, so that no noise of the blood is cut off
    signs = measure_signs(*crop_on_heart(voxels, labels), 0.9)
    # Blood and muscle are 110 apart; the quarter of the muscle that differs most lies 0.67 standard deviations further.
    assert signs.separation == pytest.approx(11.7, rel=0.05)
    # Edges between pixels count as noise, too.
    assert 0.8 * 11.7 < signs.signal_to_noise < 1.05 * 11.7


# Where the image ends


def test_a_heart_that_the_image_cuts_in_two_is_cut_off() -> None:
    voxels, labels = draw()
    expect(look(voxels[:, :, : MIDDLE[1]], labels[:, :, : MIDDLE[1]]), "cut off")


def test_a_heart_that_reaches_into_padding_is_cut_off() -> None:
    voxels, labels = draw()
    voxels[:, :, MIDDLE[1] + 15 :] = 0.0
    labels[:, :, MIDDLE[1] + 15 :] = 0
    expect(look(voxels, labels), "cut off")


def test_outlines_that_go_on_beyond_the_border_do_not_hide_it() -> None:
    voxels, labels = draw()
    voxels[:, :, MIDDLE[1] + 15 :] = 0.0
    expect(look(voxels, labels), "cut off")


def test_a_heart_close_to_the_border_is_whole() -> None:
    voxels, labels = draw()
    end = int(np.argwhere(labels)[:, 2].max()) + 8
    expect(look(voxels[:, :, :end], labels[:, :, :end]))


def test_dark_air_beside_the_heart_is_no_padding() -> None:
    """Around the heart half of the voxels are zero, as where noise is cut off at zero."""
    voxels, labels = draw()
    air = np.random.default_rng(1).normal(0, 6.0, voxels.shape)
    expect(look(np.where(labels > 0, voxels, np.maximum(air, 0.0)), labels))


# Size


@pytest.mark.parametrize("factor, word", [(0.5, "small"), (0.7, "long"), (1.4, "large"), (2.0, "large")])
def test_a_spacing_that_is_wrong_is_told(factor, word) -> None:
    expect(look(*draw(noise=3.0), pixel_mm=factor * PIXEL_MM), word)


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_hearts_may_differ_in_size(factor) -> None:
    expect(look(*draw(), pixel_mm=factor * PIXEL_MM))


# Signal


def test_noise_is_told() -> None:
    expect(look(*draw(noise=40.0)), "signal is low")


def test_muscle_that_looks_like_blood_is_told() -> None:
    """Muscle and blood of one mean brightness, each with the grey values of the other, hardly any noise."""
    voxels, labels = draw(noise=1.0)
    stripes = 50 * np.sin(np.arange(voxels.shape[2]) / 4.0)
    voxels[labels > 0] = 140
    voxels += np.where(labels > 0, stripes, 0.0)
    expect(look(voxels, labels), "hardly differ")


def test_a_scar_as_bright_as_blood_is_no_lack_of_signal() -> None:
    voxels, labels = draw()
    scar = (labels == 1) & (np.indices(labels.shape)[1] > MIDDLE[0])
    voxels[scar] += LEVELS[2] - LEVELS[1]
    expect(look(voxels, labels))


def test_black_blood_is_no_lack_of_signal() -> None:
    expect(look(*draw(levels=np.array([60.0, 130.0, 15.0, 15.0]))))


# What is missing, and doubt


def test_a_right_ventricle_that_is_missing_in_most_large_slices_is_told() -> None:
    voxels, labels = draw()
    without = labels.copy()
    without[2:][without[2:] == 3] = 0
    expect(look(voxels, without), "right ventricle is missing")
    at_the_ends = labels.copy()
    at_the_ends[[0, 8]] = np.where(labels[[0, 8]] == 3, 0, labels[[0, 8]])
    expect(look(voxels, at_the_ends))


def test_a_ring_that_is_open_is_told() -> None:
    voxels, labels = draw()
    rows = np.indices(labels.shape)[1]
    expect(look(voxels, np.where((labels == 1) & (rows > MIDDLE[0]), 0, labels)), "open")


def test_slices_left_out_between_others_are_told() -> None:
    voxels, labels = draw()
    labels[4] = 0
    expect(look(voxels, labels), "middle of the heart")


def test_views_that_disagree_are_told_with_the_figure() -> None:
    expect(look(*draw(), agreement=0.85), "agree by 0.850")


def test_a_second_place_that_is_as_good_is_told() -> None:
    expect(look(*draw(), rival=0.95), "Another place")
    expect(look(*draw(), rival=0.4))


def test_nothing_that_is_marked_needs_no_caution() -> None:
    voxels, labels = draw()
    crop, _ = crop_on_heart(voxels, labels)
    soft = np.zeros((4, 9, 144, 144), np.float32)
    soft[0] = 1.0
    assert find_cautions(crop, Opinion(soft, 0.0)) == []
