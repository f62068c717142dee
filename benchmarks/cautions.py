"""How often each caution of a segmentation speaks on labelled volumes that come out well, and on those that do not.

    python benchmarks/cautions.py ../shared/data -o out/cautions --bundle FOLDER

Looks at each volume once with the bundle as it is, and writes what was measured of it and its Dice into cautions.csv
(a volume that is there already is not looked at again) and the table into cautions.md. No training of the shipped
bundle saw these volumes. Labels are read for scoring only.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import SimpleITK as sitk
from labelled import find_labelled, name_case

import confuda
from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.inference import cautions
from confuda.inference.plausibility import LEAST_AGREEMENT
from confuda.io.volume_file import read_volume
from confuda.labels import STRUCTURES, map_labels
from confuda.measure.overlap import measure_dice

GOOD, POOR = 0.80, 0.70
"""Mean Dice from which a volume came out well, and below which it came out poorly."""


class DataSet(NamedTuple):
    """Volumes of one kind: the folder below the data, the sequence in their names, whose label values they have, and
    with which digits the names of the patients end that count."""

    name: str
    folder: str
    sequence: Optional[str]
    dataset: str
    ending: str = ""


DATA_SETS = (
    DataSet("ACDC, held out", "ACDC/training", None, "acdc", "0"),
    DataSet("M&Ms, held out", "MnMs/training", None, "acdc", "5"),
    DataSet("bSSFP", "MS-CMRSeg/bssfp", "C0", "ms-cmrseg"),
    DataSet("native LGE", "MS-CMRSeg/native", "LGE", "ms-cmrseg"),
    DataSet("registered LGE", "MS-CMRSeg/registered", "LGE", "ms-cmrseg"),
    DataSet("registered T2", "MS-CMRSeg/registered", "T2", "ms-cmrseg"),
)

Row = Dict[str, Any]


def find_volumes(data: Path, most: Optional[int]) -> Iterator[tuple]:
    """(data set, volume, labels), at most ``most`` of each data set, by turns so that an early end leaves of all."""
    found = []
    for kind in DATA_SETS:
        folder = data / kind.folder
        pairs = find_labelled(folder, kind.sequence) if folder.is_dir() else []
        own = [pair for pair in pairs if pair[0].name.split("_")[0].endswith(kind.ending)]
        found.append([(kind, *pair) for pair in own[:most]])
    for number in range(max((len(own) for own in found), default=0)):
        yield from (own[number] for own in found if number < len(own))


def measure(segmenter: confuda.Segmenter, kind: DataSet, path: Path, truth: Path) -> Row:
    """What was measured of a volume, the cautions that it gets, and its Dice."""
    reference = map_labels(sitk.GetArrayFromImage(sitk.ReadImage(str(truth))), kind.dataset)
    look = segmenter.look(read_volume(path))
    row: Row = {"set": kind.name, "case": name_case(path), "doubt": look.doubt}
    if look.crop is None or look.opinion is None:
        return {**row, "dice": 0.0, "spoken": ""}
    labels = look.opinion.probabilities.argmax(axis=0)
    found = sitk.GetArrayFromImage(look.crop.restore(look.opinion.probabilities))
    dice = {s.name: measure_dice(found == s.label, reference == s.label) for s in STRUCTURES}
    signs = cautions.measure_signs(look.crop, labels, look.opinion.agreement, look.rival)
    row.update(dice=sum(dice.values()) / len(dice), entropy=look.opinion.entropy, **dice, **signs._asdict())
    return row


def read_rows(table: Path) -> List[Row]:
    """The rows of an earlier run, numbers as numbers."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return [{name: _read_value(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _read_value(text: str) -> Any:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text


def write_rows(rows: List[Row], table: Path) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
            for row in rows
        )


def tell(row: Row) -> List[str]:
    """The cautions of a row, by the limits of today."""
    if row.get("agreement") is None:
        return ["No heart was found."]
    names = cautions.Signs._fields
    return cautions.tell_cautions(cautions.Signs(**{name: row.get(name) for name in names}))


def make_table(rows: List[Row]) -> str:
    """In Markdown: how often volumes of each set get a caution, by how they came out; then by its first words."""
    groups = {
        f"Dice >= {GOOD:.2f}": [row for row in rows if row["dice"] >= GOOD],
        "between": [row for row in rows if POOR <= row["dice"] < GOOD],
        f"Dice < {POOR:.2f}": [row for row in rows if row["dice"] < POOR],
    }
    lines = ["| volumes | " + " | ".join(groups) + " |", "|---|" + "---|" * len(groups)]

    def add(name: str, counts: List[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(counts) + " |")

    for kind in dict.fromkeys(row["set"] for row in rows):
        own = [[row for row in group if row["set"] == kind] for group in groups.values()]
        add(kind, [f"{sum(bool(tell(row)) for row in group)} of {len(group)}" for group in own])
    add("all", [f"{sum(bool(tell(row)) for row in group)} of {len(group)}" for group in groups.values()])
    spoken = sorted({_shorten(text) for row in rows for text in tell(row)})
    for words in spoken:
        counts = [sum(words in map(_shorten, tell(row)) for row in group) for group in groups.values()]
        add(words, [str(count) for count in counts])
    return "\n".join(lines)


def _shorten(text: str) -> str:
    """A sentence up to its first number or stop."""
    for mark in (":", ".", ", "):
        text = text.split(mark)[0]
    return text


def summarise_signs(rows: List[Row]) -> str:
    """In Markdown: the distribution of each sign over the volumes that came out well."""
    good = [row for row in rows if row["dice"] >= GOOD]
    lines = ["| sign | least | 5 % | median | 95 % | most |", "|---|---|---|---|---|---|"]
    for name in (*cautions.Signs._fields, "entropy"):
        values = sorted(row[name] for row in good if row.get(name) is not None)
        if values:
            places = [values[round(share * (len(values) - 1))] for share in (0, 0.05, 0.5, 0.95, 1)]
            lines.append(f"| {name} | " + " | ".join(f"{value:.3g}" for value in places) + " |")
    return "\n".join(lines)


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds ACDC, MnMs and MS-CMRSeg, or some of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/cautions"))
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--most", type=int, help="volumes of each set (all by default)")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    table = chosen.output / "cautions.csv"
    rows = read_rows(table)
    done = {(row["set"], row["case"]) for row in rows}
    segmenter = confuda.Segmenter(confuda.load_bundle(chosen.bundle), "cpu")
    for kind, volume, truth in find_volumes(chosen.data, chosen.most):
        if (kind.name, name_case(volume)) not in done:
            rows.append(measure(segmenter, kind, volume, truth))
            write_rows(rows, table)
            print(kind.name, name_case(volume), f"{rows[-1]['dice']:.3f}", *tell(rows[-1]), flush=True)
    agreements = [row["agreement"] for row in rows if row.get("agreement") is not None]
    text = f"{make_table(rows)}\n\n{summarise_signs(rows)}\n\n"
    text += f"Least agreement of all: {min(agreements, default=1.0):.3f}; limit of a heart: {LEAST_AGREEMENT}.\n"
    (chosen.output / "cautions.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
