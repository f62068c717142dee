"""The segmentation loss: what it is worth on given pixels, what it ignores, and that it stays finite."""

import math

import pytest
import torch

from confuda.losses.labels import encode_labels
from confuda.losses.segmentation import compute_jaccard_loss, compute_segmentation_loss


def make_batch(dtype=torch.float64, classes=4, batch=2, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, size, size, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, classes, (batch, size, size), generator=generator)
    return logits.to(dtype).requires_grad_(), labels


def test_encode_labels_marks_one_channel_a_pixel():
    channels = encode_labels(torch.tensor([[[0, 2], [1, 2]]]), 3)
    assert channels.tolist() == [[[[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 1], [0, 1]]]]


@pytest.mark.parametrize("value", [-1, 3, 200])
def test_encode_labels_refuses_values_that_are_no_class(value):
    with pytest.raises(ValueError, match=r"0\.\.2"):
        encode_labels(torch.tensor([[[0, value]]]), 3)


def test_encode_labels_refuses_other_types_and_shapes():
    with pytest.raises(ValueError, match="int64"):
        encode_labels(torch.zeros(1, 2, 2), 3)
    with pytest.raises(ValueError, match="shape"):
        encode_labels(torch.zeros(2, 2, dtype=torch.int64), 3)


def test_loss_of_hand_computed_pixels():
    # One image of two pixels, two classes, labels 0 and 1. Softmax of (ln 3, 0) is (3/4, 1/4); of (0, 0), (1/2, 1/2).
    # Cross-entropy: (-ln 3/4 - ln 1/2) / 2 = ln(8/3) / 2.
    # Class 0: intersection 3/4, union (3/4 + 1/2) + 1 - 3/4 = 3/2, ratio 1/2.
    # Class 1: intersection 1/2, union (1/4 + 1/2) + 1 - 1/2 = 5/4, ratio 2/5. Jaccard loss: (1/2 + 3/5) / 2 = 0.55.
    logits = torch.tensor([[[[math.log(3.0), 0.0]], [[0.0, 0.0]]]])
    loss = compute_segmentation_loss(logits, torch.tensor([[[0, 1]]]))
    assert loss.item() == pytest.approx(math.log(8 / 3) / 2 + 0.55, abs=1e-6)


def test_loss_vanishes_for_a_perfect_prediction():
    labels = torch.tensor([[[0, 1], [2, 1]]])
    assert compute_segmentation_loss(50 * encode_labels(labels, 3), labels).item() == pytest.approx(0, abs=1e-6)


def test_jaccard_agrees_with_monai_where_every_class_is_present():
    losses = pytest.importorskip("monai.losses", reason="needs monai")
    logits, labels = make_batch()
    assert labels.unique().numel() == 4
    theirs = losses.DiceLoss(softmax=True, to_onehot_y=True, jaccard=True, batch=True, smooth_nr=0, smooth_dr=0)
    ours = compute_jaccard_loss(logits.softmax(1), encode_labels(labels, 4), torch.ones(labels.shape))
    torch.testing.assert_close(ours, theirs(logits, labels.unsqueeze(1)))


def test_loss_is_cross_entropy_plus_jaccard():
    logits, labels = make_batch()
    jaccard = compute_jaccard_loss(logits.softmax(1), encode_labels(labels, 4), torch.ones(labels.shape))
    expected = torch.nn.functional.cross_entropy(logits, labels) + jaccard
    torch.testing.assert_close(compute_segmentation_loss(logits, labels), expected)


def test_jaccard_of_an_absent_class_has_no_pull():
    # Class 2 is nowhere in the labels: its predicted mass doesn't change the loss of the others, and gets no gradient.
    one_hot = encode_labels(torch.tensor([[[0, 1], [1, 0]]]), 3)
    weights = torch.ones(1, 2, 2)
    probabilities = torch.tensor([0.5, 0.4, 0.1]).view(1, 3, 1, 1).repeat(1, 1, 2, 2).requires_grad_()
    loss = compute_jaccard_loss(probabilities, one_hot, weights)
    loss.backward()
    assert torch.all(probabilities.grad[:, 2] == 0)
    assert torch.any(probabilities.grad[:, :2] != 0)
    two_classes = compute_jaccard_loss(probabilities[:, :2], one_hot[:, :2], weights)
    torch.testing.assert_close(loss, two_classes)


def test_pixels_of_weight_zero_have_no_influence():
    logits, labels = make_batch()
    weights = torch.zeros(labels.shape)
    weights[:, :3] = 1
    masked = compute_segmentation_loss(logits, labels, weights)
    cropped = compute_segmentation_loss(logits[:, :, :3], labels[:, :3])
    torch.testing.assert_close(masked, cropped)
    masked.backward()
    assert torch.all(logits.grad[:, :, 3:] == 0)


def test_an_evenly_scaled_weight_mask_changes_nothing():
    logits, labels = make_batch()
    scaled = compute_segmentation_loss(logits, labels, torch.full(labels.shape, 0.25))
    torch.testing.assert_close(scaled, compute_segmentation_loss(logits, labels))


def test_no_trusted_pixel_at_all_gives_zero_without_gradient():
    logits, labels = make_batch(torch.float32)
    loss = compute_segmentation_loss(logits, labels, torch.zeros(labels.shape))
    loss.backward()
    assert loss.item() == 0
    assert torch.all(logits.grad == 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits, labels = make_batch(dtype, size=64)
    loss = compute_segmentation_loss(logits, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, compute_segmentation_loss(logits.float(), labels), rtol=1e-6, atol=0)
    loss.backward()
    assert logits.grad.isfinite().all()


def test_huge_logits_stay_finite():
    labels = torch.tensor([[[0, 1]]])
    logits = torch.tensor([[[[-1e4, 1e4]], [[1e4, -1e4]]]], requires_grad=True)
    loss = compute_segmentation_loss(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(2e4 + 1)
    assert logits.grad.isfinite().all()


def test_gradient_is_exact():
    logits, labels = make_batch(classes=3, batch=1, size=3)
    weights = torch.rand(labels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda x: compute_segmentation_loss(x, labels, weights), logits)


def test_shapes_that_do_not_match_are_refused():
    logits, labels = make_batch()
    with pytest.raises(ValueError, match="do not match"):
        compute_segmentation_loss(logits, labels[:1])
    with pytest.raises(ValueError, match="weights"):
        compute_segmentation_loss(logits, labels, torch.ones(2, 1, 6, 6))
