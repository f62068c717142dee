"""Figures of the read-outs say what they are given."""

import re

import numpy as np
import pytest

from confuda.errors import UsageError
from confuda.measure.function import measure_function
from confuda.report.bulls_eye import draw_bulls_eye, find_place, take_values
from confuda.report.figures import render_figure
from confuda.report.function_figures import draw_bland_altman, draw_volume_curve, measure_agreement


def read_texts(figure) -> list:
    return re.findall(r"<text[^>]*>([^<]*)</text>", render_figure(figure, ".svg").decode())


def test_the_bulls_eye_has_each_segments_number_where_the_statement_draws_it() -> None:
    figure = draw_bulls_eye(
        {**{segment: 10.0 + segment for segment in range(1, 17)}, 17: None}, "Thickness", "mm", None, 1
    )
    texts = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    # Segment 1 above, 3 at the lower left, 4 below, 14 left of the middle; nothing is known of 17, the middle.
    x, y = texts["11.0"]
    assert abs(x) < 1e-9 and y == pytest.approx(3.5)
    assert np.allclose(texts["13.0"], (3.5 * np.cos(np.radians(210)), 3.5 * np.sin(np.radians(210))))
    assert texts["14.0"][1] == pytest.approx(-3.5) and np.allclose(texts["24.0"], (-1.5, 0), atol=1e-9)
    assert texts["–"] == (0, 0)
    assert {"anterior", "septal", "inferior", "lateral", "Thickness", "mm"} <= set(read_texts(figure))


def test_the_bulls_eyes_segments_fill_the_circle_once() -> None:
    area = 0.0
    for segment in range(1, 18):
        inner, outer, first, last = find_place(segment)
        area += np.pi * (outer**2 - inner**2) * (last - first) / 360
    assert area == pytest.approx(np.pi * 16)


def test_values_come_from_the_rows_of_a_summary() -> None:
    rows = [{"segment": 1, "thickness_mm": 9.5}, {"segment": 17, "thickness_mm": None}]
    assert take_values(rows, "thickness_mm") == {1: 9.5, 17: None}


def test_the_curve_shows_every_frame_and_marks_the_ends_of_the_cycle() -> None:
    cycle = [{"MYO": 90.0, "LV": lv, "RV": rv} for lv, rv in ((120, 130), (60, 70), (48, 80), (100, 110))]
    figure = draw_volume_curve(measure_function(cycle).describe())
    lines = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert [[0, 120], [1, 60], [2, 48], [3, 100]] in lines and [[0, 130], [1, 70], [2, 80], [3, 110]] in lines
    assert {tuple(line[0]) for line in lines if len(line) == 1} == {(0, 120), (2, 48), (0, 130), (1, 70)}
    assert "LV, ejection fraction 60 %" in read_texts(figure) and "volume, mL" in read_texts(figure)
    assert "time, ms" in read_texts(draw_volume_curve(measure_function(cycle).describe(), (0, 40, 80, 120)))


def test_agreement_is_that_of_a_hand_computation() -> None:
    # Differences 1, 3, 5: mean 3, standard deviation 2.
    agreement = measure_agreement([10, 20, 30], [11, 23, 35])
    assert agreement == pytest.approx((3, 3, 3 - 1.96 * 2, 3 + 1.96 * 2))
    assert measure_agreement([10, 20], [9, 21]).mean_absolute_difference == 1
    figure = draw_bland_altman([10, 20, 30], [11, 23, 35], "Ejection fraction", "%")
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[10.5, 1], [21.5, 3], [32.5, 5]]
    assert {"mean +3.0", "upper limit +6.9", "lower limit -0.9"} <= set(read_texts(figure))
    with pytest.raises(UsageError, match="two pairs"):
        measure_agreement([1], [2])


def test_figures_are_png_or_svg_and_the_same_each_time() -> None:
    figure = draw_bulls_eye({1: 1.0}, "t", "mm")
    assert render_figure(figure, ".PNG").startswith(b"\x89PNG")
    first, second = (render_figure(draw_bulls_eye({1: 1.0}, "t", "mm"), ".svg") for _ in range(2))
    assert first == second
    with pytest.raises(UsageError, match="png"):
        render_figure(figure, ".jpg")
