"""The adversarial game of AdaptSeg and AdvEnt: what the discriminator sees, and who is moved by whom."""

import dataclasses
import math

import pytest
import torch
from Testing.method.toy_adaptation import ADVERSARIAL, CPU, STEP, TINY, make_game, take_step_of_views
from torch import nn
from torch.nn import functional

from confuda.adaptation.loop import Adaptation
from confuda.adaptation.methods.base import ViewOutput, Views
from confuda.losses.adversarial import compute_domain_loss, compute_information_maps, compute_softmax_maps
from confuda.networks.discriminator import Discriminator


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_segmenters_step_makes_target_maps_look_like_source(bundle, dim, method) -> None:
    adaptation, _ = make_game(bundle, dim[0], method, lambda_adversarial=1.0)
    network, game = adaptation.network, adaptation.method
    images = torch.from_numpy(dim[0])[:, None]

    def look() -> Views:
        output = ViewOutput(network.encode(images)[-1], network.features(images), network(images))
        return Views(torch.zeros(0), output, output, output, output, torch.zeros(0), 0.0)

    def judge() -> float:
        """What it costs to call the target's maps the source's."""
        with torch.no_grad():
            return float(compute_domain_loss(game.discriminator(game.make_maps(network(images))), from_source=True))

    before = judge()
    game.optimizer.zero_grad(set_to_none=True)
    adaptation.optimizer.zero_grad(set_to_none=True)
    terms = game.compute_terms(look())
    assert list(terms) == ["adversarial"] and terms["adversarial"] > 0
    terms["adversarial"].backward()
    assert all(parameter.grad is None for parameter in game.discriminator.parameters())
    moved = [parameter for parameter in network.parameters() if parameter.grad is not None]
    length = torch.stack([parameter.grad.norm() for parameter in moved]).norm()
    with torch.no_grad():
        for parameter in moved:
            parameter -= STEP * parameter.grad / length
    assert judge() < before


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_the_discriminator_sees_maps_of_source_and_copy(bundle, dim, method) -> None:
    """Not of the target itself, which the loop turns in no way: it would be known by the heart's pose."""
    adaptation, views = take_step_of_views(bundle, dim[0], method)
    game, seen = adaptation.method, []
    game.discriminator.register_forward_hook(lambda module, maps, scores: seen.append(maps[0].detach()))
    game.update_own_networks(views.detach())
    game.compute_terms(views)
    source, copy = (game.make_maps(side.logits).detach() for side in (views.source, views.augmented))
    assert [torch.equal(*pair) for pair in zip(seen, (source, copy, copy))] == [True] * 3


def test_doubt_is_what_the_information_maps_show(bundle, plain, noisy) -> None:
    maps = [compute_information_maps(bundle.segmenter(torch.from_numpy(part[0])[:, None])) for part in (plain, noisy)]
    assert maps[1].mean() > 1.5 * maps[0].mean()


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
