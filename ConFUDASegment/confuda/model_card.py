"""The model card of a bundle, written from its description so that the two never differ."""

from typing import Any, Dict, List

NOT_A_DEVICE = "It is for research and is not a medical device: not for diagnosis or treatment."


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
    return "\n".join(lines).rstrip() + "\n"


def _format_settings(settings: Dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _format_scores(scores: Dict[str, Any]) -> List[str]:
    """A table for each data set that was measured, as ``benchmarks/quality.py`` writes them (``summary.json``)."""
    lines: List[str] = []
    for title, runs in scores.items():
        lines += [f"Measured on {title} (mean over cases):", "", "| run | MYO | LV | RV | Dice | HD95 mm | cases |"]
        lines.append("|---|---|---|---|---|---|---|")
        for run, row in runs.items():
            cells = " | ".join(f"{row[name]:.3f}" for name in ("MYO", "LV", "RV", "dice"))
            lines.append(f"| {run} | {cells} | {row['hd95_mm']:.1f} | {row['cases']} |")
        lines.append("")
    return lines
