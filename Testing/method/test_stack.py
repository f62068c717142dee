"""A volume becomes slices in one frame, and labels find the way back to every voxel."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.imaging.stack import ShortAxisStack, find_slice_axis, normalise_intensity

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


def make_asymmetric_volume() -> sitk.Image:
    """No mirror image and no turn of this volume is the same volume."""
    voxels = np.random.default_rng(3).normal(100, 20, (5, 20, 27)).astype(np.float32)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.25, 1.5, 8.0))
    image.SetOrigin((-20.0, 35.0, 12.0))
    angle = 0.3
    image.SetDirection([np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1])
    return image


def reorient(image: sitk.Image, axes, flips) -> sitk.Image:
    """The same voxels at the same places in the body, stored in another order of axes."""
    return sitk.Flip(sitk.PermuteAxes(image, axes), flips, False)


@pytest.mark.parametrize("axes, flips", ORIENTATIONS)
def test_same_heart_gives_same_slices_in_all_48_orientations(axes, flips) -> None:
    image = make_asymmetric_volume()
    stored = reorient(image, axes, flips)
    expected = ShortAxisStack(image, 1.5).slices
    np.testing.assert_allclose(ShortAxisStack(stored, 1.5).slices, expected, atol=1e-5)


@pytest.mark.parametrize("axes, flips", ORIENTATIONS)
def test_labels_return_voxel_for_voxel_in_all_48_orientations(axes, flips) -> None:
    stored = reorient(make_asymmetric_volume(), axes, flips)
    truth = np.random.default_rng(5).integers(0, 4, sitk.GetArrayFromImage(stored).shape).astype(np.uint8)
    labels = sitk.GetImageFromArray(truth)
    labels.CopyInformation(stored)
    # On the volume's own in-plane grid nothing may be lost: each label is at its voxel again.
    native = ShortAxisStack(stored, 1.0)
    native.grid = native.native_grid
    native.slices = np.zeros((len(native), *native.grid.size), np.float32)
    crop = native.crop(size=32)
    one_hot = np.stack([crop.cut(native.resample_labels(labels)) == k for k in range(4)]).astype(np.float32)
    restored = crop.restore(one_hot)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(restored), truth)
    assert restored.GetSize() == stored.GetSize()
    assert restored.GetDirection() == stored.GetDirection()
    assert restored.GetOrigin() == stored.GetOrigin()
    assert restored.GetSpacing() == stored.GetSpacing()


def test_resampled_labels_land_where_they_belong(heart) -> None:
    image, truth = heart
    fine = sitk.Resample(image, (192, 192, 6), sitk.Transform(), sitk.sitkLinear, (-0.375, -0.375, 0), (0.75, 0.75, 8))
    fine_truth = sitk.Resample(truth, fine, sitk.Transform(), sitk.sitkNearestNeighbor)
    stack = ShortAxisStack(fine, 1.5)
    crop = stack.crop((43, 50), 80)
    labels = crop.cut(stack.resample_labels(fine_truth))
    restored = crop.restore(np.stack([labels == k for k in range(4)]).astype(np.float32))
    a, b = sitk.GetArrayFromImage(fine_truth), sitk.GetArrayFromImage(restored)
    for label in (1, 2, 3):
        dice = 2 * ((a == label) & (b == label)).sum() / ((a == label).sum() + (b == label).sum())
        assert dice > 0.95


def test_window_beyond_the_image_is_zero_and_comes_back() -> None:
    stack = ShortAxisStack(make_asymmetric_volume(), 1.5)
    crop = stack.crop((0, 0), 16)
    assert crop.slices.shape == (5, 16, 16)
    assert not crop.slices[:, :8].any() and crop.slices[:, 8:, 8:].any()
    everything = np.zeros((4, 5, 16, 16), np.float32)
    everything[2] = 1
    restored = sitk.GetArrayFromImage(crop.restore(everything))
    assert (restored == 2).any() and (restored == 0).any()


@pytest.mark.parametrize(
    "size, spacing, axis",
    [
        ((256, 256, 12), (1.4, 1.4, 8.0), 2),
        ((12, 256, 256), (8.0, 1.4, 1.4), 0),
        ((256, 1, 256), (1.4, 8.0, 1.4), 1),
        ((256, 256, 1), (1.4, 1.4, 1.0), 2),
        ((100, 30, 100), (1.0, 1.0, 1.0), 1),
        ((64, 64, 64), (1.0, 1.0, 1.0), 2),
        ((216, 304, 500), (1.3, 1.3, 0.2), 2),
        ((500, 216, 304), (0.2, 1.3, 1.3), 0),
    ],
)
def test_slice_axis_is_found(size, spacing, axis) -> None:
    assert find_slice_axis(size, spacing) == axis


def test_locating_a_voxel_in_the_slices() -> None:
    image = make_asymmetric_volume()
    voxels = np.zeros_like(sitk.GetArrayFromImage(image))
    voxels[:, 14, 6] = 1
    for axes, flips in ORIENTATIONS:
        marked = sitk.GetImageFromArray(voxels)
        marked.CopyInformation(image)
        stored = reorient(marked, axes, flips)
        place = np.argwhere(sitk.GetArrayFromImage(stored) == 1)[0][::-1]
        stack = ShortAxisStack(stored, 0.5)
        in_plane = [int(place[axis]) for axis in sorted(stack.frame.axes[1:])]
        row, column = stack.locate(*in_plane)
        brightest = np.unravel_index(stack.slices[0].argmax(), stack.slices[0].shape)
        assert abs(row - brightest[0]) <= 2 and abs(column - brightest[1]) <= 2


@pytest.mark.parametrize("flipped", [False, True])
def test_slice_numbers_of_the_file_are_found_in_the_stack(flipped) -> None:
    image = make_asymmetric_volume()
    stored = sitk.Flip(image, (False, False, flipped), False)
    stack = ShortAxisStack(stored, 1.5)
    voxels = sitk.GetArrayFromImage(stored)
    own = stack.frame.apply(voxels)[stack.frame.slice_position(1, 5)]
    np.testing.assert_array_equal(own, voxels[1])


def test_normalisation_survives_what_scanners_and_people_do() -> None:
    clean = np.random.default_rng(0).uniform(50, 150, (4, 32, 32)).astype(np.float32)
    reference = normalise_intensity(clean)
    spiked = clean.copy()
    spiked[0, 0, 0] = 1e6
    np.testing.assert_allclose(normalise_intensity(spiked)[1], reference[1], atol=0.02)
    np.testing.assert_allclose(normalise_intensity(clean - 1000), reference, atol=1e-5)
    padded = np.pad(clean, ((0, 0), (16, 16), (16, 16)))
    np.testing.assert_allclose(normalise_intensity(padded)[:, 16:-16, 16:-16], reference, atol=0.01)
    assert not normalise_intensity(np.full((2, 8, 8), 7.0)).any()
    one_flat_slice = clean.copy()
    one_flat_slice[2] = 0
    assert np.isfinite(normalise_intensity(one_flat_slice)).all()
    for slices in (reference, normalise_intensity(spiked)):
        assert slices.min() >= 0 and slices.max() <= 1 and slices.dtype == np.float32


@pytest.mark.parametrize(
    "offset, dtype", [(1 << 60, np.int64), (-(1 << 60), np.int64), (1 << 63, np.uint64), (1e9, np.float64)]
)
def test_small_steps_on_top_of_a_large_offset_are_not_lost(offset, dtype) -> None:
    clean = sitk.Cast(make_asymmetric_volume(), sitk.sitkInt16)
    raised = sitk.GetImageFromArray(sitk.GetArrayFromImage(clean).astype(dtype) + dtype(offset))
    raised.CopyInformation(clean)
    np.testing.assert_allclose(ShortAxisStack(raised, 1.5).slices, ShortAxisStack(clean, 1.5).slices, atol=1e-5)


def test_a_large_volume_in_portions_is_the_same_as_whole(monkeypatch) -> None:
    image = make_asymmetric_volume()
    probabilities = np.random.default_rng(0).random((4, 5, 24, 24)).astype(np.float32)

    def do_all():
        stack = ShortAxisStack(image, 1.5)
        return stack.slices, sitk.GetArrayFromImage(stack.crop(None, 24).restore(probabilities))

    whole = do_all()
    monkeypatch.setattr("confuda.imaging.stack.PORTION_VOXELS", 1200)
    for part, expected in zip(do_all(), whole):
        np.testing.assert_array_equal(part, expected)
