"""Paired comparison of rows: mean differences, intervals and p-values with known answers, patients and not runs."""

import numpy as np
import pytest

from confuda.benchmark.paired import compare_neighbours, format_differences
from confuda.benchmark.tables import TableRow


def make_record(method, fold, seed, values):
    cases = [
        {"case": f"patient{fold}{number}", "scores": {"average": {"dice": dice, "hd95_mm": 100 * (1 - dice)}}}
        for number, dice in enumerate(values)
    ]
    return {"method": method, "fold": fold, "seed": seed, "cases": cases}


def make_row(setting, method, *records):
    return TableRow(setting, method, [make_record(method, *record) for record in records], len(records), None)


def test_each_row_is_compared_with_the_row_before_it_and_the_last_one_with_the_control():
    rows = [
        make_row("-", "none", (2, 0, [0.4, 0.5])),
        TableRow("-", "second observer", [], 0, None),
        make_row("-", "source", (2, 0, [0.45, 0.5])),
        make_row("few-shot", "fuda", (2, 0, [0.6, 0.6])),
        make_row("few-shot", "confuda", (2, 0, [0.7, 0.6])),
        make_row("full", "confuda", (2, 0, [0.7, 0.8])),
    ]
    pairs = [(one.setting, one.method, one.against) for one in compare_neighbours(rows)]
    assert pairs == [
        ("-", "source", "none"),
        ("few-shot", "fuda", "source"),
        ("few-shot", "confuda", "fuda"),
        ("few-shot", "confuda", "source"),
        ("full", "confuda", "source"),
    ]


def test_seeds_of_a_patient_count_once_and_only_those_that_both_have():
    fuda = make_row("few-shot", "fuda", (2, 0, [0.5, 0.5, 0.5]), (2, 1, [0.5, 0.5, 0.5]), (2, 2, [0.0, 0.0, 0.0]))
    confuda = make_row("few-shot", "confuda", (2, 0, [0.6, 0.5, 0.6]), (2, 1, [0.8, 0.5, 0.5]))
    (one,) = compare_neighbours([fuda, confuda])
    assert one.patients == 3 and one.better == 2
    # Of the patients 0.2, 0 and 0.05, each the mean of two seeds.
    assert one.dice == pytest.approx(0.25 / 3) and one.hd95_mm == pytest.approx(-25 / 3)
    assert 0 <= one.low < one.dice < one.high < 0.2001


def test_the_source_network_is_compared_with_every_seed():
    none = make_row("-", "none", (3, 0, [0.3, 0.5]))
    control = make_row("-", "source", (3, 0, [0.4, 0.5]), (3, 1, [0.5, 0.5]))
    (one,) = compare_neighbours([none, control])
    assert one.patients == 2 and one.dice == pytest.approx(0.15 / 2)


def test_six_patients_that_all_gain_are_as_unlikely_as_six_heads_or_six_tails():
    gains = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    rows = [make_row("full", "fuda", (2, 0, [0.5] * 6)), make_row("full", "confuda", (2, 0, 0.5 + gains))]
    (one,) = compare_neighbours(rows)
    assert one.p == pytest.approx(2 / 64)
    line = format_differences([one]).splitlines()[-1]
    assert line.startswith("| full | confuda | fuda | 6 | +0.035 | +0.02") and "| 6 | 0.031 | -3.5 |" in line


def test_rows_without_a_common_patient_are_not_compared():
    rows = [make_row("full", "fuda", (2, 0, [0.5])), make_row("full", "confuda", (3, 0, [0.6]))]
    assert compare_neighbours(rows) == []
