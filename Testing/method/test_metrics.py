"""Metrics against a slow brute-force reading of their definitions and against MONAI."""

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.measure.metrics import (
    compute_myocardial_mass_g,
    compute_volumes_ml,
    evaluate,
    evaluate_arrays,
    find_surface,
    measure_surface_distances,
)

SPACING = (8.0, 1.25, 1.5)


def make_masks(seed, shape=(5, 22, 20)):
    """Two blobs with ragged borders, one of them with a hole, touching the image's border now and then."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    masks = []
    for _ in range(2):
        center = random.uniform((1, 7, 7), (3, 14, 12))
        radius = random.uniform(4, 8)
        distance = np.sqrt(((z - center[0]) * 3) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2)
        mask = distance + random.normal(0, 0.8, shape) < radius
        masks.append(mask & (distance > random.uniform(0, 3)))
    return masks


def find_surface_slowly(mask):
    points = []
    for point in np.argwhere(mask):
        for axis in range(3):
            for step in (-1, 1):
                other = point.copy()
                other[axis] += step
                if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                    points.append(tuple(point))
    return np.array(sorted(set(points)))


def measure_slowly(a, b, spacing):
    surface_a, surface_b = find_surface_slowly(a) * spacing, find_surface_slowly(b) * spacing
    between = np.sqrt(((surface_a[:, None] - surface_b[None]) ** 2).sum(axis=2))
    a_to_b, b_to_a = between.min(axis=1), between.min(axis=0)
    return (
        max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95)),
        (a_to_b.sum() + b_to_a.sum()) / (len(a_to_b) + len(b_to_a)),
    )


def make_labelmap(array, spacing=SPACING):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    return image


@pytest.mark.parametrize("seed", range(6))
def test_surface_distances_are_those_of_the_definition(seed):
    a, b = make_masks(seed)
    measured = measure_surface_distances(a, b, SPACING)
    expected = measure_slowly(a, b, np.array(SPACING))
    assert measured == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(np.argwhere(find_surface(a)), find_surface_slowly(a))


@pytest.mark.parametrize("seed", range(6, 9))
def test_surface_distances_agree_with_monai(seed):
    pytest.importorskip("scipy")
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    a, b = make_masks(seed)
    one_hot = [torch.from_numpy(mask[None, None]) for mask in (a, b)]
    hd95 = metrics.compute_hausdorff_distance(*one_hot, include_background=True, percentile=95, spacing=SPACING)
    asd = metrics.compute_average_surface_distance(*one_hot, include_background=True, symmetric=True, spacing=SPACING)
    assert measure_surface_distances(a, b, SPACING) == pytest.approx((hd95.item(), asd.item()), rel=1e-4)


def test_a_shift_is_measured_in_millimetres_along_each_axis():
    truth = np.zeros((9, 24, 24), np.uint8)
    truth[3:6, 8:16, 8:16] = 2
    for axis, mm in enumerate(SPACING):
        scores = evaluate_arrays(truth, np.roll(truth, 2, axis), SPACING)
        assert scores["LV"]["hd95_mm"] == pytest.approx(2 * mm)


def test_a_prediction_equal_to_the_reference_is_perfect_in_every_structure():
    truth = np.zeros((3, 12, 12), np.uint8)
    truth[:, 2:5, 2:5], truth[:, 5:8, 2:5], truth[:, 8:11, 2:5] = 1, 2, 3
    scores = evaluate(make_labelmap(truth), make_labelmap(truth))
    for name in ("MYO", "LV", "RV"):
        assert (scores[name]["dice"], scores[name]["hd95_mm"], scores[name]["asd_mm"]) == (1.0, 0.0, 0.0)
        assert scores[name]["reference_ml"] == scores[name]["prediction_ml"] == pytest.approx(27 * 15 / 1000)
    assert scores["average"] == {"dice": 1.0, "hd95_mm": 0.0, "asd_mm": 0.0}


def test_a_missing_structure_is_the_worst_case_and_not_left_out():
    truth = np.zeros((4, 10, 10), np.uint8)
    truth[1:3, 2:6, 2:6] = 2
    prediction = np.zeros_like(truth)
    prediction[1, 1, 1] = 3
    scores = evaluate_arrays(truth, prediction, SPACING)
    diagonal = np.sqrt((4 * 8) ** 2 + (10 * 1.25) ** 2 + (10 * 1.5) ** 2)
    assert scores["LV"]["dice"] == scores["RV"]["dice"] == 0.0
    assert scores["LV"]["hd95_mm"] == scores["RV"]["asd_mm"] == pytest.approx(diagonal)
    assert (scores["MYO"]["dice"], scores["MYO"]["hd95_mm"]) == (1.0, 0.0)
    assert scores["average"]["dice"] == pytest.approx(1 / 3)
    assert scores["average"]["hd95_mm"] == pytest.approx(2 / 3 * diagonal)


def test_half_an_overlap_has_the_dice_of_the_formula():
    truth, prediction = np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8)
    truth[0, :4], prediction[0, 2:6] = 1, 1
    assert evaluate_arrays(truth, prediction, SPACING)["MYO"]["dice"] == pytest.approx(0.5)


def test_the_surface_of_a_single_slice_is_its_outline():
    truth, prediction = np.zeros((1, 30, 30), np.uint8), np.zeros((1, 30, 30), np.uint8)
    truth[0, 5:25, 5:25], prediction[0, 8:22, 8:22] = 2, 2
    assert find_surface(truth == 2).sum() == 4 * 19
    # Were the whole slice the surface, all voxels of the smaller square would be at distance 0.
    assert evaluate_arrays(truth, prediction, (8.0, 1.0, 1.0))["LV"]["asd_mm"] == pytest.approx(3.0, abs=0.2)


def test_masks_that_fill_the_image_are_measured():
    full, hollow = np.ones((3, 6, 6), bool), np.ones((3, 6, 6), bool)
    hollow[1, 2:4, 2:4] = False
    assert measure_surface_distances(full, full, SPACING) == (0.0, 0.0)
    expected = measure_slowly(full, hollow, np.array(SPACING))
    assert measure_surface_distances(full, hollow, SPACING) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("change", ["size", "spacing", "origin", "direction"])
def test_different_grids_are_refused(change):
    truth = make_labelmap(np.eye(6, dtype=np.uint8)[None].repeat(4, axis=0))
    other = sitk.Image(truth)
    if change == "size":
        other = other[:, :, 1:]
    elif change == "spacing":
        other.SetSpacing((1.5, 1.25, 8.1))
    elif change == "origin":
        other.SetOrigin((0.0, 0.1, 0.0))
    else:
        other.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))
    with pytest.raises(InputError, match="resample"):
        evaluate(truth, other)


def test_the_rounding_of_file_headers_is_no_different_grid():
    truth = make_labelmap(np.eye(6, dtype=np.uint8)[None].repeat(4, axis=0))
    other = sitk.Image(truth)
    other.SetOrigin((1e-5, -1e-5, 0.0))
    assert evaluate(truth, other)["average"]["dice"] == 1.0


def test_labels_of_another_data_set_are_refused_instead_of_scored():
    truth = np.full((2, 3, 3), 200)
    with pytest.raises(InputError, match="200"):
        evaluate_arrays(truth, truth, SPACING)


def test_volumes_and_mass_follow_the_voxel_size():
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[0], labels[1, :5], labels[2, 0, 0] = 1, 2, 3
    image = make_labelmap(labels, (10.0, 2.0, 2.0))
    assert compute_volumes_ml(image) == pytest.approx({"MYO": 4.0, "LV": 2.0, "RV": 0.04})
    assert compute_myocardial_mass_g(image) == pytest.approx(4.2)
