"""The figure shows the heart with outlines where the labels are, and nothing but a whole file is left behind."""

import sys

import numpy as np
import pytest

from confuda.errors import InputError, UsageError
from confuda.labels import LV, MYO, RV, STRUCTURES
from confuda.report.contours import draw_contours

matplotlib_image = pytest.importorskip("matplotlib.image")


def make_heart(slices, size=64):
    rows, columns = np.indices((size, size))
    radius = np.hypot(rows - 30, columns - 34)
    plane = np.where(radius < 7, LV.label, np.where(radius < 12, MYO.label, 0))
    plane[24:40, 12:20] = RV.label
    labels = np.repeat(plane[None], slices, axis=0).astype(np.uint8)
    return np.where(labels == LV.label, 200.0, 40.0), labels


def count_pixels(picture, structure):
    return int((np.abs(picture[..., :3] - structure.rgb).max(axis=-1) < 0.06).sum())


def test_each_structure_is_outlined_in_its_colour(tmp_path):
    slices, labels = make_heart(1)
    for shown in STRUCTURES:
        path = draw_contours(slices, {"truth": np.where(labels == shown.label, labels, 0)}, tmp_path / "one.png")
        picture = matplotlib_image.imread(path)
        legend = 60  # Rows of pixels at the bottom, where all colours are explained.
        found = [count_pixels(picture[:-legend], structure) for structure in STRUCTURES]
        assert np.argmax(found) == STRUCTURES.index(shown) and max(found) > 200


def test_predictions_stand_beside_each_other_and_beside_the_plain_image(tmp_path):
    slices, labels = make_heart(1)
    both = {"a": labels, "b": labels}
    two = matplotlib_image.imread(draw_contours(slices, both, tmp_path / "2.png"))
    three = matplotlib_image.imread(draw_contours(slices, both, tmp_path / "3.png", plain=True))
    assert three.shape[1] == pytest.approx(1.5 * two.shape[1], rel=0.02)
    left, _, right = np.array_split(three[:-60], 3, axis=1)
    assert count_pixels(left, MYO) == 0 < count_pixels(right, MYO)


def test_slices_without_a_heart_are_left_out_and_many_are_thinned(tmp_path):
    slices, labels = make_heart(8)
    labels[:2], labels[6:] = 0, 0
    few = draw_contours(slices, {"a": labels, "b": labels}, tmp_path / "few.png", max_slices=2)
    all_of_them = draw_contours(slices, {"a": labels, "b": labels}, tmp_path / "all.png", max_slices=99)
    heights = [matplotlib_image.imread(path).shape[0] for path in (few, all_of_them)]
    panel = (heights[1] - heights[0]) / (4 - 2)
    assert panel == pytest.approx(2.1 * 150, rel=0.02)


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    slices, labels = make_heart(1)
    shapes = {}
    for name, spacing in {"square": (1.0, 1.0), "wide": (1.0, 2.0)}.items():
        path = draw_contours(slices, {"a": labels}, tmp_path / f"{name}.png", spacing, plain=True)
        shapes[name] = matplotlib_image.imread(path).shape
    assert shapes["wide"][1] > 1.5 * shapes["square"][1]


def test_a_volume_without_labels_is_drawn_whole(tmp_path):
    slices, labels = make_heart(1)
    assert draw_contours(slices, {"empty": labels * 0}, tmp_path / "empty.png").stat().st_size > 1000


def test_wrong_input_and_places_are_refused_and_leave_nothing(tmp_path):
    slices, labels = make_heart(1)
    with pytest.raises(InputError, match="'truth'"):
        draw_contours(slices, {"truth": labels[:, 1:]}, tmp_path / "a.png")
    with pytest.raises(InputError, match="label map"):
        draw_contours(slices, {}, tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    for place in (tmp_path / "gone" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(InputError, match="Cannot write"):
            draw_contours(slices, {"truth": labels}, place)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.png"]


def test_without_matplotlib_the_way_to_get_it_is_named(tmp_path, monkeypatch):
    slices, labels = make_heart(1)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match="pip install"):
        draw_contours(slices, {"truth": labels}, tmp_path / "a.png")
