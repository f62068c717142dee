"""The table of ruined networks in docs/reliability.md is what the table of cases gives."""

import statistics

import pytest
from Testing.packaging.case_tables import Row, read_rows, read_text

WORSE_BY = 0.02
"""As benchmarks/divergence.py has it."""


def measure_loss(row: Row) -> float:
    return float(row["dice_none"]) - float(row["dice_adapted"])


def test_the_table_of_ruined_networks_is_that_of_the_cases() -> None:
    cases, text = read_rows("ruin.csv"), read_text("docs/reliability.md")
    table = text.split("| settings | n | Dice: none | always kept | only ruin refused |")[1].split("\n\n")[0]
    lines = table.splitlines()[2:]
    assert len(lines) == len({case["settings"] for case in cases})
    for line in lines:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        own = [case for case in cases if case["settings"] == name]
        worse = [case for case in own if measure_loss(case) > WORSE_BY]
        expected = [len(own)] + [
            statistics.mean(float(case[of]) for case in own) for of in ("dice_none", "dice_adapted")
        ]
        for rule in ("kept", "kept_if_it_must_gain"):
            given = [float(case["dice_adapted" if case[rule] == "yes" else "dice_none"]) for case in own]
            kept = sum(case[rule] == "yes" for case in worse)
            expected += [statistics.mean(given), kept, len(worse) - kept]
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=6e-4), name
    ruined = [case for case in cases if measure_loss(case) > 0.1]
    assert f"all {len(ruined)} networks that lost more than 0.1 were refused" in " ".join(text.split())
    assert {case["kept"] for case in ruined} == {"no"}
