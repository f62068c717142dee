"""Equation (1): centroids, their partitions and the source bank; absent classes, and odd precision."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from Testing.method.toy_features import HALF_TYPES, make_pixels, seeded
from torch.utils._python_dispatch import TorchDispatchMode

from confuda.losses.centroids import Centroids, SourceBank, compute_centroids, compute_partition_centroids
from confuda.losses.labels import encode_labels


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


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


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
