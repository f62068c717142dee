"""The paper's tables in docs/results.md are what the table of cases gives, beside what was published."""

import statistics
from typing import Dict, List

import pytest
from Testing.packaging.case_tables import Row, read_rows, read_text

from confuda.benchmark.published import TABLE1, TABLE2

SEEDS = {"one-shot": {"0", "1", "2"}, "few-shot": {"0", "1", "2"}, "full": {"0"}}
TABLE1_ROWS = {
    "without UDA": "none",
    "source only, as many steps": "source",
    "AdaptSeg": "adaptseg",
    "AdvEnt": "advent",
    "BlockCL": "blockcl",
    "FUDA": "fuda",
    "ConFUDA": "confuda",
}
TABLE2_ROWS = {"FUDA": "fuda", "+ CCL": "fuda+ccl", "+ CNR": "fuda+ccl+cnr", "+ MPCCL (ConFUDA)": "confuda"}
DIFFERENCES = {
    "control - without UDA": ("source", "none"),
    "AdaptSeg - control": ("adaptseg", "source"),
    "AdvEnt - AdaptSeg": ("advent", "adaptseg"),
    "BlockCL - AdvEnt": ("blockcl", "advent"),
    "FUDA - BlockCL": ("fuda", "blockcl"),
    "**ConFUDA - FUDA**": ("confuda", "fuda"),
    "ConFUDA - control": ("confuda", "source"),
    "CCL - FUDA": ("fuda+ccl", "fuda"),
    "CNR - CCL": ("fuda+ccl+cnr", "fuda+ccl"),
    "MPCCL - CNR": ("confuda", "fuda+ccl+cnr"),
}


def choose_cases(method: str, setting: str) -> List[Row]:
    """Of a method in a setting; those without target data belong to every setting, and without a seed to every seed."""
    found = [
        row for row in read_rows("paper-cases.csv") if row["method"] == method and row["setting"] in ("-", setting)
    ]
    return [row for row in found if method == "none" or row["seed"] in SEEDS[setting]]


def read_table(head: str) -> Dict[str, List[str]]:
    """The cells of the rows below the head of a table in results.md, by the first cell."""
    lines = read_text("docs/results.md").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {head} |"))
    rows: Dict[str, List[str]] = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = cells
    return rows


@pytest.mark.parametrize(
    "head, methods, published", [("Table 1", TABLE1_ROWS, TABLE1), ("Table 2", TABLE2_ROWS, TABLE2)]
)
def test_the_tables_are_the_means_of_the_cases_beside_the_published_figures(head, methods, published):
    rows = read_table(head)
    assert set(rows) == set(methods)
    for name, method in methods.items():
        for number, setting in enumerate(SEEDS):
            dice, hd95, theirs = rows[name][3 * number : 3 * number + 3]
            cases = choose_cases(method, setting)
            assert len(cases) == 12 * (1 if method == "none" else len(SEEDS[setting])), (name, setting)
            mean = statistics.mean(float(case["dice_average"]) for case in cases)
            assert float(dice.strip("*")) == pytest.approx(mean, abs=6e-4), (name, setting)
            distance = statistics.mean(float(case["hd95_mm_average"]) for case in cases)
            assert float(hd95) == pytest.approx(distance, abs=0.6), (name, setting)
            where = "-" if method == "none" else setting
            figure = published.get((where, method if head == "Table 1" else name.split(" (")[0]))
            if figure is None:
                assert theirs == "-"
            else:
                their_dice, their_distance = (float(part) for part in theirs.split(","))
                assert their_dice == figure.dice[3].mean, (name, setting)
                assert their_distance == pytest.approx(figure.hd95[3].mean, abs=0.51), (name, setting)


def test_the_differences_are_those_of_the_cases_over_patients():
    rows = read_table("difference")
    assert set(rows) == set(DIFFERENCES)
    for name, (method, other) in DIFFERENCES.items():
        for cell, setting in zip(rows[name], SEEDS):
            by_patient: Dict[str, List[float]] = {}
            partners = {(row["case"], row["seed"]): row for row in choose_cases(other, setting)}
            for row in choose_cases(method, setting):
                partner = partners[row["case"], "0" if other == "none" else row["seed"]]
                by_patient.setdefault(row["case"], []).append(
                    float(row["dice_average"]) - float(partner["dice_average"])
                )
            assert len(by_patient) == 12
            mean = statistics.mean(statistics.mean(gains) for gains in by_patient.values())
            assert float(cell.strip("*").split()[0]) == pytest.approx(mean, abs=6e-4), (name, setting)
            low, high = (float(part) for part in cell.split("(")[1].split(")")[0].split(" to "))
            assert low < mean < high
