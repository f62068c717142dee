"""The studies of function and scar sum up what they measured as a hand computation does."""

import importlib
import sys

import pytest
from Testing.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
ejection_fraction, scar = (importlib.import_module(name) for name in ("ejection_fraction", "scar"))


def test_agreement_of_ejection_fractions_leaves_out_what_was_not_measured() -> None:
    numbers = dict.fromkeys(ejection_fraction.NUMBERS, 10.0)
    rows = []
    for ours, experts in ((55.0, 54.0), (42.0, 39.0), (None, 60.0), (65.0, 60.0)):
        row = {**numbers, **{f"experts_{name}": 10.0 for name in numbers}}
        row["lv_ejection_fraction_percent"], row["experts_lv_ejection_fraction_percent"] = ours, experts
        rows.append(row)
    found = ejection_fraction.summarise(rows)["lv_ejection_fraction_percent"]
    # Differences 1, 3 and 5: mean 3, standard deviation 2.
    assert found == {
        "patients": 3,
        "mean_difference": 3.0,
        "mean_absolute_difference": 3.0,
        "lower_limit": -0.92,
        "upper_limit": 6.92,
    }


def test_scar_is_summed_up_for_infarcts_and_for_healthy_cases() -> None:
    def row(experts, ours, dice):
        return {"experts_percent": experts, "percent": ours, "difference": round(ours - experts, 2), "dice": dice}

    rows = [row(20.0, 18.0, 0.8), row(10.0, 0.5, 0.0), row(30.0, 34.0, 0.6), row(0.0, 4.0, 0.0), row(0.0, 0.0, 1.0)]
    found = scar.summarise([*rows, {**row(5.0, 0.0, 0.0), "percent": None}])
    assert (found["cases"], found["measured"], found["infarcts"], found["healthy"]) == (6, 5, 3, 2)
    assert found["median_difference_percent"] == 0.0  # Of -9.5, -2, 0, 4 and 4.
    assert found["median_difference_of_infarcts_percent"] == -2.0
    assert found["mean_absolute_difference_percent"] == 3.9
    assert found["dice_of_infarct"] == pytest.approx(0.467, abs=0.001)
    assert found["infarcts_missed"] == 1 and found["healthy_called_scarred"] == 1
