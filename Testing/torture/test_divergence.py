"""Adaptation that goes wrong on the bundled sample: refused, with the source network's labels and a reason.

How often the check decides rightly on patients is measured by ``benchmarks/divergence.py`` (docs/reliability.md).
"""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.torture.distortions import SAMPLE

from confuda.app.job import Job
from confuda.app.run import run_job
from confuda.io.segmentation_file import read_segmentation
from confuda.labels import STRUCTURES
from confuda.measure.metrics import measure_dice

TRUTH = SAMPLE.with_name("SimulatedLGE-truth.seg.nrrd")
LARGEST_LOSS_OF_DICE = 0.03
"""What a kept adaptation may cost on the sample: losses of 0.02 to 0.04 are known to go unseen."""

RUIN = {"runs": 1, "steps": 6, "strength": 1}
"""A wrong setting does its harm in a few steps of a single run."""


def segment(folder, **options):
    """Labels (S, H, W) and summary of one run on the sample."""
    output = folder / "labels.nrrd"
    summary = run_job(Job(volume=SAMPLE, output=output, device="cpu", **options))
    return sitk.GetArrayFromImage(sitk.ReadImage(str(output))), summary


def score(labels) -> float:
    truth = sitk.GetArrayFromImage(read_segmentation(TRUTH))
    return float(np.mean([measure_dice(truth == s.label, labels == s.label) for s in STRUCTURES]))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The source network's labels."""
    return segment(tmp_path_factory.mktemp("source"), method="none")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "must_refuse, options",
    [
        pytest.param(False, {"preset": "fast", "settings": {"strength": 0.3}}, id="preset fast at three tenths"),
        pytest.param(False, {"settings": {**RUIN, "learning_rate": 2e-2}}, id="ten times the learning rate"),
        pytest.param(True, {"settings": {**RUIN, "learning_rate": 1e6}}, id="a learning rate of a million"),
        pytest.param(
            False,
            {"settings": {**RUIN, "lambda_contrast": 50.0, "lambda_norm": 50.0, "lambda_consistency": 50.0}},
            id="a thousand times the weights of the terms",
        ),
        pytest.param(
            False,
            {
                "mode": "one-shot",
                "slice": 7,
                "settings": {**RUIN, "learning_rate": 2e-2, "average_decay": 0.0, "source_batch": 1, "target_batch": 1},
            },
            id="one image a step, of a wrong slice",
        ),
    ],
)
def test_adapted_badly(must_refuse, options, source, tmp_path, seen) -> None:
    """The sample, adapted to in a way that is or may be wrong: kept with a Dice lower by 0.03 at most, or refused with
    the source network's labels and a reason in the warnings."""
    labels, summary = segment(tmp_path, **options)
    accepted = summary["accepted"]
    told = [warning for warning in summary["warnings"] if "was not kept, since" in warning]
    seen(f"Dice {score(source):.3f} without, {score(labels):.3f} as given; {'kept' if accepted else ' / '.join(told)}")
    assert accepted is not bool(told)
    assert accepted or np.array_equal(source, labels)
    assert not (must_refuse and accepted)
    assert score(labels) >= score(source) - LARGEST_LOSS_OF_DICE
