"""An adapted network is kept only where nothing speaks against it; what speaks against it is said."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart

from confuda.app.job import Job
from confuda.app.run import run_job
from confuda.bundle.format import load_bundle
from confuda.imaging.stack import ShortAxisStack
from confuda.inference.acceptance import (
    Opinion,
    form_opinion,
    judge_adaptation,
    measure_anatomy,
    measure_entropy,
    measure_loss_rise,
    measure_voxel_ml,
)
from confuda.inference.prediction import Predictor

STEADY = [{"total": 1.0, "source": 0.5, "stylised": 0.5}] * 6


def make_opinion(labels: np.ndarray, **changed) -> Opinion:
    """What a network that is sure of ``labels`` (S, H, W) says."""
    soft = np.eye(4, dtype=np.float32)[labels].transpose(3, 0, 1, 2)
    return dataclasses.replace(Opinion(soft, 0.9, 0.2, voxel_ml=0.018), **changed)


@pytest.fixture(scope="module")
def labels():
    return sitk.GetArrayFromImage(make_heart()[1])


def test_what_is_as_good_as_before_is_kept(labels) -> None:
    better = make_opinion(np.roll(labels, 1, axis=2), agreement=0.95, entropy=0.1)
    assert judge_adaptation(make_opinion(labels), better, STEADY) == (True, "")


def without(labels: np.ndarray, structure: int) -> np.ndarray:
    return np.where(labels == structure, 0, labels)


def grow(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 0, 3, labels)


def leave_ring(labels: np.ndarray) -> np.ndarray:
    """The blood pool slides half its width out of the muscle."""
    moved = np.where(labels == 2, 1, labels)
    moved[np.roll(labels == 2, 20, axis=2)] = 2
    return moved


def scatter(labels: np.ndarray) -> np.ndarray:
    """Every second slice is somewhere else."""
    scattered = labels.copy()
    scattered[::2] = np.roll(labels[::2], 15, axis=1)
    return scattered


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda labels: make_opinion(labels, agreement=0.7), "agrees less"),
        (lambda labels: make_opinion(labels, entropy=0.9), "less sure"),
        (lambda labels: make_opinion(without(labels, 3)), "RV shrank"),
        (lambda labels: make_opinion(np.zeros_like(labels)), "MYO shrank"),
        (lambda labels: make_opinion(grow(labels)), "RV grew"),
        (lambda labels: make_opinion(leave_ring(labels)), "ring of muscle"),
        (lambda labels: make_opinion(scatter(labels)), "neighbouring slices"),
        (lambda labels: make_opinion(labels, probabilities=np.full((4, *labels.shape), np.nan)), "no finite answer"),
    ],
)
def test_what_is_worse_than_before_is_refused_with_the_reason(labels, change, word) -> None:
    accepted, reason = judge_adaptation(make_opinion(labels), change(labels), STEADY)
    assert not accepted and word in reason


def test_the_comparison_is_with_the_source_network_and_with_nothing_else(labels) -> None:
    """Odd hearts are segmented too: what the source network saw as oddly is no reason to refuse."""
    for odd in (make_opinion(leave_ring(labels)), make_opinion(scatter(labels)), make_opinion(without(labels, 3))):
        assert judge_adaptation(odd, odd, STEADY) == (True, "")
    unsure = make_opinion(labels, agreement=0.4, entropy=1.0)
    assert judge_adaptation(unsure, unsure, STEADY) == (True, "")


def test_losses_that_grow_or_are_none_are_a_reason(labels) -> None:
    opinion = make_opinion(labels)
    growing = [{"source": 0.2 * step, "stylised": 0.2 * step} for step in range(1, 10)]
    assert "grew" in judge_adaptation(opinion, opinion, growing)[1]
    assert judge_adaptation(opinion, opinion, growing[::-1]) == (True, "")
    assert "finite" in judge_adaptation(opinion, opinion, [*STEADY, {"source": float("nan")}])[1]


def test_the_rise_is_of_the_last_third_over_the_first_step() -> None:
    assert measure_loss_rise([{"source": value} for value in (1.0, 5.0, 9.0, 9.0, 3.0, 3.0)]) == pytest.approx(2)
    # What the target adds may grow while its terms ramp up; labelled images are what is known.
    assert measure_loss_rise([{"source": 2.0, "stylised": 1.0, "contrast": step} for step in range(9)]) == 0
    assert measure_loss_rise([]) == measure_loss_rise([{"total": 1.0}, {"total": 5.0}]) == 0


def test_a_volume_no_heart_can_have_is_refused_where_it_was_possible_before() -> None:
    few, many = np.zeros((2, 40, 40), int), np.zeros((2, 40, 40), int)
    few[:, 10:20, 10:20] = 1
    many[:, 5:23, 5:23] = 1
    small, large = make_opinion(few, voxel_ml=2.0), make_opinion(many, voxel_ml=2.0)
    assert "impossible volume" in judge_adaptation(small, large, STEADY)[1]
    assert judge_adaptation(large, large, STEADY) == (True, "")
    unknown = [dataclasses.replace(opinion, voxel_ml=None) for opinion in (small, large)]
    assert judge_adaptation(*unknown, STEADY) == (True, "")


def test_enclosure_is_the_share_of_the_pools_outline_that_touches_muscle() -> None:
    ring = np.zeros((1, 20, 20), int)
    ring[0, 4:16, 4:16] = 1
    ring[0, 8:12, 8:12] = 2
    assert measure_anatomy(ring).enclosure == 1
    open_side = ring.copy()
    open_side[0, :8] = 0
    assert measure_anatomy(open_side).enclosure == pytest.approx(0.75)
    assert measure_anatomy(np.where(ring == 2, 0, ring)).enclosure == 0


def test_continuity_is_the_dice_of_neighbouring_slices_that_both_show_a_structure() -> None:
    labels = np.zeros((4, 20, 20), int)
    labels[1, 5:10, 5:10] = labels[2, 5:10, 5:10] = 2
    assert measure_anatomy(labels).continuity == 1
    labels[2] = np.roll(labels[1], 5, axis=0)
    assert measure_anatomy(labels).continuity == 0
    assert measure_anatomy(labels[:2]).continuity is None


def test_entropy_is_measured_where_the_heart_is() -> None:
    soft = np.zeros((4, 1, 4, 4), np.float32)
    soft[0] = 1
    assert measure_entropy(soft) == 0
    soft[:, 0, 0, 0] = 0, 0.5, 0.5, 0
    assert measure_entropy(soft) == pytest.approx(0.5, abs=1e-6)


def test_the_volume_of_a_voxel_is_that_of_the_slices_looked_at(heart) -> None:
    stack = ShortAxisStack(sitk.PermuteAxes(heart[0], (2, 0, 1)), 1.5)
    assert measure_voxel_ml(stack.crop(size=64)) == pytest.approx(1.5 * 1.5 * 8.0 / 1000)


def test_a_network_on_toy_hearts_has_an_opinion_of_all_kinds(heart, small_bundle_folder) -> None:
    bundle = load_bundle(small_bundle_folder)
    crop = ShortAxisStack(heart[0], 1.5).crop((43, 50), 64)
    predictor = Predictor(bundle.segmenter, bundle.class_weights)
    opinion = form_opinion(predictor, crop.slices, voxel_ml=measure_voxel_ml(crop))
    assert 0.5 < opinion.agreement <= 1 and 0 < opinion.entropy < 1
    anatomy = measure_anatomy(opinion.probabilities.argmax(axis=0))
    assert anatomy.enclosure > 0.5 and anatomy.continuity > 0.5


def test_an_adaptation_that_runs_away_gives_the_source_networks_labels_and_says_so(
    heart, small_bundle_folder, tmp_path
) -> None:
    sitk.WriteImage(heart[0], str(tmp_path / "heart.nrrd"))
    plain = Job(tmp_path / "heart.nrrd", tmp_path / "none.nrrd", method="none", bundle=small_bundle_folder)
    wild = dataclasses.replace(
        plain, output=tmp_path / "wild.nrrd", method="confuda", settings={"steps": 8, "learning_rate": 1.0}
    )
    run_job(plain)
    summary = run_job(wild)
    assert summary["accepted"] is False
    assert any("was not kept, since" in warning for warning in summary["warnings"])
    none, given = (sitk.GetArrayFromImage(sitk.ReadImage(str(job.output))) for job in (plain, wild))
    np.testing.assert_array_equal(none, given)
