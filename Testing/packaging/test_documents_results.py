"""What the documents say of quality and of adaptation's worth is what the tables of cases in docs/data give."""

import json
import re
import statistics
from typing import Callable, Iterable, List

import pytest
from Testing.packaging.case_tables import Row, read_rows, read_text

from confuda.app.help_texts import WORTH_TEXT
from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.bundle.model_card import format_model_card
from confuda.inference.cautions import MOST_SLICES_WITHOUT_RV
from confuda.inference.plausibility import LEAST_AGREEMENT, LOW_AGREEMENT

SETS = {
    # As the CSV names it: as results.md, README.md and limits.md begin their rows.
    "ACDC, held out": ("ACDC, held out", "bSSFP cine, ACDC", "ACDC, held out"),
    "M&Ms, held out": ("M&Ms, held out", "cine of other scanners", "M&Ms, held out"),
    "MS-CMRSeg bSSFP": ("MS-CMRSeg bSSFP", "", "MS-CMRSeg, bSSFP"),
    "MS-CMRSeg native LGE": ("MS-CMRSeg native LGE", "late enhancement, MS-CMRSeg, 15", "MS-CMRSeg, native LGE"),
    "MS-CMRSeg registered LGE": (
        "MS-CMRSeg registered LGE",
        "late enhancement, MS-CMRSeg, 30",
        "MS-CMRSeg, registered LGE",
    ),
    "MS-CMRSeg registered T2": ("MS-CMRSeg registered T2", "T2, MS-CMRSeg", "MS-CMRSeg, registered T2"),
}
TARGETS = {"MS-CMRSeg native LGE": 15, "MS-CMRSeg registered LGE": 30, "MS-CMRSeg registered T2": 30}
"""Volumes of each set; where none is adapted to, nothing is gained."""


def find_cells(text: str, begin: str) -> List[str]:
    """The cells of the one row of a table whose first cell begins so, without bold print."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {begin}")]
    assert len(rows) == 1, (begin, rows)
    return [cell.strip().strip("*") for cell in rows[0].strip("|").split("|")]


def average(rows: Iterable[Row], name: str, how: Callable = statistics.mean) -> float:
    return how([float(row[name]) for row in rows if row[name]])


def gain(row: Row, of: str) -> float:
    return float(row[of]) - float(row["dice_none"])


@pytest.mark.parametrize("data", SETS)
def test_quality_is_that_of_the_table_of_volumes(data) -> None:
    rows = [row for row in read_rows("source-network.csv") if row["data"] == data]
    dice = [average(rows, name) for name in ("dice_myo", "dice_lv", "dice_rv", "dice")]
    others = [average(rows, "hd95_mm"), average(rows, "muscle_ratio", statistics.median)]
    told = [float(cell) for cell in find_cells(read_text("docs/results.md"), f"{SETS[data][0]} (")[2:8]]
    assert told[:4] == pytest.approx(dice, abs=6e-4)
    assert told[4:] == pytest.approx(others, abs=0.051)
    if SETS[data][1]:
        told = [float(cell) for cell in find_cells(read_text("README.md"), SETS[data][1])[1:4]]
        assert told == pytest.approx([dice[3], *others], abs=0.051) and told[0] == pytest.approx(dice[3], abs=6e-4)
    scores = json.loads((SHIPPED_BUNDLE / "bundle.json").read_text(encoding="utf-8"))["scores"]
    for title in [title for title in scores if title.split(",")[0] == data.split(",")[0]]:
        own = scores[title]["none"]
        assert own["cases"] == len(rows) and own["dice"] == pytest.approx(dice[3], abs=2e-4)
        assert own["muscle_ratio"] == pytest.approx(others[1], abs=2e-3)


def test_the_model_card_is_that_of_its_description() -> None:
    description = json.loads((SHIPPED_BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    assert (SHIPPED_BUNDLE / "README.md").read_text(encoding="utf-8") == format_model_card(description)


def test_warnings_are_counted_as_the_table_of_volumes_has_them() -> None:
    text = read_text("docs/limits.md")
    sums = [[0, 0], [0, 0], [0, 0]]
    for data, names in SETS.items():
        rows = [row for row in read_rows("source-network.csv") if row["data"] == data]
        for number, (low, high) in enumerate(((0.8, 1.0), (0.7, 0.8), (0.0, 0.7))):
            some = [row for row in rows if low <= float(row["dice"]) < high]
            counts = [sum(int(row["warnings"]) > 0 for row in some), len(some)]
            assert find_cells(text, f"{names[2]} |")[1 + number] == ("{} of {}".format(*counts) if some else "-")
            sums[number] = [a + b for a, b in zip(sums[number], counts)]
    assert find_cells(text, "all |")[1:] == ["{} of {}".format(*counts) for counts in sums]


def test_agreement_of_the_views_is_that_of_the_table_of_volumes() -> None:
    text, limits, everything = read_text("docs/reliability.md"), read_text("docs/limits.md"), []
    for data, names in SETS.items():
        values = [float(row["agreement"]) for row in read_rows("source-network.csv") if row["data"] == data]
        everything += values
        cells = find_cells(text, names[2])
        assert cells[1] == cells[2] == str(len(values))
        assert float(re.match(r"[\d.]+", cells[3]).group()) == pytest.approx(min(values), abs=6e-4), data
    assert f"agree by {min(everything):.3f} to {max(everything):.3f} on the {len(everything)} volumes" in text
    assert LEAST_AGREEMENT < min(everything)
    good = [float(row["agreement"]) for row in read_rows("source-network.csv") if float(row["dice"]) >= 0.8]
    below = sum(agreement < LOW_AGREEMENT for agreement in good)
    told = f"| {min(good):.3f} ({below} of {len(good)} have less than {LOW_AGREEMENT:.2f}) |"
    assert told in limits


def test_signs_of_good_volumes_are_those_of_the_table_of_volumes() -> None:
    text = read_text("docs/limits.md")
    good = {(row["data"], row["case"]) for row in read_rows("source-network.csv") if float(row["dice"]) >= 0.8}
    rows = [row for row in read_rows("cautions.csv") if (row["data"], row["case"]) in good]
    assert len(rows) == len(good)
    for title, names in {
        "The heart is cut off |": ["border_share:most"],
        "Another place may be": ["rival:most"],
        "The signal is low |": ["signal_to_noise:least"],
        "Muscle and blood hardly differ |": ["separation:least"],
        "The heart is very small, large": [
            "area_cm2:least",
            "area_cm2:most",
            "aspect:most",
            "wall_mm:least",
            "wall_mm:most",
        ],
    }.items():
        told = [
            float(part) for part in re.findall(r"[\d.]+", find_cells(text, title)[2].replace("cm2", "").split("(")[0])
        ]
        found = [average(rows, name.split(":")[0], max if name.endswith("most") else min) for name in names]
        assert told == pytest.approx(found, abs=0.051 if len(found) > 1 else 6e-2), title
    assert average(rows, "without_rv", max) < MOST_SLICES_WITHOUT_RV and average(rows, "enclosure", min) > 0.995
    entropies = [float(row["entropy"]) for row in read_rows("cautions.csv")]
    assert f"its entropy is {min(entropies):.2f} to {max(entropies):.2f}" in read_text("docs/reliability.md")


def test_errors_along_the_heart_are_those_of_the_table_of_volumes() -> None:
    rows, data = read_rows("slice-errors.csv"), ""
    table = read_text("docs/results.md").split("| data | structure | Dice base |")[1].split("\n\n")[0]
    checked = 0
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        data = cells[0] or data
        for place, bundle in enumerate(("0.3.0", "0.2.0")):
            own = [row for row in rows if row["bundle"] == bundle and row["data"].endswith(data)]
            own = [row for row in own if row["structure"] == cells[1]]
            told = [float(re.findall(r"[\d.]+", cell)[place]) for cell in cells[2:7]]
            dice = [average(own, third) for third in ("base", "middle", "apex")]
            assert told[:3] == pytest.approx(dice, abs=6e-4), line
            assert told[3:] == [average(own, kind, sum) for kind in ("missed", "invented")], line
            checked += 1
    assert checked == 12


def test_gains_of_each_volume_are_those_of_the_table_of_cases() -> None:
    text, rows = read_text("docs/results.md"), read_rows("adaptation.csv")
    for data, case in {(row["data"], row["case"]) for row in rows if row["data"] in TARGETS}:
        title = f"{data.replace('MS-CMRSeg ', '')}, {case.replace('patient', 'patient ')} |"
        cells = find_cells(text, title)
        for place, method in ((3, "confuda"), (5, "source")):
            own = [row for row in rows if (row["data"], row["case"], row["method"]) == (data, case, method)]
            assert [row["seed"] for row in own] == ["0", "1", "2"]
            told = [float(part) for part in cells[place].split(",")]
            assert told == pytest.approx([gain(row, "dice_adapted") for row in own], abs=6e-4), title
            assert cells[place + 1] == f"{sum(row['kept'] == 'yes' for row in own)} of 3", title
        assert float(cells[1]) == pytest.approx(float(own[0]["dice_none"]), abs=6e-4)
        assert float(cells[2]) == pytest.approx(float(own[0]["agreement_none"]), abs=6e-3)


def test_what_adaptation_is_worth_is_the_same_everywhere() -> None:
    """By set, over all its volumes and three seeds; command line and model card round it alike."""
    rows, card, text = read_rows("adaptation.csv"), read_text("README.md"), read_text("docs/results.md")
    given = {}
    for data, volumes in TARGETS.items():
        for method in ("confuda", "source"):
            own = [row for row in rows if (row["data"], row["method"]) == (data, method)]
            given[data, method] = sum(gain(row, "dice_given") for row in own) / 3 / volumes
        cells = find_cells(text, f"{data.replace('MS-CMRSeg ', '')} (")
        told = [float(cell) for cell in cells[2:4]]
        assert told == pytest.approx([given[data, "confuda"], given[data, "source"]], abs=6e-4)
        adapted = float(find_cells(card, SETS[data][1])[4])
        none = average([row for row in read_rows("source-network.csv") if row["data"] == data], "dice")
        assert adapted == pytest.approx(none + given[data, "confuda"], abs=6e-4)
    assert f"{given['MS-CMRSeg registered T2', 'confuda']:.3f} more Dice in the mean of all T2" in WORTH_TEXT
    assert f"{given['MS-CMRSeg registered LGE', 'confuda']:.3f} on registered late enhancement" in WORTH_TEXT
    assert max(abs(given[data, "source"]) for data in TARGETS) < 5e-4  # "gave 0"
    losses = [gain(row, "dice_given") for row in rows if row["method"] == "confuda"]
    assert min(losses) == pytest.approx(-0.005, abs=5e-4)  # "the largest loss that was kept"


@pytest.mark.parametrize(
    ("method", "title"),
    [("confuda", "ConFUDA, few-shot"), ("confuda one-shot", "ConFUDA, one-shot"), ("source", "the control")],
)
def test_decisions_of_the_check_are_counted_as_the_table_of_cases_has_them(method, title) -> None:
    rows = [row for row in read_rows("adaptation.csv") if row["method"] == method]
    kinds = [(row["kept"] == "yes", gain(row, "dice_adapted") < -0.02) for row in rows]
    counts = [kinds.count(kind) for kind in ((True, False), (True, True), (False, True), (False, False))]
    cells = find_cells(read_text("docs/reliability.md"), title)
    assert [int(cell) for cell in cells[1:6]] == [len(rows), *counts]
    best = statistics.mean(max(float(row["dice_none"]), float(row["dice_adapted"])) for row in rows)
    dice = [*(average(rows, name) for name in ("dice_none", "dice_adapted", "dice_given")), best]
    assert [float(cell) for cell in cells[6:]] == pytest.approx(dice, abs=6e-4)


def test_every_structure_below_070_on_the_page_of_limits_is_warned_of() -> None:
    table = read_text("docs/limits.md").split("| case |")[1].split("\n\n")[0]
    poor = 0
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if any(float(dice) < 0.7 for dice in re.findall(r"\d\.\d\d", cells[1] + " " + cells[2])):
            assert cells[3] != "none", cells[0]
            poor += 1
    assert poor >= 3
