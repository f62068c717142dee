"""Every system of the paper's table 1 as a method: its own terms, its signs, what it learns on a toy shift."""

import dataclasses
import functools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn
from torch.nn import functional

from confuda.adaptation.loop import Adaptation, adapt
from confuda.adaptation.methods import METHOD_CLASSES
from confuda.adaptation.methods.ablation import ABLATIONS
from confuda.adaptation.methods.base import ViewOutput, Views
from confuda.adaptation.settings import METHODS, AdaptationSettings, make_settings
from confuda.app.cli import main
from confuda.bundle.format import load_bundle
from confuda.imaging.augmentation import warp
from confuda.imaging.stack import ShortAxisStack
from confuda.inference.prediction import clean_up, predict_probabilities
from confuda.losses.adversarial import compute_domain_loss, compute_information_maps, compute_softmax_maps
from confuda.losses.blocks import contrast_blocks
from confuda.losses.centroids import SourceBank
from confuda.networks.discriminator import Discriminator
from confuda.networks.drunet import DRUNet

CPU = torch.device("cpu")
DEVELOPERS = Path(__file__).resolve().parents[2] / "docs" / "developers.md"
ADAPTING = [name for name in METHOD_CLASSES if name != "source"]
ADVERSARIAL = ["adaptseg", "advent"]

TINY = AdaptationSettings(steps=2, source_batch=2, target_batch=2, discriminator_width=4, warmup_share=0.0)
"""Enough to run every line of a method once or twice."""


@pytest.fixture(scope="module")
def bundle(small_bundle_folder):
    return load_bundle(small_bundle_folder)


@pytest.fixture(scope="module")
def plain(heart):
    """The toy heart as the source network knows it, slices (S, 64, 64) in [0, 1], and its truth."""
    image, truth = heart
    stack = ShortAxisStack(image, 1.5)
    crop = stack.crop((43, 50), 64)
    return crop.slices, crop.cut(stack.resample_labels(truth))


@pytest.fixture(scope="module")
def dim(plain):
    """A shift of contrast: dark tissue darker still, the right ventricle darkest of all."""
    slices, labels = plain
    return np.clip(0.7 * slices**2 - 0.1 * (labels == 3), 0, 1).astype(np.float32), labels


@pytest.fixture(scope="module")
def noisy(plain):
    """A shift of noise: the network is unsure and its maps are torn."""
    slices, labels = plain
    noise = np.random.default_rng(0).normal(0, 0.3, slices.shape)
    return np.clip(slices + noise, 0, 1).astype(np.float32), labels


def take_step_of_views(bundle, slices, method, settings=TINY, steps=1):
    """A method and the views that the last of some steps of the loop gives it, with their graph to the network."""
    adaptation = Adaptation(bundle, slices, method, settings, CPU, 0)
    seen = []
    compute_terms = adaptation.method.compute_terms
    adaptation.method.compute_terms = lambda views: seen.append(views) or compute_terms(views)
    adaptation._look_at_target()
    for step in range(steps):
        adaptation._take_step(step)
    return adaptation, seen[-1]


# The names, the interface


def test_names_on_the_command_line_are_the_methods() -> None:
    assert set(METHODS) == {*METHOD_CLASSES, "none"} and len(METHODS) == len(set(METHODS))


@pytest.mark.parametrize("method", ["advent", "blockcl", "source"])
def test_command_line_runs_it(small_bundle_folder, heart, tmp_path, method) -> None:
    volume, output = tmp_path / "heart.nrrd", tmp_path / "heart.seg.nrrd"
    sitk.WriteImage(heart[0], str(volume))
    options = ["--method", method, "--bundle", str(small_bundle_folder), "--center", "50,43", "--device", "cpu"]
    options += ["--set", "steps=1", "--set", "discriminator_width=4"]
    assert main(["adapt", str(volume), "-o", str(output), *options]) == 0
    assert output.is_file()


@pytest.mark.parametrize("method", list(METHOD_CLASSES))
def test_one_slice_and_group_normalisation_are_enough(bundle, dim, method) -> None:
    description = {**bundle.description, "segmenter": {"width": 8, "normalisation": "group"}}
    other = dataclasses.replace(
        bundle, description=description, segmenter=DRUNet(width=8, normalisation="group"), bank=SourceBank(4, 8)
    )
    result = adapt(other, dim[0][2:3], method, dataclasses.replace(TINY, target_batch=1), CPU)
    assert all(math.isfinite(value) for step in result.losses for value in step.values())


def test_all_methods_see_the_same_images_at_the_same_seed(bundle, dim) -> None:
    """In the second step too, after all that a method draws for itself: nothing but the method differs."""
    seen = {name: take_step_of_views(bundle, dim[0], name, steps=2)[1] for name in METHOD_CLASSES}
    for views in seen.values():
        assert torch.equal(views.labels, seen["source"].labels)
        if len(views.motion):
            assert torch.equal(views.motion, seen["blockcl"].motion)


@pytest.mark.parametrize("method", list(METHOD_CLASSES))
def test_kinds_not_asked_for_are_empty(bundle, dim, method) -> None:
    _, views = take_step_of_views(bundle, dim[0], method)
    kind = METHOD_CLASSES[method]
    assert len(views.source.logits) == 2
    assert len(views.stylised.logits) == 2 * kind.uses_style
    assert len(views.target.logits) == len(views.augmented.logits) == len(views.motion) == 2 * kind.uses_target


# The control


def test_source_uses_no_target_image(bundle, dim) -> None:
    settings = dataclasses.replace(TINY, lambda_self=1.0)
    other = np.full((1, 64, 64), np.nan, dtype=np.float32)
    one, two = (adapt(bundle, slices, "source", settings, CPU) for slices in (dim[0], other))
    assert one.losses == two.losses and set(one.losses[0]) == {"total", "source"}
    weights = two.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.network.state_dict().items())


@pytest.mark.parametrize("method", ADAPTING)
def test_every_other_method_uses_it(bundle, dim, method) -> None:
    # At the published weight, 1e-3, a game of so few steps is lost in rounding.
    settings = dataclasses.replace(TINY, learning_rate=1e-2, lambda_adversarial=1.0)
    one, two = (
        adapt(bundle, slices, method, settings, CPU).network.classifier.weight for slices in (dim[0], 1 - dim[0])
    )
    assert not torch.equal(one, two)


# The ablation


def test_each_row_of_the_ablation_adds_one_part(bundle, dim) -> None:
    last = {}
    for row, (method, overrides) in ABLATIONS.items():
        settings = make_settings("fast", {**dataclasses.asdict(TINY), "partitions": 4, **overrides})
        adaptation, views = take_step_of_views(bundle, dim[0], method, settings)
        last[row] = {**adaptation.method.compute_terms(views), "partitions": settings.partitions}
    assert list(last) == ["FUDA", "+ CCL", "+ CNR", "+ MPCCL"]
    fuda, ccl, cnr, mpccl = last.values()
    assert "contrast" not in fuda and "norm" not in fuda
    assert ccl["contrast"] != 0 and ccl["norm"] == 0 and ccl["partitions"] == 1
    assert cnr["norm"] != 0 and cnr["partitions"] == 1
    assert mpccl["norm"] != 0 and mpccl["partitions"] == 4


# The adversarial game


def make_game(bundle, slices, method, **changes):
    """An adversarial method whose discriminator has learned a little, on the views of one step."""
    settings = dataclasses.replace(TINY, discriminator_rate=1e-3, **changes)
    adaptation, views = take_step_of_views(bundle, slices, method, settings)
    for _ in range(10):
        adaptation.method.update_own_networks(views.detach())
    return adaptation, views


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_segmenters_step_makes_target_maps_look_like_source(bundle, dim, method) -> None:
    adaptation, _ = make_game(bundle, dim[0], method, lambda_adversarial=1.0)
    network, game = adaptation.network, adaptation.method
    images = torch.from_numpy(dim[0])[:, None]

    def look() -> Views:
        output = ViewOutput(network.encode(images)[-1], network.features(images), network(images))
        return Views(torch.zeros(0), output, output, output, output, torch.zeros(0), 0.0)

    def judge() -> float:
        with torch.no_grad():
            return float(game.discriminator(game.make_maps(network(images))).mean())

    before = judge()
    game.optimizer.zero_grad(set_to_none=True)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    optimizer.zero_grad()
    terms = game.compute_terms(look())
    assert list(terms) == ["adversarial"] and terms["adversarial"] > 0
    terms["adversarial"].backward()
    assert all(parameter.grad is None for parameter in game.discriminator.parameters())
    optimizer.step()
    assert judge() > before


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_discriminators_step_lowers_its_loss_and_leaves_the_segmenter_alone(bundle, dim, method) -> None:
    adaptation, views = take_step_of_views(bundle, dim[0], method)
    adaptation.optimizer.zero_grad()
    before = {name: value.clone() for name, value in adaptation.network.state_dict().items()}
    game, sides = adaptation.method, (views.source, views.augmented)

    @torch.no_grad()
    def tell_apart() -> float:
        """How much more the discriminator takes the source for the source than the target's copy."""
        source, target = (game.discriminator(game.make_maps(side.logits.detach())).mean() for side in sides)
        return float(source - target)

    began = tell_apart()
    losses = [game.update_own_networks(views.detach())["discriminator"] for _ in range(10)]
    assert losses[-1] < losses[0]
    assert tell_apart() > began
    assert not losses[0].requires_grad
    assert all(parameter.grad is None for parameter in adaptation.network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in adaptation.network.state_dict().items())


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_discriminator_learns_in_the_loop_and_its_rate_decays(bundle, dim, method) -> None:
    adaptation = Adaptation(bundle, dim[0], method, dataclasses.replace(TINY, steps=4), CPU, 0)
    before = {name: value.clone() for name, value in adaptation.method.networks.state_dict().items()}
    result = adaptation.run()
    after = adaptation.method.networks.state_dict()
    assert before and all(not torch.equal(value, after[name]) for name, value in before.items())
    assert "discriminator" in result.losses[-1]
    terms = [value for name, value in result.losses[-1].items() if name not in ("total", "discriminator")]
    assert result.losses[-1]["total"] == pytest.approx(sum(terms), rel=1e-5)
    rate = adaptation.method.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(TINY.discriminator_rate * 0.25**0.9)


def test_discriminator_is_the_published_one() -> None:
    convolutions = [layer for layer in Discriminator(4).modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 512, 1]
    assert all(layer.kernel_size == (4, 4) and layer.stride == (2, 2) for layer in convolutions)
    assert Discriminator(4, width=2)(torch.zeros(3, 4, 128, 64)).shape == (3, 1, 4, 2)


def test_domain_loss_is_small_for_right_answers() -> None:
    sure = torch.full((2, 1, 2, 2), 20.0)
    assert compute_domain_loss(sure, from_source=True) < 1e-6 < 10 < compute_domain_loss(sure, from_source=False)
    assert compute_domain_loss(torch.zeros(1, 1, 2, 2), from_source=True) == pytest.approx(math.log(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_information_is_nothing_for_certainty_and_one_for_ignorance(dtype) -> None:
    certain = 1e4 * functional.one_hot(torch.arange(4), 4).to(dtype).reshape(1, 4, 2, 2)
    certain.requires_grad_()
    maps = compute_information_maps(certain)
    assert maps.dtype == torch.float32 and torch.all(maps == 0)
    maps.sum().backward()
    assert torch.isfinite(certain.grad).all()
    ignorant = compute_information_maps(torch.zeros(1, 4, 2, 2, dtype=dtype))
    torch.testing.assert_close(ignorant.sum(dim=1), torch.ones(1, 2, 2))


def test_information_is_minus_p_log_p_over_log_k() -> None:
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    p = compute_softmax_maps(logits)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(2, 4, 5, dtype=torch.float64))
    torch.testing.assert_close(compute_information_maps(logits), -p * p.log() / math.log(3))


# The block contrast


def make_features(height=7, width=10, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, 3, height, width, dtype=dtype, generator=generator) for _ in range(2))


def everywhere(features):
    return torch.ones_like(features[:, 0], dtype=torch.bool)


def contrast_in_loops(features, counterparts, inside, size, temperature):
    """The definition written out, one exponential at a time."""

    def h(u, v):
        return math.exp(float(u @ v) / float(u.norm()) / float(v.norm()) / temperature)

    blocks = []
    for image in range(len(features)):
        for top in range(0, features.shape[2], size):
            for left in range(0, features.shape[3], size):
                places = [
                    (row, column)
                    for row in range(top, min(top + size, features.shape[2]))
                    for column in range(left, min(left + size, features.shape[3]))
                    if inside[image, row, column]
                ]
                losses = []
                for one, other in ((features[image], counterparts[image]), (counterparts[image], features[image])):
                    for row, column in places if len(places) > 1 else []:
                        anchor = one[:, row, column]
                        positive = h(anchor, other[:, row, column])
                        others = [place for place in places if place != (row, column)]
                        negatives = [h(anchor, view[:, r, c]) for r, c in others for view in (one, other)]
                        losses.append(-math.log(positive / (positive + sum(negatives))))
                blocks += [sum(losses) / len(losses)] if losses else []
    return sum(blocks) / len(blocks)


@pytest.mark.parametrize("size", [1, 3, 4, 16])
def test_block_contrast_of_written_out_loops(size) -> None:
    features, counterparts = make_features(5, 7)
    inside = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(2)) < 0.7
    loss = contrast_blocks(features, counterparts, inside, size, 0.5)
    expected = contrast_in_loops(features, counterparts, inside, size, 0.5) if size > 1 else 0.0
    assert float(loss) == pytest.approx(expected)


def test_aligned_features_cost_less_than_shuffled_ones() -> None:
    features, _ = make_features(8, 8)
    shuffled = features.flatten(2)[:, :, torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    aligned = contrast_blocks(features, features, everywhere(features), 4, 0.1)
    assert aligned < contrast_blocks(features, shuffled.reshape(features.shape), everywhere(features), 4, 0.1) - 1


def test_descent_on_the_block_contrast_makes_positives_alike() -> None:
    features, counterparts = make_features(8, 8)
    features.requires_grad_()

    def measure_similarity() -> float:
        return functional.cosine_similarity(features, counterparts).mean().item()

    before = measure_similarity()
    optimizer = torch.optim.SGD([features], 10.0)
    for _ in range(20):
        optimizer.zero_grad()
        contrast_blocks(features, counterparts, everywhere(features), 4, 0.5).backward()
        optimizer.step()
    assert measure_similarity() > before + 0.2


def test_pixels_outside_have_no_influence() -> None:
    features, counterparts = make_features(8, 8)
    inside = everywhere(features)
    inside[:, :, 5:] = False
    other = torch.where(inside.unsqueeze(1), counterparts, 7.0).requires_grad_()
    loss = contrast_blocks(features, other, inside, 4, 0.5)
    torch.testing.assert_close(loss, contrast_blocks(features, counterparts, inside, 4, 0.5))
    loss.backward()
    assert torch.all(other.grad[:, :, :, 5:] == 0) and other.grad.isfinite().all() and other.grad.abs().sum() > 0


def test_nothing_inside_costs_nothing() -> None:
    features, counterparts = make_features()
    features.requires_grad_()
    loss = contrast_blocks(features, counterparts, ~everywhere(features), 4, 0.5)
    loss.backward()
    assert loss == 0 and torch.all(features.grad == 0)


def test_block_contrast_is_computed_in_single_precision() -> None:
    features, counterparts = make_features(dtype=torch.float32)
    outside = contrast_blocks(features, counterparts, everywhere(features), 4, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrast_blocks(features, counterparts, everywhere(features), 4, 0.1) == outside
    half = contrast_blocks(features.bfloat16(), counterparts.bfloat16(), everywhere(features), 4, 0.1)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, outside, rtol=0.05, atol=0)


def test_block_contrast_refuses_what_does_not_fit() -> None:
    features, counterparts = make_features()
    for arguments in (
        (features, counterparts[:, :2], everywhere(features), 4, 0.5),
        (features, counterparts, everywhere(features)[:, 1:], 4, 0.5),
        (features, counterparts, everywhere(features), 0, 0.5),
        (features, counterparts, everywhere(features), 4, 0.0),
    ):
        with pytest.raises(ValueError):
            contrast_blocks(*arguments)


@pytest.mark.parametrize("stride", [1, 2])
def test_blockcl_brings_the_copy_back_into_the_targets_frame(bundle, dim, stride) -> None:
    settings = dataclasses.replace(TINY, target_batch=3, block_stride=stride, temperature=0.1)
    adaptation, views = take_step_of_views(bundle, dim[0], "blockcl", settings)
    position = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"))
    features = torch.cat([position, 64 - position])[None].repeat(3, 1, 1, 1)
    copy = warp(features, None, views.motion)[0]

    def compute_term(motion) -> float:
        target = views.target._replace(features=features)
        augmented = views.augmented._replace(features=copy)
        return float(
            adaptation.method.compute_terms(
                dataclasses.replace(views, target=target, augmented=augmented, motion=motion)
            )["blocks"]
        )

    assert compute_term(views.motion) < 0.9 * compute_term(views.motion.roll(1, 0))


def test_the_loop_tells_how_it_moved_the_copy(bundle, dim) -> None:
    """The network's own features of target and copy agree best where the grid of the views says so."""
    settings = dataclasses.replace(TINY, target_batch=6)
    adaptation, views = take_step_of_views(bundle, dim[0], "blockcl", settings)
    right, wrong = (
        adaptation.method.compute_terms(dataclasses.replace(views, motion=motion))["blocks"].item()
        for motion in (views.motion, views.motion.roll(1, 0))
    )
    assert right < wrong


# What they learn


@pytest.mark.parametrize("method", ADAPTING)
def test_descent_on_a_methods_own_terms_lowers_them(bundle, dim, method) -> None:
    """On the same images, without the segmentation loss; in a game, against a discriminator that stays as it is."""
    if method in ADVERSARIAL:
        adaptation, views = make_game(bundle, dim[0], method, lambda_adversarial=1.0)
    else:
        adaptation, views = take_step_of_views(bundle, dim[0], method)
    source, labels = adaptation._draw_source()
    target, augmented, motion, *_ = adaptation._draw_target()
    stylised = adaptation._stylise(source, labels, adaptation.epsilon).detach()
    optimizer = torch.optim.SGD(adaptation.network.parameters(), 1e-3)
    costs = []
    for _ in range(6):
        outputs = adaptation._look([source, stylised, target, augmented])
        terms = adaptation.method.compute_terms(Views(labels, *outputs, motion=motion, progress=1.0))
        cost = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        cost.backward()
        nn.utils.clip_grad_norm_(adaptation.network.parameters(), 1.0)
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < costs[0]


def measure_dice(network, slices, labels) -> float:
    predicted = clean_up(predict_probabilities(network, slices)).argmax(axis=0)
    both = [
        2 * ((predicted == k) & (labels == k)).sum() / ((predicted == k).sum() + (labels == k).sum()) for k in (1, 2, 3)
    ]
    return float(np.mean(both))


TOY = AdaptationSettings(
    steps=60,
    learning_rate=3e-3,
    average_decay=0.9,
    source_batch=3,
    randomise_source=False,
    warmup_share=0.5,
    block_size=8,
    lambda_adversarial=0.3,
    discriminator_rate=1e-2,
    discriminator_width=8,
)
"""Big steps, since there is time for 60 only. The published weight and rate of the games, 1e-3 and 1e-4, are made for
tens of thousands: in 60 the discriminator would not leave its guess, and nothing would be learned or tested."""


@pytest.fixture(scope="module")
def control(bundle):
    """The network after as many steps on source images alone, by seed. It knows no target, so one serves all."""
    nothing = np.zeros((1, 64, 64), np.float32)
    return functools.lru_cache(None)(lambda seed: adapt(bundle, nothing, "source", TOY, CPU, seed).network)


def compare_with_control(bundle, control, method, settings, shifted, seeds) -> float:
    """How much better in mean Dice the method is than the control, mean over ``seeds``; its losses must go down."""
    gains = []
    for seed in seeds:
        result = adapt(bundle, shifted[0], method, settings, CPU, seed)
        assert result.losses[-1]["source"] < result.losses[0]["source"]
        gains.append(measure_dice(result.network, *shifted) - measure_dice(control(seed), *shifted))
    return float(np.mean(gains))


@pytest.mark.parametrize("method", ["fuda", "confuda"])
def test_style_helps_against_a_shift_of_contrast(bundle, control, dim, method) -> None:
    """Tissue style does: the toy bundle's RAIN is untrained. Half the control's steps are enough."""
    settings = dataclasses.replace(TOY, steps=30)
    assert compare_with_control(bundle, control, method, settings, dim, seeds=[0]) > 0.03


def test_blocks_help_against_noise(bundle, control, noisy) -> None:
    """The copy is as noisy in another way: features that agree are features without the noise."""
    assert compare_with_control(bundle, control, "blockcl", TOY, noisy, seeds=[0]) > 0.02


@pytest.mark.parametrize("method, seeds", [("adaptseg", 4), ("advent", 2)])
def test_games_help_against_noise(bundle, control, noisy, method, seeds) -> None:
    """Torn and unsure maps are what a discriminator sees best. Several seeds, since a game this short is a gamble."""
    assert compare_with_control(bundle, control, method, TOY, noisy, seeds=range(seeds)) > 0


# A new method, as the developers' document has it


def read_example() -> str:
    section = re.search(
        r"^## A new method\n(.*?)^## ", DEVELOPERS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return re.search(r"^```python\n(.*?)^```", section.group(1), re.DOTALL | re.MULTILINE).group(1)


def test_method_of_the_documentation_runs_as_it_stands(bundle, dim, monkeypatch) -> None:
    monkeypatch.setitem(METHOD_CLASSES, "entropy", None)
    exec(compile(read_example(), str(DEVELOPERS), "exec"), {"__name__": "entropy"})
    # Twenty steps are few: the term counts more here, so that what it does stands out from chance.
    monkeypatch.setattr(METHOD_CLASSES["entropy"], "weight", 5.0)
    settings = AdaptationSettings(steps=20, source_batch=2, learning_rate=3e-3, average_decay=0.0, tissue_share=0.0)
    adapted, control = (adapt(bundle, dim[0], method, settings, CPU) for method in ("entropy", "source"))
    assert all(math.isfinite(step["entropy"]) for step in adapted.losses)

    def measure_entropy(network) -> float:
        p = predict_probabilities(network, dim[0])
        return float(-(p * np.log(np.maximum(p, 1e-12))).sum(axis=0).mean())

    assert measure_entropy(adapted.network) < measure_entropy(control.network)
