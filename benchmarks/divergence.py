"""How often ``confuda.inference.acceptance`` decides rightly whether an adapted network is kept, on labelled volumes.

    python benchmarks/divergence.py run ../shared/data/MS-CMRSeg/registered --sequence T2 -o /somewhere/T2 --threads 1
    python benchmarks/divergence.py table /somewhere/T2 /somewhere/native -o /somewhere/table.md

``run`` adapts to each volume under normal settings and under bad ones, and keeps what the two networks say (soft
labels, therefore outside the repository), the losses and the true Dice of both. ``table`` lets the present check decide
over what was kept: thresholds can be studied without adapting again. Labels are read for scoring only.
"""

import argparse
import dataclasses
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
import torch
from labelled import check_outside_repository, choose_cases, name_case
from scores import identify_bundle, read_row, write_json
from study import run_study, say

from confuda.adaptation.settings import DEFAULT_PRESET, PRESETS, AdaptationSettings, make_settings
from confuda.bundle.format import SHIPPED_BUNDLE, Bundle, hash_file, load_bundle
from confuda.errors import InputError
from confuda.imaging.stack import HeartCrop
from confuda.inference.acceptance import Opinion, judge_adaptation
from confuda.io.atomic import replace_file, write_text
from confuda.io.segmentation_file import read_segmentation
from confuda.io.volume_file import read_volume
from confuda.labels import STRUCTURES
from confuda.measure.metrics import measure_dice
from confuda.segmenter import Segmenter

WORSE_BY = 0.02
"""An adapted network is truly worse where its Dice is lower than the source network's by more than this."""


class Condition(NamedTuple):
    """How to adapt; ``good`` where it is one of the ways that users are given: a preset, a mode, a seed."""

    good: bool
    preset: str = DEFAULT_PRESET
    mode: str = "few-shot"
    seed: int = 0
    overrides: Mapping[str, Any] = MappingProxyType({})

    def make_settings(self) -> AdaptationSettings:
        return make_settings(self.preset, self.overrides)


_RATE = PRESETS[DEFAULT_PRESET].learning_rate
_SINGLE = {"steps": 10, "runs": 1, "strength": 1.0}
"""One run instead of the average of several: worse, and quicker to measure."""

CONDITIONS: Dict[str, Condition] = {
    "normal": Condition(True),
    "other seed": Condition(True, seed=1),
    "fast": Condition(True, preset="fast"),
    "one-shot": Condition(True, mode="one-shot"),
    "single run": Condition(False, overrides=_SINGLE),
    "rate x 4": Condition(False, overrides={**_SINGLE, "learning_rate": 4 * _RATE}),
    "rate x 10": Condition(False, overrides={**_SINGLE, "learning_rate": 10 * _RATE}),
    "rate x 100": Condition(False, overrides={**_SINGLE, "learning_rate": 100 * _RATE}),
    "terms x 100": Condition(
        False,
        overrides={
            **_SINGLE,
            **{
                name: 100 * getattr(PRESETS[DEFAULT_PRESET], name)
                for name in ("lambda_contrast", "lambda_norm", "lambda_consistency")
            },
        },
    ),
    "own labels": Condition(False, overrides={**_SINGLE, "average_decay": 0.0, "lambda_self": 10.0, "confidence": 0.0}),
}


@dataclass
class Trial:
    """One adaptation: what both networks said, the losses, and the true Dice (mean of the structures) of both."""

    case: str
    data: str
    condition: str
    source: Opinion
    adapted: Opinion
    losses: List[Dict[str, float]]
    dice_source: float
    dice_adapted: float

    @property
    def patient(self) -> str:
        return self.case.split("_")[0]

    @property
    def worse(self) -> bool:
        return self.dice_adapted < self.dice_source - WORSE_BY

    def judge(self) -> Tuple[bool, str]:
        return judge_adaptation(self.source, self.adapted, self.losses)


def score(opinion: Opinion, crop: HeartCrop, truth: sitk.Image) -> float:
    """Mean Dice of the structures on the volume's own grid."""
    guess, wanted = (sitk.GetArrayFromImage(image) for image in (crop.restore(opinion.probabilities), truth))
    return float(np.mean([measure_dice(wanted == s.label, guess == s.label) for s in STRUCTURES]))


def try_volume(
    volume: Path, truth: Path, bundle: Bundle, identity: Dict[str, Any], conditions: Sequence[str], output: Path
) -> Iterator[str]:
    """Adapt to one volume under each of ``conditions`` that ``output`` lacks; yields a line about each."""
    case = str(name_case(volume))
    missing = [
        name
        for name in conditions
        if read_row(output / f"{_name_trial(case, name)}.json", {**identity, **_identify(name)}) is None
    ]
    if not missing:
        return
    segmenter = Segmenter(bundle, device="cpu")
    look = segmenter.look(read_volume(volume))
    if look.crop is None or look.opinion is None:
        raise InputError(f"No heart was found in {case}: there is nothing to adapt to.")
    wanted = read_segmentation(truth)
    dice_source = score(look.opinion, look.crop, wanted)
    keep_opinion(look.opinion, output / f"{case}-source.npz")
    for name in missing:
        condition = CONDITIONS[name]
        how = {"mode": condition.mode, "preset": condition.preset, "seed": condition.seed}
        adapted = segmenter.adapt(look, settings=condition.overrides, **how)
        if adapted is None:
            raise InputError("The source network sees no heart: there is nothing to adapt to.")
        opinion = segmenter.judge(look, adapted).opinion
        keep_opinion(opinion, output / f"{_name_trial(case, name)}.npz")
        row = {
            "identity": {**identity, **_identify(name)},
            "case": case,
            "condition": name,
            "dice_source": dice_source,
            "dice_adapted": score(opinion, look.crop, wanted),
            # JSON knows no NaN: a loss that is none becomes null.
            "losses": [
                {key: value if np.isfinite(value) else None for key, value in step.items()} for step in adapted.losses
            ],
        }
        write_json(row, output / f"{_name_trial(case, name)}.json")
        yield f"{case} {name}: {dice_source:.3f} -> {row['dice_adapted']:.3f}"


def keep_opinion(opinion: Opinion, path: Path) -> None:
    """Write an opinion, its soft labels in half precision; complete or not at all."""
    values = {name: getattr(opinion, name) for name in ("agreement", "entropy", "voxel_ml")}
    values["probabilities"] = opinion.probabilities.astype(np.float16)
    with replace_file(path) as draft, open(draft, "wb") as stream:
        np.savez_compressed(stream, **values)


def recall_opinion(path: Path) -> Opinion:
    """An opinion that :func:`keep_opinion` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        scalars = {name: float(stored[name]) for name in stored.files if name != "probabilities"}
        return Opinion(probabilities=stored["probabilities"].astype(np.float32), **scalars)


def recall_trials(folders: Sequence[Path]) -> List[Trial]:
    """All trials kept in ``folders``.

    Raises:
        InputError: if there is none.
    """
    trials = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            row = json.loads(path.read_text(encoding="utf-8"))
            losses = [
                {key: float("nan") if value is None else value for key, value in step.items()} for step in row["losses"]
            ]
            source, adapted = (
                recall_opinion(folder / f"{row['case']}-source.npz"),
                recall_opinion(path.with_suffix(".npz")),
            )
            trials.append(
                Trial(
                    row["case"],
                    folder.name,
                    row["condition"],
                    source,
                    adapted,
                    losses,
                    row["dice_source"],
                    row["dice_adapted"],
                )
            )
    if not trials:
        raise InputError("Nothing was kept there: use `divergence.py run` first.")
    return trials


def format_table(trials: Sequence[Trial], verdicts: Optional[Sequence[bool]] = None) -> str:
    """How the check (or the given ``verdicts``) decided, by condition, as Markdown."""
    verdicts = [trial.judge()[0] for trial in trials] if verdicts is None else verdicts
    lines = [
        "| settings | n | kept, not worse | kept, worse | refused, worse | refused, not worse "
        "| Dice: none | always kept | with the check | oracle |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    named = [name for name in CONDITIONS if any(trial.condition == name for trial in trials)]
    groups = {name: {name} for name in named}
    for title, good in (("all normal", True), ("all bad", False)):
        groups[title] = {name for name in named if CONDITIONS[name].good is good}
    for title, members in groups.items():
        pairs = [(trial, kept) for trial, kept in zip(trials, verdicts) if trial.condition in members]
        if pairs:
            lines.append(_format_row(title, pairs))
    return "\n".join(lines) + "\n"


def _format_row(title: str, pairs: Sequence[Tuple[Trial, bool]]) -> str:
    counts = [
        sum(kept is wanted and trial.worse is worse for trial, kept in pairs)
        for wanted, worse in ((True, False), (True, True), (False, True), (False, False))
    ]
    dice = (
        np.mean([trial.dice_source for trial, _ in pairs]),
        np.mean([trial.dice_adapted for trial, _ in pairs]),
        np.mean([trial.dice_adapted if kept else trial.dice_source for trial, kept in pairs]),
        np.mean([max(trial.dice_adapted, trial.dice_source) for trial, _ in pairs]),
    )
    cells = [title, str(len(pairs)), *map(str, counts), *(f"{value:.3f}" for value in dice)]
    return "| " + " | ".join(cells) + " |"


def format_mistakes(trials: Sequence[Trial]) -> str:
    """The trials over which the check errs, with what it says, as a Markdown list."""
    lines = []
    for trial in trials:
        kept, reason = trial.judge()
        if kept is trial.worse:
            verdict = "kept" if kept else f"refused, since {reason}"
            change = f"{trial.dice_source:.3f} -> {trial.dice_adapted:.3f}"
            lines.append(f"- {trial.data} {trial.case}, {trial.condition}: {change}, {verdict}")
    return "\n".join(lines) + "\n"


def _identify(condition: str) -> Dict[str, Any]:
    chosen = CONDITIONS[condition]
    return {"settings": dataclasses.asdict(chosen.make_settings()), "mode": chosen.mode, "seed": chosen.seed}


def _name_trial(case: str, condition: str) -> str:
    return f"{case}-{re.sub('[^a-z0-9]+', '-', condition)}"


def run(arguments: argparse.Namespace) -> None:
    """Adapt wherever ``arguments.output`` lacks a trial.

    Raises:
        ConfudaError: saying what is wrong.
    """
    output = check_outside_repository(arguments.output, "--output")
    pairs = choose_cases(arguments.data, arguments.sequence, arguments.cases)
    output.mkdir(parents=True, exist_ok=True)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    bundle = load_bundle(arguments.bundle)
    bundle_hash = identify_bundle(bundle.description)
    for volume, truth in pairs:
        identity = {"volume": hash_file(volume), "truth": hash_file(truth), "bundle": bundle_hash}
        for line in try_volume(volume, truth, bundle, identity, arguments.conditions, output):
            say(line)


def write_table(arguments: argparse.Namespace) -> None:
    """Print the tables, and keep them in ``arguments.output`` if that is given.

    Raises:
        ConfudaError: saying what is wrong.
    """
    trials = recall_trials(arguments.folders)
    text = f"{format_table(trials)}\nMistakes:\n\n{format_mistakes(trials)}"
    print(text)
    if arguments.output is not None:
        write_text(arguments.output, text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    trial = commands.add_parser("run", help="adapt, and keep what came of it")
    trial.add_argument("data", type=Path, help="folder of volumes with their labels beside them")
    trial.add_argument("-o", "--output", type=Path, required=True, help="folder of the trials, outside the repository")
    trial.add_argument("--sequence", help="only volumes called ..._SEQUENCE, e.g. LGE or T2")
    trial.add_argument("--cases", nargs="+", help="case or patient names, e.g. patient1 (all by default)")
    trial.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS))
    trial.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    trial.add_argument("--threads", type=int, help="CPU threads")
    trial.set_defaults(run=run)
    table = commands.add_parser("table", help="let the check decide over what was kept")
    table.add_argument("folders", type=Path, nargs="+", help="output folders of `run`")
    table.add_argument("-o", "--output", type=Path, help="keep the table (Markdown) here")
    table.set_defaults(run=write_table)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parsed = build_parser().parse_args(arguments)
    return run_study(parsed.run, parsed, "divergence")


if __name__ == "__main__":
    sys.exit(main())
