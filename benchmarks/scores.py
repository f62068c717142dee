"""What benchmarks do with measured rows: identify, keep, average, compare in pairs, and write as tables.

A row is ``{"identity": ..., "case", "run", "preset", "scores": evaluate(...), "summary": run_job(...)}``.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from confuda.benchmark.paired import bootstrap_mean, compute_wilcoxon_p
from confuda.io.atomic import write_text
from confuda.labels import MYO, STRUCTURES

NAMES = [structure.name for structure in STRUCTURES]
NO_ADAPTATION = "none"
CONTROL = "source"
"""Method of the control: as many steps as an adaptation, on source images alone."""
UNDECIDING = ("name", "version", "training", "scores", "adapted", "adaptation")
"""Fields of a bundle's description that change no segmentation."""

Row = Dict[str, Any]


def identify_bundle(description: Dict[str, Any]) -> str:
    """A hash of what decides how a bundle segments: its files and networks, not its name or its scores."""
    deciding = {key: value for key, value in description.items() if key not in UNDECIDING}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def write_json(content: Any, path: Path) -> None:
    """Write ``content`` as JSON, complete or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_row(path: Path, identity: Dict[str, Any]) -> Optional[Row]:
    """The row that was kept in ``path``, if it was measured under the same ``identity``; None otherwise."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("identity") == json.loads(json.dumps(identity)) else None


def name_run(row: Row) -> str:
    """What a row's run is called in tables: "none", or "METHOD:MODE PRESET"."""
    return f"{row['run']} {row['preset']}".strip()


def group_by_run(rows: Sequence[Row]) -> Dict[str, List[Row]]:
    groups: Dict[str, List[Row]] = {}
    for row in rows:
        groups.setdefault(name_run(row), []).append(row)
    return groups


def summarise(rows: Sequence[Row]) -> Dict[str, Dict[str, Any]]:
    """The mean over cases of each run: Dice by structure and on average, HD95 in mm, seconds; and the cases' number.

    ``muscle_ratio``: the median over cases of the muscle's volume divided by the reference's, where that has muscle.

    With a title above it this is what ``confuda bundle build --scores`` and the model card take; ``bundle`` says which
    bundle was measured.
    """
    summary = {}
    for run, own in group_by_run(rows).items():
        means = {name: [row["scores"][name]["dice"] for row in own] for name in NAMES}
        means["dice"] = [row["scores"]["average"]["dice"] for row in own]
        means["hd95_mm"] = [row["scores"]["average"]["hd95_mm"] for row in own]
        means["seconds"] = [row["summary"]["seconds"]["total"] for row in own]
        summary[run] = {name: round(float(np.mean(values)), 4) for name, values in means.items()}
        summary[run]["cases"] = len(own)
        muscle = [row["scores"][MYO.name] for row in own]
        ratios = [one["prediction_ml"] / one["reference_ml"] for one in muscle if one.get("reference_ml", 0) > 0]
        if ratios:
            summary[run]["muscle_ratio"] = round(float(np.median(ratios)), 3)
        summary[run]["bundle"] = own[0]["identity"].get("bundle")
    return summary


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A run against another one on the same cases, in average Dice.

    mean_gain with its 95 % interval (percentile bootstrap over cases; None for fewer than two cases); improved: share
    of the cases that gained; worst_gain: of the case that lost most (or gained least), worst_case its name; p: of
    Wilcoxon's signed-rank test, two-sided; hd95_change_mm: mean, less than 0 is better.
    """

    run: str
    against: str
    cases: int
    mean_gain: float
    low: Optional[float]
    high: Optional[float]
    improved: float
    worst_gain: float
    worst_case: str
    p: float
    hd95_change_mm: float


def compare_runs(rows: Sequence[Row]) -> List[Comparison]:
    """Each adaptation against no adaptation, then against its control, on the cases that both have.

    The control of ``METHOD:MODE PRESET`` is ``source:MODE PRESET``, or another mode of it where that one is missing.
    """
    groups = group_by_run(rows)
    comparisons = []
    for run, own in groups.items():
        if own[0]["run"] == NO_ADAPTATION:
            continue
        for against in (NO_ADAPTATION, _find_control(own[0], rows)):
            if against in groups:
                comparisons.extend(_compare(run, own, against, groups[against]))
    return comparisons


def _find_control(row: Row, rows: Sequence[Row]) -> Optional[str]:
    method, _, mode = row["run"].partition(":")
    if method == CONTROL:
        return None
    controls = [other for other in rows if other["run"].startswith(f"{CONTROL}:") and other["preset"] == row["preset"]]
    controls.sort(key=lambda other: other["run"] != f"{CONTROL}:{mode}")
    return name_run(controls[0]) if controls else None


def _compare(run: str, own: Sequence[Row], against: str, others: Sequence[Row]) -> List[Comparison]:
    by_case = {row["case"]: row["scores"]["average"] for row in others}
    shared = [row for row in own if row["case"] in by_case]
    if not shared:
        return []
    gains = np.array([row["scores"]["average"]["dice"] - by_case[row["case"]]["dice"] for row in shared])
    changes = [row["scores"]["average"]["hd95_mm"] - by_case[row["case"]]["hd95_mm"] for row in shared]
    low, high = bootstrap_mean(gains)
    worst = int(gains.argmin())
    return [
        Comparison(
            run,
            against,
            len(shared),
            float(gains.mean()),
            low,
            high,
            float((gains > 0).mean()),
            float(gains[worst]),
            shared[worst]["case"],
            compute_wilcoxon_p(gains),
            float(np.mean(changes)),
        )
    ]


def format_rows(rows: Sequence[Row]) -> str:
    """One line a case and run, then the mean of each run."""
    lines = [
        "| case | run | " + " | ".join(f"Dice {name}" for name in NAMES) + " | Dice | HD95 mm | s | kept |",
        "|---|---|" + "---|" * (len(NAMES) + 4),
    ]
    for row in rows:
        scores, summary = row["scores"], row["summary"]
        dice = " | ".join(f"{scores[name]['dice']:.3f}" for name in NAMES)
        lines.append(
            f"| {row['case']} | {name_run(row)} | {dice} | {scores['average']['dice']:.3f} | "
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


def format_comparisons(comparisons: Sequence[Comparison]) -> str:
    """One line a comparison; gains are in average Dice."""
    lines = [
        "| run | against | n | mean gain | 95 % interval | improved | worst | p (Wilcoxon) | HD95 mm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in comparisons:
        interval = "" if one.low is None else f"{one.low:+.4f} to {one.high:+.4f}"
        lines.append(
            f"| {one.run} | {one.against} | {one.cases} | {one.mean_gain:+.4f} | {interval} | {one.improved:.0%} | "
            f"{one.worst_gain:+.3f} ({one.worst_case}) | {one.p:.2g} | {one.hd95_change_mm:+.1f} |"
        )
    return "\n".join(lines)


def write_report(rows: Sequence[Row], title: str, output: Path, scores: Optional[Path] = None) -> str:
    """Write ``table.md``, ``comparison.json`` and the scores (``scores.json`` by default) into ``output``.

    Returns the tables, in Markdown.
    """
    comparisons = compare_runs(rows)
    text = f"{title}\n\n{format_rows(rows)}\n"
    if comparisons:
        text += f"\n{format_comparisons(comparisons)}\n"
    write_text(output / "table.md", text)
    write_json([dataclasses.asdict(one) for one in comparisons], output / "comparison.json")
    write_json({title: summarise(rows)}, scores or output / "scores.json")
    return text
