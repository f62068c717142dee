"""Where along the heart a network errs: Dice at base, middle and apex, and slices that it misses or invents.

    python benchmarks/slice_errors.py ../shared/data/MS-CMRSeg/native -o out/slices-native.csv
    python benchmarks/slice_errors.py ../shared/data/ACDC/training --cases patient010 patient020 -o out/slices-acdc.csv

Of the slices in which the reference shows a structure, the first third from the base counts as base, the last as apex.
The base is the end of the reference whose slice has the larger heart. Nothing is adapted. One row of the CSV is one
structure of one volume; a table of the means is printed.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

import numpy as np
import SimpleITK as sitk
from labelled import choose_cases, name_case

import confuda
from confuda.errors import ConfudaError
from confuda.imaging.stack import CanonicalFrame
from confuda.io.segmentation_file import read_foreign_segmentation
from confuda.labels import STRUCTURES

THIRDS = ("base", "middle", "apex")


def order_from_base(image: sitk.Image) -> np.ndarray:
    """Labels (slices, rows, columns), base first."""
    labels = CanonicalFrame.from_image(image).apply(sitk.GetArrayFromImage(image))
    shown = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    areas = (labels > 0).sum(axis=(1, 2))
    return labels[::-1] if len(shown) and areas[shown[-1]] > areas[shown[0]] else labels


def measure_errors(truth: np.ndarray, answer: np.ndarray) -> Iterator[Dict[str, object]]:
    """One row a structure: Dice of each third, and the numbers of slices missed and invented."""
    for structure in STRUCTURES:
        a, b = truth == structure.label, answer == structure.label
        shown, said = a.any(axis=(1, 2)), b.any(axis=(1, 2))
        row: Dict[str, object] = {"structure": structure.name, "slices": int(shown.sum())}
        for name, part in zip(THIRDS, np.array_split(np.flatnonzero(shown), 3)):
            total = int(a[part].sum() + b[part].sum())
            row[name] = round(2 * int((a[part] & b[part]).sum()) / total, 4) if total else ""
        row["missed"] = int((shown & ~said).sum())
        row["invented"] = int((said & ~shown).sum())
        yield row


def print_table(rows: Sequence[Dict[str, object]]) -> None:
    print("| structure | Dice base | middle | apex | slices missed | invented |\n|---|---|---|---|---|---|")
    for structure in STRUCTURES:
        own = [row for row in rows if row["structure"] == structure.name]
        dice = [np.mean([row[name] for row in own if row[name] != ""]) for name in THIRDS]
        total = sum(row["slices"] for row in own)
        counts = [f"{sum(row[name] for row in own)} of {total}" for name in ("missed", "invented")]
        print(f"| {structure.name} | {' | '.join(f'{value:.3f}' for value in dice)} | {' | '.join(counts)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sequence")
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    rows: List[Dict[str, object]] = []
    try:
        segmenter = confuda.Segmenter(confuda.load_bundle(options.bundle), device="cpu")
        for path, labels in choose_cases(options.folder, options.sequence, options.cases):
            volume = confuda.read_volume(path)
            truth, _ = read_foreign_segmentation(labels)
            answer = segmenter.segment(volume).label_map
            errors = measure_errors(order_from_base(truth), order_from_base(answer))
            rows += [{"case": name_case(path), **row} for row in errors]
            print(name_case(path), file=sys.stderr)
    except ConfudaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with open(options.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
