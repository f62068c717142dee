"""The model card of a bundle, written from its description so that the two never differ."""

import math
from typing import Any, Dict, List

from confuda import NOT_A_DEVICE
from confuda.errors import InputError

SCORE_NAMES = ("cases", "MYO", "LV", "RV", "dice", "hd95_mm")


def format_model_card(description: Dict[str, Any]) -> str:
    """``README.md`` of a bundle: what it is, what it was trained on, under which terms, and how well it did."""
    training = description.get("training", {})
    lines = [
        f"# Bundle {description.get('name', '')}",
        "",
        "Segments myocardium (MYO), left ventricle (LV) and right ventricle (RV) in short-axis cardiac MR, and is what",
        f"ConFUDA adapts to other sequences. {NOT_A_DEVICE}",
        "",
        "| | |",
        "|---|---|",
        f"| version | {description.get('version', '')} |",
        f"| in-plane spacing, crop | {description['spacing_mm']} mm, {description['crop']} pixels |",
        f"| segmenter | DR-UNet {_format_settings(description['segmenter'])} |",
        f"| style transfer | RAIN {_format_settings(description['rain'])} |",
    ]
    for key, title in (("data", "trained on"), ("licence", "licence"), ("citation", "please cite")):
        if training.get(key):
            lines.append(f"| {title} | {training[key]} |")
    for key in ("segmenter", "rain"):
        if training.get(key):
            lines.append(f"| training of {key} | {_format_settings(training[key])} |")
    if description.get("adapted"):
        lines.append(f"| adapted | {_format_settings(description['adapted'])} |")
    lines += ["", *_format_scores(description.get("scores", {}))]
    if description.get("adaptation"):
        lines += [str(description["adaptation"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _format_settings(settings: Dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def check_scores(scores: Any) -> None:
    """Make sure that measured scores have the form of ``scores.json`` of ``benchmarks/quality.py``.

    That is, by data set and run, the number of cases, their mean Dice (0 to 1) and their mean HD95 in mm:
    ``{title: {run: {"cases": 5, "MYO": 0.75, "LV": 0.89, "RV": 0.88, "dice": 0.84, "hd95_mm": 7.4}}}``. A run may also
    have ``muscle_ratio``, the median of the muscle's volume divided by the experts': Slicer's panel tells it beside the
    mass.

    Raises:
        InputError: naming what is missing.
    """
    if not isinstance(scores, dict) or not all(isinstance(runs, dict) for runs in scores.values()):
        raise InputError("Scores are a JSON object of data sets, each with its runs (see benchmarks/quality.py).")
    for title, runs in scores.items():
        for run, row in runs.items():
            for name in SCORE_NAMES:
                value = row.get(name) if isinstance(row, dict) else None
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                    raise InputError(f"The scores of '{run}' on '{title}' have no number for '{name}'.")
            ratio = row.get("muscle_ratio", 1.0)
            if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio < math.inf:
                raise InputError(f"The scores of '{run}' on '{title}' have no number above 0 for 'muscle_ratio'.")


def _format_scores(scores: Dict[str, Any]) -> List[str]:
    """A table for each data set that was measured."""
    check_scores(scores)
    lines: List[str] = []
    for title, runs in scores.items():
        with_ratio = any("muscle_ratio" in row for row in runs.values())
        median = "; of muscle / experts', its volume divided by theirs, the median" if with_ratio else ""
        lines += [
            f"Measured on {title}; means over n volumes{median}:",
            "",
            "| run | n | Dice MYO | Dice LV | Dice RV | Dice average | HD95 mm |",
            "|---|---|---|---|---|---|---|",
        ]
        if with_ratio:
            lines[-2] += " muscle / experts' |"
            lines[-1] += "---|"
        for run, row in runs.items():
            dice = " | ".join(f"{row[name]:.3f}" for name in ("MYO", "LV", "RV", "dice"))
            ratio = f" {row['muscle_ratio']:.2f} |" if "muscle_ratio" in row else " – |" if with_ratio else ""
            lines.append(f"| {run} | {row['cases']} | {dice} | {row['hd95_mm']:.1f} |{ratio}")
        lines.append("")
    return lines
