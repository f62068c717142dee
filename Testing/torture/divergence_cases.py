"""Adaptation that goes wrong: it is refused, with the source network's labels and a reason, or it does no harm.

How often the check decides rightly on patients is measured by ``benchmarks/divergence.py`` (docs/reliability.md).
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import SimpleITK as sitk
from Testing.torture.case import Case

from confuda.app.pipeline import Job, run_job
from confuda.io.segmentation_file import read_segmentation
from confuda.labels import STRUCTURES
from confuda.measure.metrics import measure_dice

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
TRUTH = SAMPLE.with_name("SimulatedLGE-truth.seg.nrrd")
LARGEST_LOSS_OF_DICE = 0.03
"""What a kept adaptation may cost on the sample: losses of 0.02 to 0.04 are known to go unseen."""


class Attempt(NamedTuple):
    """Labels (S, H, W) and summary of one run on the sample."""

    labels: np.ndarray
    summary: Dict[str, Any]

    def score(self) -> float:
        """Mean Dice of the structures against the sample's truth."""
        truth = sitk.GetArrayFromImage(read_segmentation(TRUTH))
        return float(np.mean([measure_dice(truth == s.label, self.labels == s.label) for s in STRUCTURES]))


def _segment(folder: Path, **options: Any) -> Attempt:
    output = folder / "labels.nrrd"
    summary = run_job(Job(volume=SAMPLE, output=output, device="cpu", **options))
    return Attempt(sitk.GetArrayFromImage(sitk.ReadImage(str(output))), summary)


@lru_cache(maxsize=None)
def _ask_source_network(folder: Path) -> Attempt:
    return _segment(folder, method="none")


def adapt_badly(must_refuse: bool, **options: Any) -> Callable[[Path], str]:
    """A case's function: adapts with ``options`` of a Job, and compares with the source network's answer."""

    def run(folder: Path) -> str:
        source, attempt = _ask_source_network(folder), _segment(folder, **options)
        accepted = attempt.summary["accepted"]
        told = [warning for warning in attempt.summary["warnings"] if "was not kept, since" in warning]
        dice = f"Dice {source.score():.3f} without, {attempt.score():.3f} as given"
        seen = f"{dice}; {'kept' if accepted else ' / '.join(told)}"
        assert accepted is not bool(told), f"accepted {accepted}, told: {told}"
        if not accepted:
            assert np.array_equal(source.labels, attempt.labels), f"not the source network's labels: {seen}"
        assert not (must_refuse and accepted), seen
        assert attempt.score() >= source.score() - LARGEST_LOSS_OF_DICE, seen
        return seen

    return run


_WAYS: List[Tuple[str, str, bool, Dict[str, Any]]] = [
    ("fast", "preset fast", False, {"preset": "fast"}),
    ("balanced", "preset balanced", False, {}),
    ("thorough", "preset thorough", False, {"preset": "thorough"}),
    ("one-shot", "one slice", False, {"mode": "one-shot"}),
    ("another seed", "seed 1", False, {"seed": 1}),
    ("rate x 10", "ten times the learning rate", False, {"settings": {"learning_rate": 2e-2}}),
    ("rate x 100", "a hundred times the learning rate", True, {"settings": {"learning_rate": 0.2}}),
    ("rate beyond measure", "a learning rate of a million", True, {"settings": {"learning_rate": 1e6}}),
    (
        "terms x 1000",
        "a thousand times the weights of ConFUDA's terms",
        False,
        {"settings": {"lambda_contrast": 50.0, "lambda_norm": 50.0, "lambda_consistency": 50.0}},
    ),
    (
        "own labels",
        "ten times the rate, the network's own labels, sure or not, at 1,000 times the weight of true ones",
        False,
        {"settings": {"learning_rate": 2e-2, "average_decay": 0.0, "lambda_self": 1000.0, "confidence": 0.0}},
    ),
    (
        "one image, last weights",
        "ten times the rate on one image a step, nothing averaged, of a wrong slice",
        False,
        {
            "mode": "one-shot",
            "slice": 7,
            "settings": {"learning_rate": 2e-2, "average_decay": 0.0, "source_batch": 1, "target_batch": 1, "runs": 1},
        },
    ),
]

CASES: List[Case] = [
    Case(
        "divergence",
        name,
        f"the sample, {tried}",
        "refused: the source network's labels, a reason in the warnings"
        if must_refuse
        else f"kept, and Dice lower by {LARGEST_LOSS_OF_DICE} at most; or refused, with the source network's labels",
        adapt_badly(must_refuse, **options),
        fast=must_refuse,
    )
    for name, tried, must_refuse, options in _WAYS
]
