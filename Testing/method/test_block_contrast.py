"""The block contrast of BlockCL: its definition, what it pulls together, and the frame that it compares in."""

import dataclasses
import math

import pytest
import torch
from Testing.method.toy_adaptation import TINY, take_step_of_views
from torch.nn import functional

from confuda.imaging.random_geometry import warp
from confuda.losses.blocks import contrast_blocks


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
    copy = warp(features, views.motion.repeat_interleave(4, 0))

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
