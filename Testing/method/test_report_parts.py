"""The parts of a report: hidden names, outlines, pictures, curves, and which slices are shown."""

import base64
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from confuda.labels import LV
from confuda.report.case import hide_names
from confuda.report.curves import collect_terms, draw_curves, smooth
from confuda.report.page import choose_slices
from confuda.report.pictures import draw_outlines, encode_figure, encode_slices, trace_outlines


def test_paths_and_file_names_are_hidden_and_words_are_not() -> None:
    paths = [Path("/data/DOE JOHN/heart.nii.gz"), Path("data/heart.nrrd")]
    text = "Cannot read /data/DOE JOHN/heart.nii.gz nor heart.nrrd in /data/DOE JOHN: no heart in the data."
    hidden = hide_names(text, paths)
    assert "DOE" not in hidden and "JOHN" not in hidden and "nrrd" not in hidden
    assert hidden.endswith("no heart in the data.")


def test_outlines_close_around_what_is_inside() -> None:
    """By the even-odd rule, as a browser fills: a row is crossed once at each end of a run of pixels."""
    random = np.random.default_rng(0)
    for _ in range(30):
        mask = random.random((7, 9)) > 0.5
        filled = np.zeros(mask.shape, dtype=bool)
        for outline in trace_outlines(mask):
            for (c0, r0), (c1, r1) in zip(outline, outline[1:]):
                for row in range(mask.shape[0]):
                    if min(r0, r1) <= row < max(r0, r1):
                        crossing = c0 + (row - r0) / (r1 - r0) * (c1 - c0)
                        filled[row] ^= np.arange(mask.shape[1]) > crossing
        np.testing.assert_array_equal(filled, mask)


def test_an_outlines_place_is_in_millimetres() -> None:
    labels = np.zeros((3, 4), dtype=np.uint8)
    labels[1, 2] = LV.label
    paths = draw_outlines(labels, (2.0, 1.5))
    assert list(paths) == ["LV"]
    numbers = [float(number) for number in re.findall(r"[\d.]+", paths["LV"])]
    columns, rows = numbers[0::2], numbers[1::2]
    assert (min(columns), max(columns)) == (3.0, 4.5) and (min(rows), max(rows)) == (2.0, 4.0)


def test_pictures_are_the_slices(tmp_path) -> None:
    slices = np.random.default_rng(0).normal(50, 10, (2, 12, 15)).astype(np.float32)
    for address, plane in zip(encode_slices(slices), slices):
        head, _, data = address.partition(",")
        assert head == "data:image/png;base64"
        (tmp_path / "p.png").write_bytes(base64.b64decode(data))
        picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.png")))
        assert picture.shape == plane.shape and np.corrcoef(picture.ravel(), plane.ravel())[0, 1] > 0.99


def test_curves_leave_a_gap_where_a_loss_is_not_finite() -> None:
    terms = collect_terms([{"source": 1.0, "total": 2.0}, {"source": 0.5, "total": float("inf")}, {"total": 1.0}])
    assert list(terms) == ["total", "source"]
    np.testing.assert_array_equal(terms["total"], [2.0, np.nan, 1.0])
    np.testing.assert_array_equal(terms["source"], [1.0, 0.5, np.nan])
    np.testing.assert_allclose(smooth(terms["total"]), [2.0, np.nan, 2.0 + 0.15 * (1.0 - 2.0)])


def test_each_term_has_a_chart_that_says_where_it_began_and_ended() -> None:
    figure = draw_curves(collect_terms([{"total": 3.0, "norm": 0.25}, {"total": 1.5, "norm": float("nan")}]))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in shown] == ["Total", "Centroid norms (CNR)"]
    assert [axes.get_title("right") for axes in shown] == ["3 → 1.5", "0.25"]
    np.testing.assert_array_equal(shown[0].lines[0].get_ydata(), [3.0, 1.5])
    # The same losses give the same drawing.
    once, again = (encode_figure(draw_curves({"total": np.array([3.0, np.nan, 1.0])})) for _ in range(2))
    assert once == again and once.startswith("data:image/svg+xml;base64,")
    assert draw_curves({"total": np.array([np.nan])}).axes[0].get_title("right") == "no finite value"


def test_a_long_stack_is_thinned_out() -> None:
    heart = np.zeros((200, 4, 4), dtype=bool)
    heart[20:180] = True
    shown = choose_slices(heart)
    assert shown[0] == 19 and shown[-1] == 180 and len(shown) == 24
    assert choose_slices(heart[:30]) == list(range(19, 30))
