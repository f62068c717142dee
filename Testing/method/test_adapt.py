"""Adaptation on a toy heart whose contrast is turned over: what it must reach, keep and leave alone."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from confuda.adaptation.loop import Adaptation, draw_streams
from confuda.adaptation.runs import adapt
from confuda.adaptation.settings import PRESETS, AdaptationSettings, make_settings
from confuda.adaptation.styles import TissueStyle
from confuda.errors import Cancelled, UsageError
from confuda.imaging.random_settings import Dice
from confuda.imaging.stack import ShortAxisStack
from confuda.inference.acceptance import Opinion, form_opinion, judge_adaptation
from confuda.inference.heart import find_heart
from confuda.inference.prediction import (
    ALL_VIEWS,
    Predictor,
    clean_up,
    consult_neighbours,
    measure_agreement,
    weigh_classes,
)
from confuda.losses.segmentation import compute_segmentation_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shifted(heart):
    """The toy heart with a right ventricle nearly as dark as muscle: a shift that hurts the source network. And its
    truth."""
    image, truth = heart
    stack = ShortAxisStack(image, 1.5)
    crop = stack.crop((43, 50), 64)
    labels = crop.cut(stack.resample_labels(truth))
    slices = np.clip(0.1 + 0.8 * crop.slices - 0.2 * (labels == 3), 0, 1).astype(np.float32)
    return slices, labels


def measure_dice(network, slices, labels) -> float:
    predicted = clean_up(Predictor(network).predict(slices)).argmax(axis=0)
    both = [
        2 * ((predicted == k) & (labels == k)).sum() / ((predicted == k).sum() + (labels == k).sum()) for k in (1, 2, 3)
    ]
    return float(np.mean(both))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["confuda", "fuda"])
def test_adaptation_beats_the_source_network_under_a_shift(bundle, shifted, method) -> None:
    """On average over two seeds: single ones gained 0.05 Dice with a standard deviation of 0.016."""
    slices, labels = shifted
    before = measure_dice(bundle.segmenter, slices, labels)
    # The toy network is too small for random contrast on top of everything.
    settings = AdaptationSettings(steps=80, learning_rate=2e-3, randomise_source=False)
    results = [adapt(bundle, slices, method, settings, CPU, seed) for seed in (0, 1)]
    assert np.mean([measure_dice(result.network, slices, labels) for result in results]) > before
    assert all(np.isfinite(list(step.values())).all() for result in results for step in result.losses)


def test_every_term_of_the_paper_is_there(bundle, shifted) -> None:
    result = adapt(bundle, shifted[0], "confuda", AdaptationSettings(steps=3, warmup_share=0.0), CPU)
    assert {"source", "stylised", "consistency", "contrast", "norm"} <= set(result.losses[-1])
    assert all(result.losses[-1][name] != 0 for name in ("contrast", "norm"))


def test_the_bundle_itself_never_changes(bundle, shifted) -> None:
    before = {name: value.clone() for name, value in bundle.segmenter.state_dict().items()}
    bank = bundle.bank.vectors.clone()
    adapt(bundle, shifted[0][2:3], "confuda", AdaptationSettings(steps=3), CPU)
    assert all(torch.equal(value, before[name]) for name, value in bundle.segmenter.state_dict().items())
    assert torch.equal(bank, bundle.bank.vectors)


def test_same_seed_same_network_other_seed_another(bundle, shifted) -> None:
    settings = AdaptationSettings(steps=3)
    one, two, other = (
        adapt(bundle, shifted[0], "confuda", settings, CPU, seed).network.classifier.weight for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_runs_begin_anew_and_their_weights_are_averaged(bundle, shifted) -> None:
    told = []

    def report(step, total, losses, network) -> None:
        told.append((step, total))

    result = adapt(bundle, shifted[0], "confuda", AdaptationSettings(steps=5, runs=2), CPU, 3, report)
    alone = [
        Adaptation(bundle, shifted[0], "confuda", AdaptationSettings(steps=steps), CPU, 3, run).run()
        for run, steps in enumerate((3, 2))
    ]
    for name, value in result.network.state_dict().items():
        one, other = (part.network.state_dict()[name] for part in alone)
        if value.is_floating_point():
            torch.testing.assert_close(value, (one + other) / 2)
    assert not torch.equal(alone[0].network.classifier.weight, alone[1].network.classifier.weight)
    assert told == [(number, 5) for number in range(1, 6)] and result.steps == 5
    assert [len(part.losses) for part in (result, *alone)] == [3, 3, 2]
    one, other = (part.losses[1]["total"] for part in alone)
    assert result.losses[1]["total"] == pytest.approx((one + other) / 2)
    assert result.losses[2] == alone[0].losses[2]


def test_more_runs_than_steps_are_as_many_as_steps(bundle, shifted) -> None:
    networks = [
        adapt(bundle, shifted[0], "confuda", AdaptationSettings(steps=2, runs=runs), CPU).network for runs in (2, 50)
    ]
    assert torch.equal(*(network.classifier.weight for network in networks))


def test_epsilon_makes_the_very_images_of_its_step_harder(bundle, shifted) -> None:
    settings = AdaptationSettings(tissue_share=0.0, epsilon_step=0.01)
    adaptation = Adaptation(bundle, shifted[0], "fuda", settings, CPU, 0)
    images, labels = adaptation._draw_source()
    style = adaptation.stylist.choose_styles(images, labels).rain
    style = style._replace(code=style.code._replace(log_sigma=style.code.log_sigma + 1))

    def measure_loss(epsilon):
        return compute_segmentation_loss(bundle.segmenter(adaptation.stylist.draw(style, epsilon)), labels[:, 0])

    easy = adaptation.stylist.draw_epsilon(style)
    hard = adaptation.stylist.harden(style, easy, labels[:, 0], bundle.segmenter)
    assert measure_loss(hard) > measure_loss(easy)


def test_epsilon_stays_as_it_was_drawn_in_the_warm_up(bundle, shifted) -> None:
    settings = AdaptationSettings(steps=4, warmup_share=1.0, tissue_share=0.0)
    adaptation = Adaptation(bundle, shifted[0], "fuda", settings, CPU, 0)
    adaptation.stylist.harden = lambda *_: pytest.fail("eps moved during the warm-up")
    adaptation.run()


@pytest.mark.parametrize("seed", [2**63 - 1, 2**64 + 5, -1])
def test_any_whole_number_is_a_seed_of_its_own(bundle, shifted, seed) -> None:
    settings = AdaptationSettings(steps=1, runs=1)
    own, other = (adapt(bundle, shifted[0], "confuda", settings, CPU, s).losses for s in (seed, abs(seed) % 2**32))
    assert own != other


def test_a_report_that_cancels_stops_at_once(bundle, shifted) -> None:
    seen = []

    def report(step, total, losses, network) -> None:
        seen.append(step)
        if step == 2:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        adapt(bundle, shifted[0], "confuda", AdaptationSettings(steps=50), CPU, report=report)
    assert seen == [1, 2]


def test_tissue_style_gives_each_class_the_targets_intensities() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 8:24, 8:24] = 1
    labels[:, 12:20, 12:20] = 2
    noise = 0.02 * torch.rand(1, 1, 32, 32)
    source = 0.1 + 0.3 * (labels == 1).float()[:, None] + 0.8 * (labels == 2).float()[:, None] + noise
    target = 0.6 - 0.5 * (labels == 1).float() + 0.2 * (labels == 2).float() + noise[:, 0]
    probabilities = torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    style = TissueStyle(target, probabilities, 0.5, least_pixels=10)
    styled = style.apply(Dice(torch.Generator().manual_seed(0)), source, labels[:, None])
    inner = {0: (slice(0, 5), slice(0, 5)), 1: (slice(9, 11), slice(12, 20)), 2: (slice(14, 18), slice(14, 18))}
    for number, place in inner.items():
        wanted = target[0][place].mean()
        assert abs(styled[0, 0][place].mean() - wanted) < 0.13, number


def test_clean_up_keeps_one_heart_and_fills_holes() -> None:
    labels = np.zeros((3, 40, 40), int)
    labels[:, 10:30, 10:30] = 1
    labels[:, 14:26, 14:26] = 2
    labels[1, 20, 20] = 0
    labels[1, 2:4, 2:4] = 2
    cleaned = clean_up(np.eye(4)[labels].transpose(3, 0, 1, 2).astype(np.float32)).argmax(axis=0)
    assert cleaned[1, 20, 20] == 2
    assert not cleaned[1, 2:4, 2:4].any()
    assert (cleaned == 1).sum() == (labels == 1).sum()


def make_opinion(voxels: int, agreement: float) -> Opinion:
    probabilities = np.zeros((4, 1, 40, 40), np.float32)
    probabilities[0] = 0.5
    for label in (1, 2, 3):
        probabilities[label, 0, label * 10 : label * 10 + 5, :voxels] = 1
    return Opinion(probabilities, agreement)


@pytest.mark.parametrize(
    "adapted, losses, accepted",
    [
        (make_opinion(20, 0.9), [{"total": 1.0}], True),
        (make_opinion(20, 0.7), [{"total": 1.0}], False),
        (make_opinion(2, 0.9), [{"total": 1.0}], False),
        (make_opinion(20, 0.9), [{"total": float("nan")}], False),
    ],
)
def test_worse_networks_are_not_kept(adapted, losses, accepted) -> None:
    verdict, reason = judge_adaptation(make_opinion(20, 0.9), adapted, losses)
    assert verdict is accepted and bool(reason) is not accepted


def test_presets_and_overrides() -> None:
    assert PRESETS["paper"].lambda_contrast == 1 and PRESETS["paper"].lambda_norm == 0.5
    assert make_settings("fast", {"steps": 5, "temperature": 1}).steps == 5
    numpys = make_settings("fast", {"steps": np.int64(5), "temperature": np.float32(0.5)})
    assert numpys == make_settings("fast", {"steps": 5, "temperature": 0.5}) and type(numpys.steps) is int
    for overrides in (
        {"stepz": 5},
        {"steps": "many"},
        {"steps": 0},
        {"temperature": -1},
        {"lambda_norm": float("nan")},
    ):
        with pytest.raises(UsageError):
            make_settings("fast", overrides)
    with pytest.raises(UsageError, match="preset"):
        make_settings("quick", {})


def test_slower_presets_take_more_steps_in_more_runs() -> None:
    fast, balanced, thorough = (PRESETS[name] for name in ("fast", "balanced", "thorough"))
    assert fast.steps < balanced.steps < thorough.steps and fast.runs < balanced.runs < thorough.runs
    for preset in (fast, balanced, thorough):
        own = dataclasses.replace(preset, steps=1, runs=1, only_in_doubt=True)
        assert own == dataclasses.replace(fast, steps=1, runs=1), "they differ in nothing else that takes time"


def test_predictions_of_flips_are_turned_back(bundle, shifted) -> None:
    flipped = Predictor(bundle.segmenter).predict(shifted[0][:, ::-1].copy())[:, :, ::-1]
    np.testing.assert_allclose(Predictor(bundle.segmenter).predict(shifted[0]), flipped, atol=0.03)


def test_every_view_is_turned_back_to_the_same_frame() -> None:
    """A network that answers pixel by pixel says the same in every view, if each comes back as it went."""

    class Threshold(torch.nn.Module):
        channels = 1

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([-9.0, 9.0]))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images - 0.5) * self.weight[:, None, None]

    slices = np.random.default_rng(0).random((3, 12, 12)).astype(np.float32)
    views = list(Predictor(Threshold()).predict_views(slices, ALL_VIEWS))
    assert len(views) == 8
    for view in views:
        torch.testing.assert_close(view, views[0], atol=0.03, rtol=0)


def test_weights_of_classes_decide_where_the_network_doubts() -> None:
    unsure = np.array([0.1, 0.25, 0.65, 0.0], np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    weighted = weigh_classes(unsure, [1, 4, 1, 1])
    assert (unsure.argmax(axis=0) == 2).all() and (weighted.argmax(axis=0) == 1).all()
    np.testing.assert_allclose(weighted.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(weigh_classes(unsure, [1, 1, 1, 1]), unsure, rtol=1e-6)


def test_a_bundles_weights_reach_the_segmentation(bundle, shifted) -> None:
    plain = form_opinion(Predictor(bundle.segmenter, bundle.class_weights), shifted[0]).count_voxels()
    thicker = form_opinion(Predictor(bundle.segmenter, [1, 20, 1, 1]), shifted[0]).count_voxels()
    assert bundle.class_weights == [1, 1, 1, 1] and thicker["MYO"] > plain["MYO"]


def test_doubt_is_settled_by_the_neighbouring_slices_and_certainty_is_not() -> None:
    """Three slices; the middle one is unsure in its first pixel and sure in its second; the others say otherwise."""
    soft = np.zeros((4, 3, 1, 2), np.float32)
    soft[1] = 0.97
    soft[[0, 2, 3]] = 0.01
    soft[:, 1, 0, 0] = [0.4, 0.35, 0.15, 0.1]
    soft[:, 1, 0, 1] = [1.0, 0.0, 0.0, 0.0]
    near, far = consult_neighbours(soft, 5.0), consult_neighbours(soft, 500.0)
    assert soft[:, 1].argmax(axis=0).tolist() == [[0, 0]]
    assert near[:, 1].argmax(axis=0).tolist() == [[1, 0]] and far[:, 1].argmax(axis=0).tolist() == [[0, 0]]
    np.testing.assert_allclose(near.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(near[:, 1, 0, 1], soft[:, 1, 0, 1], atol=0.02)
    single = consult_neighbours(soft[:, 1:2], 5.0)
    assert single.argmax(axis=0).tolist() == soft[:, 1:2].argmax(axis=0).tolist()


def test_an_opinion_hears_the_distance_of_the_slices(bundle, shifted) -> None:
    apart = form_opinion(Predictor(bundle.segmenter, bundle.class_weights), shifted[0])
    close = form_opinion(Predictor(bundle.segmenter, bundle.class_weights), shifted[0], slice_distance_mm=5.0)
    distant = form_opinion(Predictor(bundle.segmenter, bundle.class_weights), shifted[0], slice_distance_mm=1e4)
    assert not np.array_equal(close.probabilities, apart.probabilities)
    assert distant.count_voxels() == apart.count_voxels()


def test_agreement_is_the_mean_dice_of_pairs() -> None:
    one, other = np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int)
    one[0, 0], other[0, 0, :2] = 1, 1
    assert measure_agreement([one, other]) == pytest.approx(2 * 2 / 6)
    assert measure_agreement([one, other], absent=0.0) == pytest.approx(2 * 2 / 6 / 3)
    assert measure_agreement([one * 0, one * 0]) == 0.0


def test_what_only_resembles_a_heart_is_not_taken_for_it(bundle, heart) -> None:
    """Beside the true heart, which is dim, lies a ring in full contrast without right ventricle: the stronger sight."""
    image, truth = heart
    voxels, labels = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(truth)
    ring = np.where(labels == 3, 60, voxels)
    dim = 60 + 0.6 * (voxels - 60)
    both = sitk.GetImageFromArray(np.concatenate([ring, dim], axis=2).astype(np.float32))
    both.SetSpacing(image.GetSpacing())
    found = find_heart(Predictor(bundle.segmenter), ShortAxisStack(both, 1.5), 64)
    assert found is not None
    assert np.hypot(found.center[0] - 0.45 * 96, found.center[1] - (96 + 0.55 * 96)) < 15


def test_a_second_heart_is_a_rival_and_a_heart_alone_has_none(bundle, heart) -> None:
    image, _ = heart
    voxels = sitk.GetArrayFromImage(image)
    for shown, rival in (([voxels], 0.0), ([voxels, voxels], 1.0)):
        side_by_side = sitk.GetImageFromArray(np.concatenate(shown, axis=2))
        side_by_side.SetSpacing(image.GetSpacing())
        found = find_heart(Predictor(bundle.segmenter), ShortAxisStack(side_by_side, 1.5), 64)
        assert found is not None and found.rival == pytest.approx(rival, abs=0.1)


def test_an_empty_answer_stays_empty() -> None:
    nothing = np.zeros((4, 2, 16, 16), np.float32)
    nothing[0] = 1
    np.testing.assert_array_equal(clean_up(nothing), nothing)


def test_a_seed_of_numpys_draws_what_pythons_does() -> None:
    assert draw_streams(np.uint8(200), 0, 2) == draw_streams(200, 0, 2)
    assert draw_streams(np.int32(2**31 - 1), 1, 2) == draw_streams(2**31 - 1, 1, 2)
