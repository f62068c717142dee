"""Dice, HD95 and time of a bundle on a folder of labelled volumes: per-case JSON and a Markdown table.

    python benchmarks/quality.py ../shared/data/MS-CMRSeg/native -o out/quality
    python benchmarks/quality.py ../shared/data/MS-CMRSeg/registered --sequence T2 --runs none confuda:few-shot

A volume is ``patientN_SEQ.nii.gz`` with ``patientN_SEQ_manual.nii.gz`` or ``patientN_manual.nii.gz`` beside it.
Labels are read for scoring only, after the segmentation is written.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from confuda.data.segmentation_file import read_segmentation
from confuda.evaluation.metrics import evaluate
from confuda.labels import STRUCTURES
from confuda.pipeline import Job, run_job
from confuda.settings import DEFAULT_PRESET

NAMES = [structure.name for structure in STRUCTURES]


def find_labelled(folder: Path, sequence: str) -> List[Tuple[Path, Path]]:
    """Volumes of ``sequence`` in ``folder`` that have labels, with those labels."""
    pairs = []
    for volume in sorted(folder.glob(f"*_{sequence}.nii.gz")):
        patient = volume.name[: -len(f"_{sequence}.nii.gz")]
        for name in (f"{patient}_{sequence}_manual.nii.gz", f"{patient}_manual.nii.gz"):
            if (folder / name).exists():
                pairs.append((volume, folder / name))
                break
    return pairs


def score_case(
    volume: Path, truth: Path, run: str, preset: str, bundle: Optional[Path], settings: Dict[str, Any], seed: int
) -> Dict[str, Any]:
    """Segment one volume as ``run`` says ("none", or "METHOD:MODE") and score it."""
    method, _, mode = run.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "prediction.nii.gz"
        job = Job(
            volume,
            output,
            mode=mode or "few-shot",
            method=method,
            preset=preset,
            bundle=bundle,
            seed=seed,
            settings=settings,
        )
        summary = run_job(job)
        scores = evaluate(read_segmentation(truth), read_segmentation(output))
    summary.pop("output")
    return {"case": volume.name.split(".")[0], "run": run, "preset": preset, "scores": scores, "summary": summary}


def summarise(rows: List[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """The mean over cases of each run: Dice by structure and on average, HD95 in mm, seconds."""
    summary = {}
    for run in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == run]
        means = {name: [row["scores"][name]["dice"] for row in own] for name in NAMES}
        means["dice"] = [row["scores"]["average"]["dice"] for row in own]
        means["hd95_mm"] = [row["scores"]["average"]["hd95_mm"] for row in own]
        means["seconds"] = [row["summary"]["seconds"]["total"] for row in own]
        summary[run] = {name: round(float(np.mean(values)), 4) for name, values in means.items()}
        summary[run]["cases"] = len(own)
    return summary


def format_table(rows: List[Dict[str, Any]]) -> str:
    """One line a case and run, then the mean of each run."""
    lines = [
        "| case | run | " + " | ".join(f"Dice {name}" for name in NAMES) + " | Dice | HD95 mm | s | kept |",
        "|---|---|" + "---|" * (len(NAMES) + 4),
    ]
    for row in rows:
        scores, summary = row["scores"], row["summary"]
        dice = " | ".join(f"{scores[name]['dice']:.3f}" for name in NAMES)
        lines.append(
            f"| {row['case']} | {row['run']} | {dice} | {scores['average']['dice']:.3f} | "
            f"{scores['average']['hd95_mm']:.1f} | {summary['seconds']['total']:.0f} | "
            f"{'yes' if summary['accepted'] else 'no'} |"
        )
    for run, mean in summarise(rows).items():
        dice = " | ".join(f"{mean[name]:.3f}" for name in NAMES)
        lines.append(
            f"| **mean of {mean['cases']}** | {run} | {dice} | **{mean['dice']:.3f}** | {mean['hd95_mm']:.1f} | "
            f"{mean['seconds']:.0f} | |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sequence", default="LGE")
    parser.add_argument("--runs", nargs="+", default=["none", "confuda:one-shot", "confuda:few-shot"])
    parser.add_argument("--preset", default=DEFAULT_PRESET)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--cases", nargs="+", help="patient names, e.g. patient1 (all by default)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    pairs = find_labelled(arguments.data, arguments.sequence) if arguments.data.is_dir() else []
    if not pairs:
        print(f"No labelled {arguments.sequence} volumes in {arguments.data}: nothing to measure.", file=sys.stderr)
        return 3
    settings = {name: json.loads(value) for name, value in (text.split("=", 1) for text in arguments.set)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for volume, truth in pairs:
        if arguments.cases and volume.name.split("_")[0] not in arguments.cases:
            continue
        for run in arguments.runs:
            row = score_case(volume, truth, run, arguments.preset, arguments.bundle, settings, arguments.seed)
            rows.append(row)
            print(f"{row['case']} {run}: {row['scores']['average']['dice']:.3f}", file=sys.stderr, flush=True)
            name = f"{row['case']}-{run.replace(':', '-')}-{arguments.preset}.json"
            (arguments.output / name).write_text(json.dumps(row, indent=1))
    table = format_table(rows)
    (arguments.output / "table.md").write_text(table + "\n")
    title = f"{arguments.data.parent.name} {arguments.data.name} {arguments.sequence}, preset {arguments.preset}"
    (arguments.output / "summary.json").write_text(json.dumps({title: summarise(rows)}, indent=1))
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
