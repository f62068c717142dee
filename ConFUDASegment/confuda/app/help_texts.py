"""What ``--help`` says beyond a command's options: how long it takes, what there is to choose from, and an example.

Times are those of two CPU cores and the bundled sample, or of the data that docs/speed.md and docs/results.md name.
"""

import argparse
import textwrap
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from confuda.adaptation.settings import PRESETS


def _count_steps(preset: str) -> str:
    settings = PRESETS[preset]
    steps = f"{settings.steps // settings.runs} steps"
    return steps if settings.runs == 1 else f"{settings.runs} runs of {steps}"


MODE_TEXTS = {
    "one-shot": "to one slice in the middle of the heart, or to that of --slice",
    "few-shot": "to all slices of the volume that show a heart",
}
METHOD_TEXTS = {
    "confuda": "contrast between class centroids of source and target, and their norms (the paper's own)",
    "fuda": "restyled source images and consistency of two views, without contrast",
    "blockcl": "contrast between blocks of pixels",
    "advent": "a discriminator looks at the entropy of soft labels",
    "adaptseg": "a discriminator looks at soft labels",
    "source": "as many steps on the source images alone: a control, which looks at no target",
    "none": "no adaptation: the network as it is, in seconds",
}
_PRESET_ENDS = {
    "fast": "20 seconds where the network is in doubt",
    "balanced": "half a minute where the network is in doubt; otherwise none is needed, and none taken",
    "thorough": "one to two minutes; tries on every volume, and keeps what is better",
    "paper": "several minutes; the published recipe term by term, for comparison",
}
PRESET_TEXTS = {name: f"{_count_steps(name)}, {end}" for name, end in _PRESET_ENDS.items()}

CHOICES: Dict[str, Mapping[str, str]] = {"modes": MODE_TEXTS, "methods": METHOD_TEXTS, "presets": PRESET_TEXTS}
"""What there is to choose from, by the title under which the help lists it."""


WORTH_TEXT = (
    "It adapts only where the network is in doubt (--preset thorough: always), and keeps what comes of it only where "
    "the views then agree more or an open wall is closed. Of 75 volumes of MS-CMRSeg ten were adapted to: 0.011 more "
    "Dice in the mean of all T2, nearly all of it on one volume, 0.001 on registered late enhancement, 0 on native; "
    "the control, --method source with the same seed and steps, gave 0 (docs/results.md)."
)
"""What ``confuda adapt`` says of the worth of adaptation; the figures are those of docs/data/adaptation.csv."""


class CommandText(NamedTuple):
    """What is said of a command: the time that it takes, what of the choices above belongs to it, and an example."""

    time: str
    choices: Tuple[str, ...]
    example: str


COMMAND_TEXTS: Dict[str, CommandText] = {
    "adapt": CommandText(
        "Ten seconds on two idle CPU cores, half a minute where it adapts; a GPU is used where there is one.",
        ("modes", "methods", "presets"),
        "confuda adapt LGE.nii.gz -o LGE.seg.nrrd --report LGE-report",
    ),
    "segment": CommandText("Seconds a volume.", (), "confuda segment T2/*.nii.gz -o labels --bundle adapted"),
    "train": CommandText(
        "Hours on two CPU cores; it can be stopped and resumed.",
        (),
        "confuda train all --data ACDC/training -o runs/source",
    ),
    "bundle build": CommandText(
        "Less than a minute.",
        (),
        "confuda bundle build --training runs/source --data ACDC/training -o bundles/mine",
    ),
    "bundle show": CommandText("At once.", (), "confuda bundle show bundles/mine"),
    "bundle verify": CommandText("Seconds.", (), "confuda bundle verify bundles/mine"),
    "evaluate": CommandText("Seconds.", (), "confuda evaluate truth.nii.gz LGE.seg.nrrd"),
    "benchmark table1": CommandText(
        "Hours on a CPU at the scale small (it says how many before it starts), weeks there at the scale paper.",
        ("methods",),
        "confuda benchmark table1 --data MS-CMRSeg -o runs/benchmark",
    ),
    "benchmark table2": CommandText(
        "About a third of table1, whose cells it shares.",
        (),
        "confuda benchmark table2 --data MS-CMRSeg -o runs/benchmark",
    ),
    "benchmark cost": CommandText("Minutes.", (), "confuda benchmark cost -o runs/cost --threads 1"),
    "cohort": CommandText(
        "As long as 'confuda adapt' a volume, divided among the workers; seconds a volume with --adapt-on.",
        ("modes", "methods", "presets"),
        "confuda cohort scans -o results --preset fast --workers 2",
    ),
}


def explain(command: str, description: str = "") -> Dict[str, Any]:
    """What :meth:`add_parser` of argparse takes for ``command`` beside its name and its short help."""
    told_of = COMMAND_TEXTS[command]
    lines = [f"time: {told_of.time}", ""]
    for title in told_of.choices:
        width = max(map(len, CHOICES[title]))
        lines += [f"{title}:", *(f"  {name:{width}}  {text}" for name, text in CHOICES[title].items()), ""]
    lines.append(f"example: {told_of.example}")
    told: Dict[str, Any] = {"epilog": "\n".join(lines), "formatter_class": argparse.RawDescriptionHelpFormatter}
    return {**told, "description": textwrap.fill(description, 78)} if description else told
