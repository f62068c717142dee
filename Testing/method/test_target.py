"""Which slices are adapted to."""

import numpy as np

from confuda.adaptation.target import choose_target_slices


def make_labels() -> np.ndarray:
    """Eight slices: muscle in 2 to 6, all three structures in 2 to 4."""
    labels = np.zeros((8, 16, 16), int)
    labels[2:7, 2:14, 2:14] = 1
    labels[2:5, 6:10, 6:10] = 2
    labels[2:5, 3, 3] = 3
    return labels


def test_few_shot_takes_the_slices_of_the_heart_and_one_more_at_either_end() -> None:
    np.testing.assert_array_equal(choose_target_slices(make_labels(), "few-shot"), [1, 2, 3, 4, 5, 6, 7])
    np.testing.assert_array_equal(choose_target_slices(make_labels()[2:7], "few-shot"), [0, 1, 2, 3, 4])


def test_one_shot_takes_the_middle_of_the_slices_that_show_all_structures() -> None:
    np.testing.assert_array_equal(choose_target_slices(make_labels(), "one-shot"), [3])


def test_one_shot_takes_the_middle_of_the_heart_where_no_slice_shows_all_of_it() -> None:
    labels = make_labels()
    labels[labels == 3] = 0
    np.testing.assert_array_equal(choose_target_slices(labels, "one-shot"), [4])


def test_nothing_is_taken_where_nothing_is_marked() -> None:
    for mode in ("one-shot", "few-shot"):
        assert not len(choose_target_slices(np.zeros((3, 8, 8), int), mode))
