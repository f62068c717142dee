"""Centroids, the source bank and the contrastive terms: equations (1) to (3), absent classes, and odd precision."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from confuda.losses.centroids import Centroids, SourceBank, compute_centroids, compute_partition_centroids
from confuda.losses.contrastive import (
    ContrastiveLoss,
    ContrastiveSettings,
    centroid_norm_regulariser,
    compute_norms,
    contrast,
    multi_partition_contrast,
)
from confuda.losses.labels import encode_labels

HALF_TYPES = [torch.float16, torch.bfloat16]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_pixels(batch=2, channels=3, classes=4, height=3, width=5, dtype=torch.float64, seed=0):
    """Random features and soft predictions, both leaves of a graph."""
    generator = seeded(seed)
    features = torch.randn(batch, channels, height, width, dtype=torch.float64, generator=generator)
    softmax = torch.randn(batch, classes, height, width, dtype=torch.float64, generator=generator).softmax(1)
    return features.to(dtype).requires_grad_(), softmax.to(dtype).requires_grad_()


def make_vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def all_of(vectors):
    return torch.ones(vectors.shape[:-1], dtype=torch.bool)


def average_in_loops(features, weights):
    """Equation (1) written out."""
    (batch, channels, height, width), classes = features.shape, weights.shape[1]
    centroids = []
    for k in range(classes):
        total, mass = torch.zeros(channels, dtype=features.dtype), 0.0
        for b in range(batch):
            for h in range(height):
                for w in range(width):
                    total = total + features[b, :, h, w] * weights[b, k, h, w]
                    mass = mass + weights[b, k, h, w]
        centroids.append(total / mass)
    return torch.stack(centroids)


def contrast_in_loops(anchors, positives, valid, temperature, positive_in_denominator=False):
    """Equation (2) written out, one exponential at a time, for (K, D) and (K, D)."""

    def h(u, v):
        return math.exp(float(u @ v) / math.sqrt(float(u @ u)) / math.sqrt(float(v @ v)) / temperature)

    classes = [k for k in range(len(anchors)) if valid[k]]
    loss = 0.0
    for k in classes if len(classes) > 1 else []:
        denominator = h(anchors[k], positives[k]) if positive_in_denominator else 0.0
        for domain in (positives, anchors):
            for i in classes:
                if i != k:
                    denominator += h(anchors[k], domain[i])
        loss -= math.log(h(anchors[k], positives[k]) / denominator)
    return loss


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


# Equation (1)


def test_centroids_of_hand_computed_pixels():
    # Four pixels with features (1, 0), (3, 0), (0, 2), (0, 6). Class 0 has weights 1, 1/2, 0, 0: its mass is 3/2 and
    # its centroid ((1 + 3/2) / (3/2), 0) = (5/3, 0). Class 1 has 0, 0, 1/4, 3/4: (0, 1/2 + 9/2) = (0, 5).
    features = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 6.0]]]])
    weights = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.25, 0.75]]]])
    vectors, mass = compute_centroids(features, weights)
    torch.testing.assert_close(vectors, torch.tensor([[5 / 3, 0.0], [0.0, 5.0]]))
    torch.testing.assert_close(mass, torch.tensor([1.5, 1.0]))


def test_centroids_are_the_mean_over_batch_and_pixels():
    features, softmax = make_pixels()
    torch.testing.assert_close(compute_centroids(features, softmax).vectors, average_in_loops(features, softmax))


def test_source_centroid_is_the_mean_feature_of_the_labelled_pixels():
    features, _ = make_pixels(classes=3)
    labels = torch.randint(0, 3, (2, 3, 5), generator=seeded(3))
    vectors, mass = compute_centroids(features, encode_labels(labels, 3))
    for k in range(3):
        torch.testing.assert_close(vectors[k], features.movedim(1, -1)[labels == k].mean(0))
        assert mass[k] == (labels == k).sum()


def test_absent_class_has_a_zero_centroid_and_no_gradient():
    features, softmax = make_pixels()
    weights = softmax.detach().clone()
    weights[:, 2] = 0
    weights.requires_grad_()
    vectors, mass = compute_centroids(features, weights)
    assert mass[2] == 0
    assert torch.all(vectors[2] == 0)
    vectors[2].sum().backward()
    assert torch.all(features.grad == 0)
    assert torch.all(weights.grad == 0)


@pytest.mark.parametrize("partitions", [None, 5])
def test_gradient_of_centroids_is_exact(partitions):
    features, softmax = make_pixels(batch=1, channels=2, classes=2, height=3, width=4)

    def centroids(f, w):
        if partitions is None:
            return compute_centroids(f, w).vectors
        return compute_partition_centroids(f, w, partitions, seeded()).vectors

    assert torch.autograd.gradcheck(centroids, (features, softmax))


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("partitions", [None, 3])
def test_centroids_of_half_precision_pixels_are_accumulated_in_float32(dtype, partitions):
    # 64 * 64 * 100 is beyond float16's largest number, 65504, and counting by ones ends at 256 in bfloat16.
    features, softmax = make_pixels(height=64, width=64, dtype=dtype)
    features = (features.detach() + 100).requires_grad_()

    def centroids(f, w):
        if partitions is None:
            return compute_centroids(f, w)
        return compute_partition_centroids(f, w, partitions, seeded())

    half, single = centroids(features, softmax), centroids(features.float(), softmax.float())
    assert half.vectors.dtype == half.mass.dtype == torch.float32
    torch.testing.assert_close(half.vectors, single.vectors, rtol=1e-5, atol=0)
    torch.testing.assert_close(half.mass, single.mass, rtol=1e-5, atol=0)
    half.vectors.sum().backward()
    assert features.grad.isfinite().all()
    assert softmax.grad.isfinite().all()


@pytest.mark.parametrize("partitions", [None, 3])
def test_autocast_does_not_coarsen_centroids(partitions):
    features, softmax = make_pixels(dtype=torch.float32, height=16, width=16)

    def centroids():
        if partitions is None:
            return compute_centroids(features, softmax).vectors
        return compute_partition_centroids(features, softmax, partitions, seeded()).vectors

    outside = centroids()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = centroids()
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 4, 3, 5), (2, 4, 5, 3), (2, 4, 15)])
def test_weights_of_other_pixels_are_refused(shape):
    features, _ = make_pixels()
    with pytest.raises(ValueError, match="same pixels"):
        compute_centroids(features, torch.ones(shape))
    with pytest.raises(ValueError, match="same pixels"):
        compute_partition_centroids(features, torch.ones(shape), 2)


# Partitions


def test_one_partition_is_the_plain_centroid():
    features, softmax = make_pixels()
    plain, split = compute_centroids(features, softmax), compute_partition_centroids(features, softmax, 1)
    assert split.vectors.shape == (1, 4, 3)
    torch.testing.assert_close(split.vectors[0], plain.vectors)
    torch.testing.assert_close(split.mass[0], plain.mass)


def test_as_many_partitions_as_pixels_give_each_pixels_feature():
    features, softmax = make_pixels()
    vectors, mass = compute_partition_centroids(features, softmax, 2 * 3 * 5)
    # Every class's centroid is the one pixel's feature, and each pixel appears once; pixels are told apart by sorting.
    expected = features.movedim(1, -1).reshape(30, 3)
    for k in range(4):
        torch.testing.assert_close(vectors[:, k][vectors[:, k, 0].argsort()], expected[expected[:, 0].argsort()])
    weights = softmax.movedim(1, -1).reshape(30, 4)
    torch.testing.assert_close(mass[vectors[:, 0, 0].argsort()], weights[expected[:, 0].argsort()])


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), data=st.data())
def test_partitions_share_the_pixels_evenly_and_lose_none(height, width, data):
    partitions = data.draw(st.integers(1, height * width))
    numbers = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    vectors, sizes = compute_partition_centroids(numbers, torch.ones(1, 1, height, width), partitions)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == height * width
    # Each pixel is used once: the sums of the pixel numbers, and of their powers of two, come out right.
    assert (vectors[..., 0] * sizes).sum() == pytest.approx(numbers.sum().item(), rel=1e-5)
    powers = torch.exp2(-numbers.double())
    vectors, sizes = compute_partition_centroids(powers, torch.ones(1, 1, height, width), partitions)
    assert (vectors[..., 0] * sizes).sum().item() == pytest.approx(1 - 2.0 ** -(height * width), rel=1e-14)


def test_each_partition_is_the_centroid_of_its_own_pixels():
    # The pixels' indicator vectors as features: the centroid tells which pixels it holds, and with which weight.
    pixels = 12
    features = torch.eye(pixels, dtype=torch.float64).view(1, pixels, 3, 4)
    _, softmax = make_pixels(batch=1, height=3, width=4)
    vectors, mass = compute_partition_centroids(features, softmax, 5, seeded())
    weights = softmax.flatten(2)[0]  # (K, pixels)
    holds = vectors.sum(1) > 0  # (P, pixels)
    assert torch.equal(holds.sum(0), torch.ones(pixels, dtype=torch.int64))
    for p in range(5):
        chosen = weights * holds[p]
        torch.testing.assert_close(mass[p], chosen.sum(1))
        torch.testing.assert_close(vectors[p], chosen / chosen.sum(1, keepdim=True))


def test_the_split_is_random_and_repeatable_by_its_generator():
    features, softmax = make_pixels()
    first = compute_partition_centroids(features, softmax, 4, seeded(1)).vectors
    again = compute_partition_centroids(features, softmax, 4, seeded(1)).vectors
    other = compute_partition_centroids(features, softmax, 4, seeded(2)).vectors
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("partitions", [0, -1, 31])
def test_a_number_of_partitions_beyond_the_pixels_is_refused(partitions):
    features, softmax = make_pixels()
    with pytest.raises(ValueError, match=r"1\.\.30"):
        compute_partition_centroids(features, softmax, partitions)


@pytest.mark.parametrize("partitions", [1, 7, 600, 1024])
def test_memory_of_partitions_stays_linear_in_the_pixels(partitions):
    features, softmax = make_pixels(batch=1, channels=8, height=32, width=32, dtype=torch.float32)
    with LargestTensor() as largest:
        compute_partition_centroids(features, softmax, partitions)
    # Twice the pixels, for the unfilled places where P does not divide their number.
    assert 32 * 32 * 8 <= largest.elements <= max(2 * 32 * 32 * 8, partitions * 4 * 8)


def test_a_class_that_misses_one_partition_is_absent_there_only():
    features, _ = make_pixels(batch=1, classes=2)
    weights = torch.zeros(1, 2, 3, 5, dtype=torch.float64)
    weights[:, 0] = 1
    weights[0, 1, 0, 0] = 1  # a single pixel of class 1: it falls into one of three partitions
    weights.requires_grad_()
    vectors, mass = compute_partition_centroids(features, weights, 3)
    empty = mass[:, 1] == 0
    assert empty.sum() == 2
    assert torch.all(vectors[empty, 1] == 0)
    torch.testing.assert_close(vectors[~empty, 1][0], features[0, :, 0, 0])
    vectors.sum().backward()
    assert features.grad.isfinite().all()
    assert weights.grad.isfinite().all()


# Memory bank


def test_bank_moves_nine_tenths_towards_the_new_centroids():
    bank = SourceBank(2, 1)
    many = torch.tensor([50.0, 50.0])
    bank.update(Centroids(torch.tensor([[10.0], [4.0]]), many))
    assert bank.vectors.tolist() == [[10.0], [4.0]]  # first seen: taken as it is
    bank.update(Centroids(torch.tensor([[20.0], [4.0]]), many))
    assert bank.vectors.flatten().tolist() == pytest.approx([19.0, 4.0])  # 0.9 * 20 + 0.1 * 10
    bank.update(Centroids(torch.tensor([[0.0], [14.0]]), many))
    assert bank.vectors.flatten().tolist() == pytest.approx([1.9, 13.0])


def test_bank_keeps_classes_that_are_absent_in_a_step():
    bank = SourceBank(2, 1, minimum_mass=3.0)
    bank.update(Centroids(torch.tensor([[10.0], [7.0]]), torch.tensor([50.0, 3.0])))
    assert bank.vectors.tolist() == [[10.0], [0.0]]
    assert bank.mass.tolist() == [50.0, 0.0]
    bank.update(Centroids(torch.tensor([[0.0], [8.0]]), torch.tensor([0.0, 4.0])))
    assert bank.vectors.tolist() == [[10.0], [8.0]]  # class 0 unchanged, class 1 seen for the first time
    assert bank.mass.tolist() == [50.0, 4.0]


def test_bank_ignores_centroids_that_are_not_finite():
    bank = SourceBank(2, 1)
    bank.update(Centroids(torch.tensor([[10.0], [4.0]]), torch.tensor([50.0, 50.0])))
    bank.update(Centroids(torch.tensor([[math.nan], [6.0]]), torch.tensor([50.0, 50.0])))
    assert bank.vectors.flatten().tolist() == pytest.approx([10.0, 5.8])


def test_bank_carries_no_gradient_and_does_not_change_what_it_gave_out():
    bank = SourceBank(2, 3)
    features, softmax = make_pixels(classes=2, dtype=torch.float32)
    centroids = compute_centroids(features, softmax)
    bank.update(centroids)
    given_out = bank.centroids
    product = (centroids.vectors * given_out.vectors).sum()
    bank.update(Centroids(torch.ones(2, 3), torch.ones(2) * 9))
    assert not bank.vectors.requires_grad
    assert torch.equal(given_out.vectors, centroids.vectors)
    product.backward()  # a loss of the former step can still be differentiated
    assert torch.any(features.grad != 0)


def test_bank_survives_a_checkpoint():
    bank = SourceBank(2, 3)
    bank.update(Centroids(torch.randn(2, 3, generator=seeded()), torch.tensor([50.0, 0.0])))
    restored = SourceBank(2, 3)
    restored.load_state_dict(copy.deepcopy(bank.state_dict()))
    step = Centroids(torch.randn(2, 3, generator=seeded(1)), torch.tensor([20.0, 20.0]))
    bank.update(step)
    restored.update(step)
    assert torch.equal(restored.vectors, bank.vectors)
    assert torch.equal(restored.mass, bank.mass)


def test_bank_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="newest"):
        SourceBank(2, 3, newest_weight=0.0)
    with pytest.raises(ValueError, match="minimum mass"):
        SourceBank(2, 3, minimum_mass=-1.0)
    with pytest.raises(ValueError, match="shape"):
        SourceBank(2, 3).update(Centroids(torch.zeros(3, 3), torch.zeros(3)))


# Equation (2)


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


# Equation (3)


def make_centroids(*shape, mass=50.0, seed=0):
    return Centroids(make_vectors(*shape, seed=seed), torch.full(shape[:-1], mass, dtype=torch.float64))


def test_multi_partition_contrast_of_hand_computed_centroids():
    # Two partitions, tau = 1. Source and augmented centroids are (2, 0) and (0, 2). Partition 1 is aligned with them:
    # either direction gives 2 ln 2 - 2 (see above). Partition 2 has its classes exchanged: positives of cosine 0, the
    # other domain's negative of cosine 1, the own domain's of cosine 0: twice ln(e + 1), in either direction.
    # inter = intra = (2 ln 2 - 2 + 2 ln(e + 1)) / 2. The norms are 1 and 3 against 2: each partition's R is 1.
    aligned = [[1.0, 0.0], [0.0, 3.0]]
    exchanged = [[0.0, 3.0], [1.0, 0.0]]
    partitions = Centroids(torch.tensor([aligned, exchanged]), torch.full((2, 2), 50.0))
    reference = Centroids(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.full((2,), 50.0))
    terms = multi_partition_contrast(partitions, reference, reference, ContrastiveSettings(temperature=1.0))
    expected = math.log(2) - 1 + math.log(math.e + 1)
    assert terms["inter"].item() == pytest.approx(expected, abs=1e-6)
    assert terms["intra"].item() == pytest.approx(expected, abs=1e-6)
    assert terms["norm"].item() == pytest.approx(2.0)
    mean = ContrastiveSettings(temperature=1.0, norm_over_partitions="mean")
    assert multi_partition_contrast(partitions, reference, reference, mean)["norm"].item() == pytest.approx(1.0)


def test_multi_partition_contrast_is_equation_three():
    partitions, source, augmented = make_centroids(5, 4, 3), make_centroids(4, 3, seed=1), make_centroids(4, 3, seed=2)
    partitions.mass[1, 2] = 0.0
    augmented.mass[3] = 0.0
    terms = multi_partition_contrast(partitions, source, augmented, ContrastiveSettings())
    inter = intra = norm = 0.0
    for p in range(5):
        here = [bool(m > 1) for m in partitions.mass[p]]
        both = [a and k != 3 for k, a in enumerate(here)]
        inter += contrast_in_loops(partitions.vectors[p], source.vectors, here, 0.1) / 5
        intra += contrast_in_loops(augmented.vectors, partitions.vectors[p], both, 0.1) / 5
        gaps = [float(partitions.vectors[p, k].norm() - source.vectors[k].norm()) for k in range(4) if here[k]]
        norm += sum(gap**2 for gap in gaps) / len(gaps)
    assert terms["inter"].item() == pytest.approx(inter, rel=1e-9)
    assert terms["intra"].item() == pytest.approx(intra, rel=1e-9)
    assert terms["norm"].item() == pytest.approx(norm, rel=1e-9)


def test_multi_partition_contrast_follows_its_settings():
    partitions, source, augmented = make_centroids(2, 4, 3), make_centroids(4, 3, seed=1), make_centroids(4, 3, seed=2)
    chosen = ContrastiveSettings(
        temperature=0.4,
        positive_in_denominator=True,
        reduction="mean",
        relative_norm=True,
        norm_over_partitions="mean",
    )
    terms = multi_partition_contrast(partitions, source, augmented, chosen)
    everything = [True] * 4
    inter = sum(contrast_in_loops(part, source.vectors, everything, 0.4, True) for part in partitions.vectors)
    intra = sum(contrast_in_loops(augmented.vectors, part, everything, 0.4, True) for part in partitions.vectors)
    ratios = partitions.vectors.norm(dim=-1) / source.vectors.norm(dim=-1)
    assert terms["inter"].item() == pytest.approx(inter / 2 / 4, rel=1e-9)  # two partitions, four classes
    assert terms["intra"].item() == pytest.approx(intra / 2 / 4, rel=1e-9)
    torch.testing.assert_close(terms["norm"], (ratios - 1).square().mean())


def test_gradient_of_all_terms_is_exact():
    features, softmax = make_pixels(batch=1, classes=3, height=2, width=4)
    copy_features, copy_softmax = make_pixels(batch=1, classes=3, height=2, width=4, seed=1)
    source = make_centroids(3, 3, seed=2)

    def terms(*tensors):
        partitions = compute_partition_centroids(tensors[0], tensors[1], 3, seeded())
        augmented = compute_centroids(tensors[2], tensors[3])
        chosen = ContrastiveSettings(temperature=0.5, minimum_mass=0.0)
        return tuple(multi_partition_contrast(partitions, source, augmented, chosen).values())

    assert torch.autograd.gradcheck(terms, (features, softmax, copy_features, copy_softmax))


# The whole loss


def fill_bank(classes=4, channels=3, seed=5):
    bank = SourceBank(classes, channels)
    bank.update(Centroids(torch.randn(classes, channels, generator=seeded(seed)), torch.full((classes,), 50.0)))
    return bank


def make_images(dtype=torch.float32, classes=4, size=8, seed=0):
    """Features and soft predictions of a target image and of its augmented copy."""
    image = make_pixels(batch=1, classes=classes, height=size, width=size, dtype=dtype, seed=seed)
    return image + make_pixels(batch=1, classes=classes, height=size, width=size, dtype=dtype, seed=seed + 1)


def test_one_partition_gives_plain_centroid_contrast():
    images, bank = make_images(), fill_bank()
    terms = ContrastiveLoss(ContrastiveSettings(partitions=1))(*images, bank)
    target, augmented = compute_centroids(*images[:2]), compute_centroids(*images[2:])
    present = all_of(target.vectors)
    torch.testing.assert_close(terms["inter"], contrast(target.vectors, bank.vectors, present, present, 0.1))
    torch.testing.assert_close(terms["intra"], contrast(augmented.vectors, target.vectors, present, present, 0.1))
    torch.testing.assert_close(
        terms["norm"], centroid_norm_regulariser(target.vectors, compute_norms(bank.vectors), present)
    )


def test_one_partition_a_pixel_gives_the_pixel_wise_loss():
    images, bank = make_images(torch.float64, size=3), fill_bank()
    terms = ContrastiveLoss(ContrastiveSettings(partitions=9, minimum_mass=0.0))(*images, bank)
    augmented = compute_centroids(*images[2:]).vectors
    inter = intra = 0.0
    for pixel in images[0].detach()[0].flatten(1).T:
        of_each_class = pixel.expand(4, 3)
        inter += contrast_in_loops(of_each_class, bank.vectors.double(), [True] * 4, 0.1) / 9
        intra += contrast_in_loops(augmented.detach(), of_each_class, [True] * 4, 0.1) / 9
    assert terms["inter"].item() == pytest.approx(inter, rel=1e-6)
    assert terms["intra"].item() == pytest.approx(intra, rel=1e-6)


def test_loss_reaches_features_and_predictions_of_both_images():
    images, bank = make_images(), fill_bank()
    sum(ContrastiveLoss()(*images, bank).values()).backward()
    for tensor in images:
        assert tensor.grad.isfinite().all()
        assert torch.any(tensor.grad != 0)


def test_predictions_get_no_gradient_when_told_so():
    images, bank = make_images(), fill_bank()
    terms = ContrastiveLoss(ContrastiveSettings(gradient_through_weights=False))(*images, bank, seeded())
    sum(terms.values()).backward()
    assert images[1].grad is None
    assert images[3].grad is None
    assert torch.any(images[0].grad != 0)
    same = ContrastiveLoss()(*images, bank, seeded())
    torch.testing.assert_close(same, terms)


def test_without_background_class_zero_plays_no_part():
    images, bank = make_images(), fill_bank()
    loss = ContrastiveLoss(ContrastiveSettings(include_background=False))
    terms = loss(*images, bank, seeded())
    foreground_bank = SourceBank(3, 3)
    foreground_bank.update(Centroids(bank.vectors[1:], bank.mass[1:]))
    features, softmax, copy_features, copy_softmax = images
    foreground = (features, softmax[:, 1:], copy_features, copy_softmax[:, 1:])
    torch.testing.assert_close(terms, ContrastiveLoss()(*foreground, foreground_bank, seeded()))
    assert not torch.isclose(terms["inter"], ContrastiveLoss()(*images, bank, seeded())["inter"])


@pytest.mark.parametrize("partitions", [1, 4, 64])
def test_loss_is_finite_when_a_class_is_absent_from_the_image(partitions):
    features, softmax, copy_features, copy_softmax = make_images()
    without = softmax.detach() * torch.tensor([1.0, 1.0, 0.0, 1.0]).view(1, 4, 1, 1)
    without.requires_grad_()
    images, bank = (features, without, copy_features, copy_softmax), fill_bank()
    terms = ContrastiveLoss(ContrastiveSettings(partitions=partitions, minimum_mass=0.0))(*images, bank)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(tensor.grad.isfinite().all() for tensor in images)
    # And it does not pull: the source's centroid of that class may be anything.
    moved = SourceBank(4, 3)
    moved.update(Centroids(bank.vectors * torch.tensor([[1.0], [1.0], [-7.0], [1.0]]), bank.mass))
    again = ContrastiveLoss(ContrastiveSettings(partitions=partitions, minimum_mass=0.0))(*images, moved, seeded())
    before = ContrastiveLoss(ContrastiveSettings(partitions=partitions, minimum_mass=0.0))(*images, bank, seeded())
    torch.testing.assert_close(again, before)


def test_loss_is_zero_while_the_bank_is_empty():
    images = make_images()
    terms = ContrastiveLoss()(*images, SourceBank(4, 3))
    assert terms["inter"].item() == 0
    assert terms["norm"].item() == 0
    sum(terms.values()).backward()
    assert all(tensor.grad.isfinite().all() for tensor in images)


def test_minimum_mass_silences_small_classes():
    # 64 pixels of soft predictions over 4 classes, in 4 partitions: no class can have 20 pixels in any of them.
    images, bank = make_images(), fill_bank()
    terms = ContrastiveLoss(ContrastiveSettings(minimum_mass=20.0))(*images, bank)
    assert [term.item() for term in terms.values()] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_loss_of_half_precision_images_is_computed_in_float32(dtype):
    images, bank = make_images(dtype, size=16), fill_bank()
    terms = ContrastiveLoss()(*images, bank, seeded())
    single = ContrastiveLoss()(*(tensor.float() for tensor in images), bank, seeded())
    torch.testing.assert_close(terms, single)
    sum(terms.values()).backward()
    assert all(tensor.grad.isfinite().all() for tensor in images)


def test_loss_does_not_depend_on_the_order_of_classes():
    images, bank = make_images(torch.float64), fill_bank()
    order = torch.tensor([2, 0, 3, 1])
    reordered_bank = SourceBank(4, 3)
    reordered_bank.update(Centroids(bank.vectors[order], bank.mass[order]))
    features, softmax, copy_features, copy_softmax = images
    reordered = (features, softmax[:, order], copy_features, copy_softmax[:, order])
    torch.testing.assert_close(
        ContrastiveLoss()(*reordered, reordered_bank, seeded()), ContrastiveLoss()(*images, bank, seeded())
    )


def test_following_the_loss_brings_target_centroids_towards_the_source():
    features, softmax, copy_features, _ = make_images()
    bank = fill_bank()
    # Soft predictions that tell the classes apart, or else all centroids are the same few features.
    sharp = (64 * softmax.detach()).softmax(1)
    loss = ContrastiveLoss(ContrastiveSettings(relative_norm=True, minimum_mass=0.5))

    def misalignment():
        vectors = compute_centroids(features, sharp).vectors
        return (1 - torch.cosine_similarity(vectors, bank.vectors)).sum().item()

    before = misalignment()
    optimiser = torch.optim.Adam([features], lr=0.05)
    for step in range(40):
        optimiser.zero_grad()
        loss(features, sharp, copy_features.detach(), sharp, bank, seeded(step))["inter"].backward()
        optimiser.step()
    assert misalignment() < 0.5 * before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"partitions": 0}, "partitions"),
        ({"partitions": 2.5}, "partitions"),
        ({"minimum_mass": -1.0}, "minimum mass"),
        ({"minimum_mass": math.inf}, "minimum mass"),
        ({"reduction": "none"}, "sum, mean"),
        ({"norm_over_partitions": "max"}, "sum, mean"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveSettings(**wrong)
