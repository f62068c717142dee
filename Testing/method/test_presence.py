"""What is marked counts as a heart only if views agree on it and it is built like one."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import SAMPLE_TRUTH, make_heart

from confuda.inference.plausibility import find_doubt, measure_marks
from confuda.io.segmentation_file import read_segmentation


def draw(slices: int = 6) -> np.ndarray:
    return sitk.GetArrayFromImage(make_heart(slices)[1])


def test_hearts_are_not_doubted() -> None:
    truth = read_segmentation(SAMPLE_TRUTH)
    assert find_doubt(sitk.GetArrayFromImage(truth), 0.9, truth.GetSpacing()[0]) == ""
    assert find_doubt(draw(), 0.75, 1.5) == ""
    assert find_doubt(draw(1), 0.75, 1.5) == ""


def without_rv(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 3, 0, labels)


def in_one_slice(labels: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(labels))[:, None, None] == 2, labels, 0)


def jumping(labels: np.ndarray) -> np.ndarray:
    return np.stack([np.roll(plane, 40 * number, axis=0) for number, plane in enumerate(labels)])


@pytest.mark.parametrize(
    "spoil, agreement, pixel_mm, words",
    [
        (np.zeros_like, 0.9, 1.5, "nothing"),
        (np.copy, 0.5, 1.5, "each view"),
        (np.copy, 0.9, 4.0, "square centimetres"),
        (np.copy, 0.9, 0.2, "square centimetres"),
        (without_rv, 0.8, 1.5, "right ventricle"),
        (without_rv, 0.92, 1.5, "right ventricle"),
        (in_one_slice, 0.9, 1.5, "ring"),
        (jumping, 0.9, 1.5, "nothing in common"),
    ],
)
def test_what_is_built_otherwise_is_doubted(spoil, agreement, pixel_mm, words) -> None:
    assert words in find_doubt(spoil(draw()), agreement, pixel_mm)


def test_a_slice_at_the_apex_needs_no_right_ventricle_where_views_agree() -> None:
    assert find_doubt(without_rv(draw(1)), 0.9, 1.5) == ""


def test_measures_have_the_units_they_say() -> None:
    labels = np.zeros((2, 40, 40), np.uint8)
    labels[0, :20, :20], labels[0, 20:30, :20], labels[1, :20, :20] = 1, 2, 1
    marks = measure_marks(labels, 2.0)
    assert marks.areas_cm2["MYO"] == pytest.approx(16.0) and marks.areas_cm2["LV"] == pytest.approx(4.0)
    assert marks.ring_share == 0.5 and marks.continuity == pytest.approx(0.8) and marks.slices == 2
