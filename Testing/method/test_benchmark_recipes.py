"""Folds, recipes and published figures of the paper's tables: what is who, what is set, what was printed."""

import numpy as np
import pytest
from Testing.method.toy_mscmrseg import write_patient

from confuda.benchmark.folds import make_folds
from confuda.benchmark.plan import PAPER_METHODS
from confuda.benchmark.published import TABLE1, TABLE2
from confuda.benchmark.recipe import RECIPES, SETTINGS, make_recipe
from confuda.benchmark.tables import TableRow, format_markdown
from confuda.training.mscmrseg import find_mscmrseg_patients


def test_published_figures_are_copied_without_a_slip() -> None:
    assert {key for key in TABLE1 if key[0] != "-"} == {(s, m) for s in SETTINGS for m in PAPER_METHODS}
    for row in TABLE1.values():
        for figures, rounding in ((row.dice, 0.011), (row.hd95, 0.11)):
            if figures[0] is not None:
                mean = np.mean([figure.mean for figure in figures[:3]])
                assert figures[3].mean == pytest.approx(mean, abs=rounding)
    # The last row of the ablation is ConFUDA itself, and its first one FUDA.
    for setting in SETTINGS:
        assert TABLE2[(setting, "+ MPCCL")].dice[3] == TABLE1[(setting, "confuda")].dice[3]
        assert TABLE2[(setting, "FUDA")].dice[3] == TABLE1[(setting, "fuda")].dice[3]


def test_tables_show_the_published_figures_beside_ours() -> None:
    case = {"scores": {name: {"dice": 0.5, "hd95_mm": 20.0} for name in ("MYO", "LV", "RV", "average")}}
    done = TableRow("few-shot", "ConFUDA", [{"cases": [case, case]}], 1, TABLE1[("few-shot", "confuda")])
    missing = TableRow("full", "AdvEnt", [], 5, TABLE1[("full", "advent")])
    text = format_markdown("T", ["head"], [done, missing])
    assert "0.50 ± 0.00 (0.58 ± 0.14)" in text and "20.0 ± 0.0 (8.3 ± 10.2)" in text
    assert "- (0.59 ± 0.23)" in text and "0 of 5" in text


@pytest.mark.parametrize("scale", list(RECIPES))
def test_recipes_hold_nothing_that_the_paper_does_not_have(scale) -> None:
    settings = make_recipe(scale, {}).make_settings(100, {})
    assert settings.runs == 1, "a method of the paper adapts once"
    assert not settings.randomise_source and settings.tissue_share == 0 and settings.lambda_self == 0
    assert settings.lambda_contrast == 1 and settings.lambda_norm == 0.5
    assert "steps=7" in make_recipe(scale, {"steps": 7}).deviations[-1]
    assert make_recipe(scale, {"steps": 7}).make_settings(100, {}).steps == 7


def test_the_published_scale_is_the_published_one() -> None:
    recipe = make_recipe("paper", {})
    settings = recipe.make_settings(320, {})
    assert settings.steps == 400 * 10 and settings.source_batch == 32 and settings.target_batch == 1
    assert settings.optimizer == "sgd"
    assert settings.average_decay == 0 and not settings.keep_detail
    source = recipe.source
    assert (source.width, source.normalisation, source.spacing_mm, source.crop) == (32, "batch", 1.0, 224)
    assert source.count_steps(320) == 200 * 10
    assert recipe.rain.crop == 224 and recipe.rain.spacing_mm == 1.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_patient_is_two_things_and_each_is_tested_once(tmp_path, seed) -> None:
    for number in range(1, 13):
        write_patient(tmp_path, number)
    patients = find_mscmrseg_patients(tmp_path)
    folds = make_folds(patients, 5, seed)
    assert sorted(patient.number for fold in folds for patient in fold.test) == list(range(1, 13))
    for fold in folds:
        parts = [{patient.name for patient in part} for part in (fold.source, fold.target, fold.test)]
        assert sum(len(part) for part in parts) == len(set.union(*parts)) == 12
        assert len(fold.source) > len(fold.target) > 0
    assert make_folds(patients, 5, seed) == folds
    assert make_folds(patients, 5, seed + 1) != folds
