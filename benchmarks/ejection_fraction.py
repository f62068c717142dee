"""Ejection fraction of the network's segmentation against that of the experts' labels, on ACDC's held-out patients.

    python benchmarks/ejection_fraction.py ../shared/data/ACDC/training -o out/ejection-fraction

Each patient has two frames, end-diastole and end-systole: a cine of two. Writes a row a patient (``cases.csv``),
Bland-Altman plots and ``summary.json``, and prints the agreement. Labels are read for scoring only.
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
from confuda.cine import segment_cine
from confuda.errors import InputError
from confuda.io.volume_file import read_volume
from confuda.labels import LV, RV, map_labels
from confuda.measure.function import HeartFunction, measure_function
from confuda.measure.metrics import compute_volumes_ml
from confuda.report.figures import render_figure
from confuda.report.function_figures import draw_bland_altman, measure_agreement
from confuda.segmenter import Segmenter
from confuda.training.acdc import LabelledCase, find_acdc_cases, split_acdc_cases

NUMBERS = {
    "lv_ejection_fraction_percent": "LV ejection fraction, %",
    "rv_ejection_fraction_percent": "RV ejection fraction, %",
    "lv_edv_ml": "LV end-diastolic volume, mL",
    "lv_esv_ml": "LV end-systolic volume, mL",
    "rv_edv_ml": "RV end-diastolic volume, mL",
    "rv_esv_ml": "RV end-systolic volume, mL",
    "lv_mass_g": "LV mass, g",
}


def read_truth(cases: Sequence[LabelledCase]) -> HeartFunction:
    """Function of the experts' labels of one patient's frames."""
    volumes = []
    for case in cases:
        image = sitk.ReadImage(str(case.label_path))
        labels = sitk.GetImageFromArray(map_labels(sitk.GetArrayViewFromImage(image), "acdc"))
        labels.CopyInformation(image)
        volumes.append(compute_volumes_ml(labels))
    return measure_function(volumes)


def measure_patient(segmenter: Segmenter, cases: Sequence[LabelledCase], method: str, preset: str) -> Dict[str, Any]:
    """One row: each number of the experts' labels and of ours."""
    truth = read_truth(cases).describe()
    found = segment_cine(segmenter, [read_volume(case.image_path) for case in cases], method=method, preset=preset)
    ours = found.function.describe()
    row: Dict[str, Any] = {"patient": cases[0].patient}
    for name in NUMBERS:
        row[f"experts_{name}"], row[name] = truth[name], ours[name]
    return {**row, "accepted": found.accepted, "seconds": round(found.timings["total"], 1)}


def summarise(rows: Sequence[Dict[str, Any]]) -> Dict[str, Dict[str, float]]:
    """Agreement of each number over the patients that have it."""
    summary = {}
    for name in NUMBERS:
        pairs = [(row[f"experts_{name}"], row[name]) for row in rows if row[name] is not None]
        agreement = measure_agreement(*zip(*pairs))
        summary[name] = {"patients": len(pairs), **{key: round(value, 2) for key, value in agreement._asdict().items()}}
    return summary


def run(options: argparse.Namespace) -> None:
    held_out: Dict[str, List[LabelledCase]] = {}
    for case in split_acdc_cases(find_acdc_cases(options.data), held_out=True):
        held_out.setdefault(case.patient, []).append(case)
    patients = [cases for cases in held_out.values() if len(cases) == 2][: options.patients]
    if len(patients) < 2:
        raise InputError(f"{options.data} holds fewer than two held-out patients with two frames each.")
    segmenter = Segmenter(load_bundle(options.bundle), options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for cases in patients:
        rows.append(measure_patient(segmenter, cases, options.method, options.preset))
        shown = {name: rows[-1][name] for name in ("patient", "experts_lv_ejection_fraction_percent", *NUMBERS)}
        print(json.dumps(shown), flush=True)
        with open(options.output / "cases.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    summary = summarise(rows)
    facts = {
        "method": options.method,
        "preset": options.preset,
        "bundle": segmenter.bundle.description.get("name"),
        "agreement": summary,
    }
    (options.output / "summary.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for structure in (LV, RV):
        prefix = structure.name.lower()
        name = f"{prefix}_ejection_fraction_percent"
        pairs = np.array([(row[f"experts_{name}"], row[name]) for row in rows if row[name] is not None])
        title = f"{NUMBERS[name]}: ours and the experts'"
        figure = draw_bland_altman(pairs[:, 0], pairs[:, 1], title, "%", structure.rgb)
        (options.output / f"{prefix}-bland-altman.png").write_bytes(render_figure(figure, ".png"))
    print(f"{'':32}{'mean difference':>17}{'mean absolute':>15}{'limits of agreement':>22}")
    for name, title in NUMBERS.items():
        of = summary[name]
        limits = f"{of['lower_limit']:+.1f} to {of['upper_limit']:+.1f}"
        print(f"{title:32}{of['mean_difference']:+17.1f}{of['mean_absolute_difference']:15.1f}{limits:>22}")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder that holds patient001")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the table and the plots")
    add_segmenter_options(parser)
    parser.add_argument("--patients", type=int, help="only so many of the held-out patients")
    return run_study(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
