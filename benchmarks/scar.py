"""Scar against the experts' infarct on EMIDEC: within the experts' own muscle, and within the network's.

    python benchmarks/scar.py ../shared/data/EMIDEC -o out/scar

Writes a row a case, contour and method (``cases.csv``) and ``summary.json``, and prints a summary. EMIDEC's labels are
500 LV, 200 healthy muscle, 2221 infarct and 2222 no-reflow; its grid is nominal, so that shares are compared and not
millilitres. Labels are read for scoring only. The way scar is measured was chosen on the ten cases of even place in the
order of names (``chosen_on``); the other ten decide.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import SimpleITK as sitk
from study import add_segmenter_options, run_study

from confuda.bundle.format import load_bundle
from confuda.errors import InputError
from confuda.imaging.stack import find_slice_axis
from confuda.io.volume_file import read_volume
from confuda.labels import LV, MYO
from confuda.measure.metrics import measure_dice
from confuda.measure.scar import measure_scar, parse_scar_method
from confuda.segmenter import Segmenter

LV_VALUE, HEALTHY, INFARCT, NO_REFLOW = 500, 200, 2221, 2222
EXPERTS, OURS = "experts", "ours"
CALLED_SCARRED_PERCENT = 1.0
"""A case with more of its muscle marked than this counts as called scarred."""


def measure_case(
    path: Path, segmenter: Optional[Segmenter], methods: Sequence[str], method: str, preset: str
) -> List[Dict[str, Any]]:
    """The rows of one case."""
    volume = read_volume(path)
    expert = sitk.GetArrayFromImage(sitk.ReadImage(str(path.with_name(path.name.replace("_LGE", "_LGE_manual")))))
    infarct = np.isin(expert, (INFARCT, NO_REFLOW))
    muscle = infarct | (expert == HEALTHY)
    labels = np.where(muscle, MYO.label, np.where(expert == LV_VALUE, LV.label, 0)).astype(np.uint8)
    drawn = sitk.GetImageFromArray(labels)
    drawn.CopyInformation(volume.image)
    contours = {EXPERTS: drawn}
    if segmenter is not None:
        contours[OURS] = segmenter.adapt_and_segment(volume, method=method, preset=preset).label_map
    axis = find_slice_axis(volume.image.GetSize(), volume.image.GetSpacing())
    rows = []
    for contour, label_map in contours.items():
        for name in methods:
            row = {"case": path.name.split("_")[0], "contour": contour, "method": name}
            row["experts_percent"] = round(100 * float(infarct.sum() / muscle.sum()), 2)
            try:
                scar = measure_scar(volume.image, label_map, axis, parse_scar_method(name))
            except InputError as error:
                rows.append({**row, "percent": None, "difference": None, "dice": None, "warnings": str(error)})
                continue
            found = sitk.GetArrayFromImage(scar.make_labelmap(volume.image)) > 0
            row["percent"] = round(scar.percent_of_lv_mass, 2)
            row["difference"] = round(row["percent"] - row["experts_percent"], 2)
            row["dice"] = round(measure_dice(found, infarct), 3)
            rows.append({**row, "warnings": " ".join(scar.warnings)})
    return rows


def summarise(rows: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Median and mean absolute difference of the shares, Dice of the infarct where there is one, and how many healthy
    cases are called scarred."""
    known = [row for row in rows if row["percent"] is not None]
    sick = [row for row in known if row["experts_percent"] > 0]
    healthy = [row for row in known if row["experts_percent"] == 0]
    differences = [row["difference"] for row in known]
    return {
        "cases": len(rows),
        "measured": len(known),
        "median_difference_percent": round(float(np.median(differences)), 2) if differences else None,
        "median_difference_of_infarcts_percent": round(float(np.median([row["difference"] for row in sick])), 2)
        if sick
        else None,
        "mean_absolute_difference_percent": round(float(np.mean(np.abs(differences))), 2) if differences else None,
        "dice_of_infarct": round(float(np.mean([row["dice"] for row in sick])), 3) if sick else None,
        "healthy": len(healthy),
        "healthy_called_scarred": sum(row["percent"] > CALLED_SCARRED_PERCENT for row in healthy),
        "infarcts": len(sick),
        "infarcts_missed": sum(row["percent"] <= CALLED_SCARRED_PERCENT for row in sick),
    }


def run(options: argparse.Namespace) -> None:
    paths = sorted(options.data.glob("case*_LGE.nii.gz"))
    if not paths:
        raise InputError(f"No volume of EMIDEC found: expected files such as {options.data / 'caseN006_LGE.nii.gz'}.")
    for name in options.scar:
        parse_scar_method(name)
    segmenter = None if options.only_experts else Segmenter(load_bundle(options.bundle), options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    rows: List[Dict[str, Any]] = []
    for place, path in enumerate(paths):
        part = "chosen_on" if place % 2 == 0 else "decides"
        own = measure_case(path, segmenter, options.scar, options.method, options.preset)
        rows += [{"part": part, **row} for row in own]
        print(
            json.dumps(
                [{key: row[key] for key in ("case", "contour", "method", "experts_percent", "percent")} for row in own]
            ),
            flush=True,
        )
        with open(options.output / "cases.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    summary = []
    for contour in dict.fromkeys(row["contour"] for row in rows):
        for name in options.scar:
            for part in ("chosen_on", "decides", "all"):
                chosen = [
                    row
                    for row in rows
                    if row["contour"] == contour and row["method"] == name and part in (row["part"], "all")
                ]
                if chosen:
                    summary.append({"contour": contour, "method": name, "part": part, **summarise(chosen)})
    (options.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    for line in summary:
        print(json.dumps(line))


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of EMIDEC's cases")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the table")
    parser.add_argument("--scar", nargs="+", default=["fwhm", "5sd"], metavar="WAY", help="fwhm, or a number before sd")
    parser.add_argument("--only-experts", action="store_true", help="within the experts' muscle alone: no network")
    add_segmenter_options(parser)
    return run_study(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
