"""Equation (2) and the centroid norm regulariser: hand-computed values, gradients, absent classes, odd precision."""

import math

import pytest
import torch
from Testing.method.toy_features import HALF_TYPES, all_of, contrast_in_loops, make_vectors, seeded

from confuda.losses.contrastive import (
    centroid_norm_regulariser,
    compute_norms,
    contrast,
)


def test_contrast_of_hand_computed_centroids():
    # Two classes, orthogonal and aligned: each anchor has a positive of cosine 1 and two negatives of cosine 0, so the
    # term is -ln(e^1 / (e^0 + e^0)) = ln 2 - 1, twice. With the positive in the denominator: ln(e + 2) - 1, twice.
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    source = torch.tensor([[5.0, 0.0], [0.0, 0.1]])
    present = torch.tensor([True, True])
    loss = contrast(target, source, present, present, 1.0)
    assert loss.item() == pytest.approx(2 * math.log(2) - 2, abs=1e-6)
    assert contrast(target, source, present, present, 1.0, True).item() == pytest.approx(
        2 * math.log(math.e + 2) - 2, abs=1e-6
    )
    # At tau = 1/2 the positive is e^2: ln 2 - 2, twice; the mean over the two classes is half of the sum.
    assert contrast(target, source, present, present, 0.5).item() == pytest.approx(2 * math.log(2) - 4, abs=1e-6)
    mean = contrast(target, source, present, present, 0.5, reduction="mean")
    assert mean.item() == pytest.approx(math.log(2) - 2, abs=1e-6)


def test_contrast_sums_negatives_over_both_domains():
    # Anchors (1, 0), (0, 1); positives (0.6, 0.8), (-0.8, 0.6). tau = 1.
    # k = 1: positive 0.6; negatives: source's class 2 has cosine -0.8, target's class 2 has 0.
    # k = 2: positive 0.6; negatives: source's class 1 has cosine 0.8, target's class 1 has 0.
    # Loss: ln(e^-0.8 + 1) - 0.6 + ln(e^0.8 + 1) - 0.6 = 0.371101 + 1.171101 - 1.2 = 0.342202.
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    source = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    loss = contrast(target, source, all_of(target), all_of(source), 1.0)
    assert loss.item() == pytest.approx(0.342202, abs=2e-6)


@pytest.mark.parametrize("positive_in_denominator", [False, True])
@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0, 10.0])
def test_contrast_is_equation_two(temperature, positive_in_denominator):
    target, source = make_vectors(4, 3), make_vectors(4, 3, seed=1)
    loss = contrast(target, source, all_of(target), all_of(source), temperature, positive_in_denominator)
    expected = contrast_in_loops(target, source, [True] * 4, temperature, positive_in_denominator)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_contrast_of_many_centroid_sets_is_each_set_on_its_own():
    many, one = make_vectors(6, 4, 3), make_vectors(4, 3, seed=1)
    present = torch.rand(6, 4, generator=seeded(2)) > 0.4
    as_anchors = contrast(many, one, present, all_of(one), 0.5)
    as_positives = contrast(one, many, all_of(one), present, 0.5)
    assert as_anchors.shape == as_positives.shape == (6,)
    for p in range(6):
        assert as_anchors[p].item() == pytest.approx(contrast_in_loops(many[p], one, present[p], 0.5), abs=1e-9)
        assert as_positives[p].item() == pytest.approx(contrast_in_loops(one, many[p], present[p], 0.5), abs=1e-9)


@pytest.mark.parametrize("side", ["anchors", "positives"])
def test_contrast_leaves_a_class_absent_on_one_side_out_altogether(side):
    target, source = make_vectors(4, 3).requires_grad_(), make_vectors(4, 3, seed=1).requires_grad_()
    everything, without = all_of(target), torch.tensor([True, True, False, True])
    masks = (without, everything) if side == "anchors" else (everything, without)
    loss = contrast(target, source, *masks, 0.5)
    rest = contrast(target[without], source[without], everything[:3], everything[:3], 0.5)
    torch.testing.assert_close(loss, rest)
    loss.backward()
    assert torch.all(target.grad[2] == 0)
    assert torch.all(source.grad[2] == 0)
    mean = contrast(target, source, *masks, 0.5, reduction="mean")
    torch.testing.assert_close(mean, rest / 3)


@pytest.mark.parametrize("positive_in_denominator", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("present", [[False] * 3, [False, True, False]])
def test_contrast_of_fewer_than_two_classes_is_zero_with_zero_gradient(present, reduction, positive_in_denominator):
    target, source = make_vectors(3, 2).requires_grad_(), make_vectors(3, 2, seed=1)
    loss = contrast(target, source, all_of(target), torch.tensor(present), 0.1, positive_in_denominator, reduction)
    loss.backward()
    assert loss.item() == 0
    assert torch.all(target.grad == 0)


def test_contrast_of_zero_vectors_is_finite():
    # Features that are all zero have no direction, though pixels stand behind them.
    target, source = torch.zeros(3, 2, requires_grad=True), torch.zeros(3, 2, requires_grad=True)
    loss = contrast(target, source, all_of(target), all_of(source), 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(3 * math.log(4))  # all cosines 0: one positive, four negatives
    assert torch.all(target.grad == 0)
    assert torch.all(source.grad == 0)


@pytest.mark.parametrize("temperature", [1e-8, 1e-4, 1e4])
def test_contrast_stays_finite_at_extreme_temperatures(temperature):
    target, source = make_vectors(4, 3).float().requires_grad_(), make_vectors(4, 3, seed=1).float()
    loss = contrast(target, source, all_of(target), all_of(source), temperature)
    loss.backward()
    assert loss.isfinite()
    assert target.grad.isfinite().all()
    if temperature == 1e4:
        assert loss.item() == pytest.approx(4 * math.log(6), abs=1e-2)  # all h are 1: one positive, six negatives
    if temperature == 1e-8:
        # Only the closest negative is left: temperature * loss -> sum_k (largest negative cosine - positive cosine).
        unit_target, unit_source = (torch.nn.functional.normalize(v.detach()) for v in (target, source))
        across, within = unit_target @ unit_source.T, unit_target @ unit_target.T
        itself = torch.eye(4, dtype=torch.bool)
        closest = torch.maximum(across.masked_fill(itself, -2).amax(1), within.masked_fill(itself, -2).amax(1))
        assert temperature * loss.item() == pytest.approx((closest - across.diagonal()).sum().item(), rel=1e-4)


def test_contrast_does_not_depend_on_the_order_of_classes_or_channels():
    target, source = make_vectors(5, 4), make_vectors(5, 4, seed=1)
    present = torch.tensor([True, True, False, True, True])
    loss = contrast(target, source, present, present, 0.3)
    classes, channels = torch.randperm(5, generator=seeded()), torch.randperm(4, generator=seeded())
    shuffled = contrast(
        target[classes][:, channels], source[classes][:, channels], present[classes], present[classes], 0.3
    )
    torch.testing.assert_close(shuffled, loss)


def test_contrast_does_not_depend_on_the_length_of_centroids():
    target, source = make_vectors(4, 3), make_vectors(4, 3, seed=1)
    lengths = torch.tensor([[1e-3], [0.5], [7.0], [1e4]], dtype=torch.float64)
    present = all_of(target)
    torch.testing.assert_close(
        contrast(target * lengths, source / lengths, present, present, 0.1),
        contrast(target, source, present, present, 0.1),
    )


@pytest.mark.parametrize("positive_in_denominator", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradient_of_contrast_is_exact(reduction, positive_in_denominator):
    target, source = make_vectors(2, 4, 3).requires_grad_(), make_vectors(4, 3, seed=1).requires_grad_()
    present = torch.tensor([[True, True, False, True], [True] * 4])
    assert torch.autograd.gradcheck(
        lambda t, s: contrast(t, s, present, present[1], 0.5, positive_in_denominator, reduction), (target, source)
    )


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_contrast_of_half_precision_centroids_is_computed_in_float32(dtype):
    # 300 squared is beyond float16's largest number.
    target, source = (300 * make_vectors(4, 3)).to(dtype).requires_grad_(), (300 * make_vectors(4, 3, seed=1)).to(dtype)
    present = all_of(target)
    loss = contrast(target, source, present, present, 0.05)
    torch.testing.assert_close(loss, contrast(target.float(), source.float(), present, present, 0.05))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(contrast(target, source, present, present, 0.05), loss, rtol=0, atol=0)
    loss.backward()
    assert target.grad.isfinite().all()


def test_contrast_refuses_settings_out_of_range():
    vectors = make_vectors(2, 2)
    present = all_of(vectors)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature"):
            contrast(vectors, vectors, present, present, temperature)
    with pytest.raises(ValueError, match="sum, mean"):
        contrast(vectors, vectors, present, present, 0.1, reduction="max")


# Centroid norm regulariser


def test_norm_regulariser_of_hand_computed_centroids():
    # Norms 5 and 2 against 3 and 4: ((5 - 3)^2 + (2 - 4)^2) / 2 = 4; relative: (4 / 9 + 4 / 16) / 2 = 25 / 72.
    target, source_norms = torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.tensor([3.0, 4.0])
    assert centroid_norm_regulariser(target, source_norms, all_of(target)).item() == pytest.approx(4.0)
    relative = centroid_norm_regulariser(target, source_norms, all_of(target), relative=True)
    assert relative.item() == pytest.approx(25 / 72)


def test_norm_regulariser_counts_present_classes_only():
    target = torch.tensor([[[3.0, 4.0], [0.0, 99.0]], [[3.0, 4.0], [0.0, 2.0]]], requires_grad=True)
    present = torch.tensor([[True, False], [False, False]])
    terms = centroid_norm_regulariser(target, torch.tensor([3.0, 4.0]), present)
    assert terms.tolist() == pytest.approx([4.0, 0.0])  # (5 - 3)^2 / 1, and nothing
    terms.sum().backward()
    assert torch.all(target.grad[~present] == 0)
    assert torch.all(target.grad[present] != 0)


def test_relative_norm_regulariser_does_not_depend_on_the_features_scale():
    target, source = make_vectors(4, 3), make_vectors(4, 3, seed=1)
    plain = centroid_norm_regulariser(target, compute_norms(source), all_of(target), relative=True)
    scaled = centroid_norm_regulariser(100 * target, compute_norms(100 * source), all_of(target), relative=True)
    torch.testing.assert_close(scaled, plain)


def test_relative_norm_regulariser_leaves_out_a_source_without_norm():
    target = torch.tensor([[3.0, 4.0], [0.0, 2.0]], requires_grad=True)
    loss = centroid_norm_regulariser(target, torch.tensor([10.0, 0.0]), all_of(target), relative=True)
    loss.backward()
    assert loss.item() == pytest.approx(0.25)
    assert target.grad.isfinite().all()


def test_norm_regulariser_of_zero_vectors_has_a_finite_gradient():
    target = torch.zeros(2, 3, requires_grad=True)
    loss = centroid_norm_regulariser(target, torch.tensor([1.0, 3.0]), all_of(target))
    loss.backward()
    assert loss.item() == pytest.approx(5.0)
    assert torch.all(target.grad == 0)


@pytest.mark.parametrize("relative", [False, True])
def test_gradient_of_norm_regulariser_is_exact(relative):
    target, source_norms = make_vectors(2, 4, 3).requires_grad_(), compute_norms(make_vectors(4, 3, seed=1))
    present = torch.tensor([[True, False, True, True], [True] * 4])
    assert torch.autograd.gradcheck(lambda t: centroid_norm_regulariser(t, source_norms, present, relative), target)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_norm_regulariser_of_half_precision_centroids_is_computed_in_float32(dtype):
    target, source = (300 * make_vectors(4, 3)).to(dtype), (300 * make_vectors(4, 3, seed=1)).to(dtype)
    half = centroid_norm_regulariser(target, compute_norms(source), all_of(target))
    single = centroid_norm_regulariser(target.float(), compute_norms(source.float()), all_of(target))
    assert half.isfinite()
    torch.testing.assert_close(half, single)
