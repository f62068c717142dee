"""Which volumes are adapted to, when the outcome is kept, and what is said of it."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.adaptation.settings import PRESETS, make_settings
from confuda.adaptation.strength import rate_need
from confuda.imaging.volume import Volume
from confuda.inference.acceptance import Opinion, judge_adaptation, judge_gain
from confuda.segmenter import Segmenter

LOSSES = [{"source": 0.2}]


def make_opinion(agreement: float, closed: bool = True) -> Opinion:
    """A blood pool of 8 x 8 pixels in a ring of muscle, one side of which is missing where it is not ``closed``."""
    labels = np.zeros((3, 16, 16), int)
    labels[:, 2:14, 2:14] = 1
    labels[:, 4:12, 4:12] = 2
    if not closed:
        labels[:, 12:14, :] = 0
    return Opinion(np.eye(4, dtype=np.float32)[labels].transpose(3, 0, 1, 2), agreement)


@pytest.mark.parametrize(
    ("agreement", "closed", "strength", "why"),
    [
        (0.95, True, 0.0, "sure: its views agree by 0.95"),
        (0.88, True, 1.0, "in doubt: its views agree by 0.88"),
        (0.95, False, 1.0, "the wall is open: 75%"),
    ],
)
def test_only_a_network_in_doubt_is_adapted(agreement, closed, strength, why) -> None:
    need = rate_need(PRESETS["balanced"], [make_opinion(agreement, closed)])
    assert need.strength == strength and why in need.reason
    assert need.must_gain == (strength > 0)


def test_the_volumes_of_a_cohort_are_rated_together() -> None:
    opinions = [make_opinion(agreement) for agreement in (0.96, 0.84, 0.89)]
    assert rate_need(PRESETS["balanced"], opinions).strength == 1.0
    assert rate_need(PRESETS["balanced"], opinions[:2] + [make_opinion(0.97)]).strength == 0.0


def test_thorough_tries_on_every_volume() -> None:
    need = rate_need(PRESETS["thorough"], [make_opinion(0.95)])
    assert need.strength == 1.0 and need.must_gain


def test_a_strength_that_was_asked_for_wins() -> None:
    need = rate_need(make_settings("fast", {"strength": 0.3}), [make_opinion(0.99)])
    assert (need.strength, need.must_gain) == (0.3, False)


@pytest.mark.parametrize("method", ["fuda", "blockcl", "advent", "adaptseg"])
def test_another_method_always_runs(method) -> None:
    assert rate_need(PRESETS["balanced"], [make_opinion(0.99)], method).strength == 1.0


def test_the_control_is_adapted_where_the_method_is() -> None:
    for agreement in (0.95, 0.88):
        own, control = (rate_need(PRESETS["fast"], [make_opinion(agreement)], m) for m in ("confuda", "source"))
        assert own == control


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (make_opinion(0.88), make_opinion(0.90), True),
        (make_opinion(0.88), make_opinion(0.885), False),
        (make_opinion(0.88), make_opinion(0.86), False),
        (make_opinion(0.88, closed=False), make_opinion(0.87), True),
    ],
    ids=["agrees more", "hardly more", "less", "an open wall is closed"],
)
def test_what_was_chosen_by_need_must_be_better(before, after, kept) -> None:
    assert judge_adaptation(before, after, LOSSES, must_gain=True)[0] is kept
    assert judge_adaptation(before, after, LOSSES)[0], "what was asked for must not be ruined, no more"


def test_volumes_that_are_adapted_to_together_must_be_better_together() -> None:
    before = [make_opinion(0.88), make_opinion(0.90)]
    assert judge_gain(before, [make_opinion(0.92), make_opinion(0.90)]) == ""
    assert "0.890 before, 0.890 after" in judge_gain(before, [make_opinion(0.89), make_opinion(0.89)])
    assert judge_gain([make_opinion(0.95), make_opinion(0.95, closed=False)], [make_opinion(0.95)] * 2) == ""


@pytest.fixture
def sure(bundle, heart, monkeypatch):
    """A look at the toy heart by a network that says that it is sure."""
    segmenter = Segmenter(bundle, device="cpu")
    look = segmenter.look(Volume.from_image(heart[0]))
    closed = make_opinion(0.96)
    monkeypatch.setattr("confuda.adaptation.strength.measure_enclosure", lambda labels: 1.0)
    look.opinion = dataclasses.replace(look.opinion, agreement=closed.agreement)
    return segmenter, look


def test_where_there_is_no_need_no_step_is_taken(sure) -> None:
    segmenter, look = sure
    adapted = segmenter.adapt(look)
    verdict = segmenter.judge(look, adapted)
    assert not adapted.took_steps and adapted.losses == [] and len(adapted.chosen[0])
    assert verdict.accepted and verdict.opinion is look.opinion
    for name, value in segmenter.bundle.segmenter.state_dict().items():
        np.testing.assert_array_equal(adapted.network.state_dict()[name], value)


def test_what_was_done_is_told_with_its_reason_and_effect(bundle, heart) -> None:
    volume = Volume.from_image(heart[0])
    result = Segmenter(bundle, device="cpu").adapt_and_segment(volume, settings={"steps": 2, "strength": 0.5})
    told = result.summarise()["adaptation"]
    before = result.look.crop.restore(result.look.opinion.probabilities)
    after = result.look.crop.restore(result.verdict.opinion.probabilities)
    voxel_ml = np.prod(volume.image.GetSpacing()) / 1000
    counts = [(sitk.GetArrayViewFromImage(image) == 1).sum() for image in (before, after)]
    assert told["changed_ml"]["MYO"] == pytest.approx((int(counts[1]) - int(counts[0])) * voxel_ml, abs=0.006)
    assert told["strength"] == 0.5 and told["text"].startswith(
        "Adapted at 50% of the full strength, since it was asked"
    )
    assert told["agreement_before"] == pytest.approx(result.look.opinion.agreement, abs=1e-4)
    refused = dataclasses.replace(result, verdict=dataclasses.replace(result.verdict, accepted=False))
    assert "was not kept: it would have changed MYO" in refused.describe_adaptation()["text"]
    none = Segmenter(bundle, device="cpu").segment(volume)
    assert none.summarise()["adaptation"] is None
