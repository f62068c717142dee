"""Equation (3) and the whole loss over partitions, its settings, and what it pulls."""

import math

import pytest
import torch
from Testing.method.toy_features import HALF_TYPES, all_of, contrast_in_loops, make_pixels, make_vectors, seeded

from confuda.losses.centroids import Centroids, SourceBank, compute_centroids, compute_partition_centroids
from confuda.losses.contrastive import (
    ContrastiveLoss,
    ContrastiveSettings,
    centroid_norm_regulariser,
    compute_norms,
    contrast,
    multi_partition_contrast,
)

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
