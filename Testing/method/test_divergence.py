"""The benchmark of acceptance keeps what it measured, and counts right and wrong decisions as they are."""

import importlib
import sys

import numpy as np
import pytest
from Testing.conftest import REPOSITORY

from confuda.errors import InputError
from confuda.inference.acceptance import Opinion

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
divergence = importlib.import_module("divergence")


def make_opinion(agreement: float = 0.9) -> Opinion:
    labels = np.zeros((3, 16, 16), int)
    labels[1:, 2:14, 2:14] = 1
    labels[1:, 6:10, 6:10] = 2
    soft = np.eye(4, dtype=np.float32)[labels].transpose(3, 0, 1, 2)
    return Opinion(soft, agreement, 0.2, 0.018)


def make_trial(dice_adapted: float, agreement: float, condition: str = "normal"):
    return divergence.Trial(
        "patient1_T2", "T2", condition, make_opinion(), make_opinion(agreement), [{"source": 0.4}], 0.8, dice_adapted
    )


def test_decisions_are_counted_against_the_truth() -> None:
    trials = [
        make_trial(0.85, 0.9),
        make_trial(0.79, 0.9),
        make_trial(0.70, 0.9, "rate x 10"),
        make_trial(0.10, 0.2, "rate x 10"),
        make_trial(0.90, 0.2, "rate x 10"),
    ]
    lines = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in divergence.format_table(trials).splitlines()}
    assert [cell.strip() for cell in lines["normal"]] == ["2", "2", "0", "0", "0", "0.800", "0.820", "0.820", "0.825"]
    assert [cell.strip() for cell in lines["all bad"]] == ["3", "0", "1", "1", "1", "0.800", "0.567", "0.767", "0.833"]
    mistakes = divergence.format_mistakes(trials).splitlines()
    assert len(mistakes) == 2 and "kept" in mistakes[0] and "agrees less" in mistakes[1]


def test_what_was_kept_is_judged_as_what_was_measured(tmp_path) -> None:
    opinion = make_opinion()
    divergence.keep_opinion(opinion, tmp_path / "kept.npz")
    again = divergence.recall_opinion(tmp_path / "kept.npz")
    np.testing.assert_array_equal(again.probabilities, opinion.probabilities)
    assert (again.agreement, again.entropy, again.voxel_ml) == (0.9, 0.2, 0.018)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.npz"]


def test_nothing_is_kept_within_the_repository(tmp_path, capsys) -> None:
    assert divergence.main(["run", str(tmp_path), "-o", str(REPOSITORY / "out" / "trials")]) == 2
    assert "outside the repository" in capsys.readouterr().err
    assert divergence.main(["table", str(tmp_path)]) == InputError.exit_code


@pytest.mark.parametrize("name", list(divergence.CONDITIONS))
def test_every_condition_is_one_that_adaptation_takes(name) -> None:
    divergence.CONDITIONS[name].make_settings()
