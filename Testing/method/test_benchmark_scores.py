"""Paired comparisons of the studies below benchmarks/: means, intervals and p-values with known answers."""

import importlib
import sys

import numpy as np
import pytest
from Testing.conftest import REPOSITORY

from confuda.bundle.model_card import format_model_card

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
scores = importlib.import_module("scores")


def make_row(case, run, dice, preset="balanced", hd95_mm=5.0):
    structures = {name: {"dice": dice, "hd95_mm": hd95_mm} for name in ("MYO", "LV", "RV")}
    return {
        "identity": {"bundle": "b"},
        "case": case,
        "run": run,
        "preset": "" if run == "none" else preset,
        "scores": {**structures, "average": {"dice": dice, "hd95_mm": hd95_mm}},
        "summary": {"seconds": {"total": 2.0}, "accepted": True},
    }


def make_rows(run, values, **fields):
    return [make_row(f"patient{number}", run, value, **fields) for number, value in enumerate(values)]


def test_means_are_those_of_the_cases_by_run_and_preset():
    rows = make_rows("none", [0.5, 0.7]) + make_rows("confuda:few-shot", [0.8], preset="fast")
    rows[0]["scores"]["RV"]["dice"] = 0.1
    means = scores.summarise(rows)
    assert list(means) == ["none", "confuda:few-shot fast"]
    assert means["none"]["dice"] == means["none"]["LV"] == 0.6
    assert means["none"]["RV"] == 0.4
    assert means["none"]["cases"] == 2 and means["none"]["seconds"] == 2.0 and means["none"]["hd95_mm"] == 5.0
    assert means["none"]["bundle"] == "b"
    description = {"spacing_mm": 1.5, "crop": 64, "segmenter": {}, "rain": {}, "scores": {"toys": means}}
    assert "| none | 2 | 0.600 | 0.600 | 0.400 | 0.600 | 5.0 |" in format_model_card(description)


def test_the_muscles_volume_is_compared_with_the_experts_in_the_median():
    rows = make_rows("none", [0.5, 0.6, 0.7]) + make_rows("confuda:few-shot", [0.8])
    for row, (prediction, reference) in zip(rows, [(129, 100), (130, 100), (50, 100), (0, 0)]):
        row["scores"]["MYO"].update(prediction_ml=float(prediction), reference_ml=float(reference))
    means = scores.summarise(rows)
    assert means["none"]["muscle_ratio"] == 1.29
    assert "muscle_ratio" not in means["confuda:few-shot balanced"]  # no case with muscle
    card = format_model_card({"spacing_mm": 1.5, "crop": 64, "segmenter": {}, "rain": {}, "scores": {"toys": means}})
    assert "| none | 3 | 0.600 | 0.600 | 0.600 | 0.600 | 5.0 | 1.29 |" in card
    assert "| HD95 mm | muscle / experts' |\n|---|---|---|---|---|---|---|---|\n" in card


def test_paired_comparison_has_the_known_answers():
    source = [0.5, 0.6, 0.7, 0.8, 0.9]
    gains = [0.01, 0.02, 0.03, 0.04, -0.05]
    rows = make_rows("none", source)
    rows += make_rows("confuda:few-shot", np.add(source, gains), hd95_mm=4.0)[::-1]
    (comparison,) = scores.compare_runs(rows)
    assert (comparison.run, comparison.against, comparison.cases) == ("confuda:few-shot balanced", "none", 5)
    assert comparison.mean_gain == pytest.approx(0.01)
    assert comparison.improved == pytest.approx(0.8)
    assert (comparison.worst_case, comparison.worst_gain) == ("patient4", pytest.approx(-0.05))
    assert comparison.hd95_change_mm == pytest.approx(-1)
    assert -0.05 < comparison.low < 0.01 < comparison.high < 0.04
    # The negative ranks sum to 5; of the 32 sign patterns 10 have a sum of at most 5.
    assert comparison.p == pytest.approx(20 / 32)


def test_a_gain_in_each_of_six_cases_is_as_unlikely_as_six_heads_or_six_tails():
    gains = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert scores.compute_wilcoxon_p(gains) == pytest.approx(2 / 64)
    assert scores.compute_wilcoxon_p(np.zeros(4)) == 1.0


def test_the_interval_of_the_mean_gain_is_that_of_a_normal_sample():
    gains = np.random.default_rng(1).normal(0.02, 0.01, 400)
    low, high = scores.bootstrap_mean(gains)
    error = 1.96 * gains.std() / 20
    assert (low, high) == pytest.approx((gains.mean() - error, gains.mean() + error), abs=0.1 * error)
    assert scores.bootstrap_mean(np.full(5, 0.25)) == (0.25, 0.25)
    assert scores.bootstrap_mean(np.array([0.25])) == (None, None)


def test_an_adaptation_is_compared_with_the_control_of_its_own_preset():
    rows = make_rows("none", [0.5, 0.5])
    for preset, control in (("fast", 0.51), ("balanced", 0.52)):
        rows += make_rows("source:few-shot", [control] * 2, preset=preset)
        rows += make_rows("confuda:one-shot", [0.6] * 2, preset=preset)
    found = {(one.run, one.against): one.mean_gain for one in scores.compare_runs(rows)}
    assert found == pytest.approx(
        {
            ("source:few-shot fast", "none"): 0.01,
            ("confuda:one-shot fast", "none"): 0.1,
            ("confuda:one-shot fast", "source:few-shot fast"): 0.09,
            ("source:few-shot balanced", "none"): 0.02,
            ("confuda:one-shot balanced", "none"): 0.1,
            ("confuda:one-shot balanced", "source:few-shot balanced"): 0.08,
        }
    )


def test_only_cases_that_both_have_are_compared():
    rows = make_rows("none", [0.5, 0.6, 0.7]) + make_rows("confuda:few-shot", [0.6])
    (comparison,) = scores.compare_runs(rows)
    assert comparison.cases == 1 and comparison.mean_gain == pytest.approx(0.1) and comparison.low is None
    assert scores.compare_runs(rows[:3]) == []
