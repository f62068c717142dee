"""Single slices that belong to one stack are put together, in DICOM and in 3D Slicer; others are not."""

import numpy as np
import pytest

from confuda.imaging.parallel_slices import SlicePlace, join_slices, strip_number

ROW, COLUMN = (0.8, 0.0, -0.6), (0.0, 1.0, 0.0)
NORMAL = np.cross(ROW, COLUMN)


def place(distance, **changes):
    position = tuple(np.array((10.0, -20.0, 30.0)) + distance * NORMAL)
    return SlicePlace((20, 24), (1.25, 1.5), position, ROW, COLUMN, "lge")._replace(**changes)


def test_slices_are_joined_in_the_order_of_their_places_whatever_order_they_come_in():
    (stack,) = join_slices([place(mm) for mm in (16, 0, 24, 8)])
    assert stack.order == [1, 3, 0, 2] and stack.is_even
    assert stack.distance_mm == pytest.approx(8)
    assert stack.unevenness == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (20, 23)},
        {"spacing_mm": (1.25, 1.6)},
        {"row_direction": (0.6, 0.0, -0.8)},
        {"key": "t2"},
    ],
    ids=["size", "spacing", "direction", "key"],
)
def test_slices_of_another_kind_are_left_alone(changes):
    (stack,) = join_slices([place(0), place(8), place(16, **changes)])
    assert stack.order == [0, 1]


def test_a_missing_slice_is_noticed():
    (stack,) = join_slices([place(mm) for mm in (0, 8, 24, 32)])
    assert not stack.is_even and stack.unevenness == pytest.approx(0.25)


def test_slices_that_are_shifted_within_their_plane_make_no_volume():
    shifted = place(8)._replace(position_mm=tuple(np.add(place(8).position_mm, (0, 3, 0))))
    (stack,) = join_slices([place(0), shifted, place(16)])
    assert not stack.is_even


def test_a_stack_that_was_taken_twice_becomes_two():
    first, second = join_slices([place(mm) for mm in (0, 8, 16, 0, 8, 16)])
    assert first.order == [0, 1, 2] and second.order == [3, 4, 5]


def test_a_slice_alone_is_no_stack():
    assert join_slices([place(0)]) == []
    assert join_slices([]) == []


def test_names_that_differ_in_a_number_are_one_stacks():
    assert strip_number("LGE_SAX_3") == strip_number("LGE_SAX_12") == strip_number("lge_sax ") == "lge_sax"
    assert strip_number("12: LGE SAX") == strip_number("13: LGE SAX 2") == "lge sax"
    assert strip_number("T1 map") != strip_number("T2 map")
