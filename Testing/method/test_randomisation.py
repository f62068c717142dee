"""Random geometry and contrast of training slices: what moves together, what changes, and what must stay."""

import dataclasses

import pytest
import torch

from confuda.imaging.random_contrast import (
    LEAST_CONTRAST,
    change_contrast,
    map_intensity,
    measure_contrast,
    recolour_classes,
    soften_labels,
)
from confuda.imaging.random_geometry import draw_grid, warp, warp_labels
from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.imaging.randomisation import randomise

MYO, LV = 1, 2
CHANCES = (
    *("intensity_map", "random_network", "background_map", "class_contrast", "late_enhancement", "black_blood", "scar"),
    *("blooming", "slow_flow", "gamma", "bias_field", "coarse", "blur", "noise", "strong_noise", "ghosts", "spikes"),
    *("voids", "padding"),
)
STILL = RandomSettings(rotation=0, scale=(1, 1), shear=0, shift_mm=0, far_shift=0, elastic_mm=0, misalignment_mm=0)


def throw(seed: int = 0) -> Dice:
    return Dice(torch.Generator().manual_seed(seed))


def paint_plain_heart(count: int = 16, channels: int = 1) -> tuple:
    """Equal images (B, C, 64, 64) of a wall (0.3) around blood (0.8) on 0.1, and their labels."""
    labels = torch.zeros(count, channels, 64, 64, dtype=torch.long)
    labels[..., 10:50, 10:50] = MYO
    labels[..., 20:40, 20:40] = LV
    return 0.1 + 0.2 * (labels == MYO).float() + 0.7 * (labels == LV).float(), labels


def measure_mean(images: torch.Tensor, labels: torch.Tensor, label: int) -> torch.Tensor:
    """Mean of each sample where it has ``label``, (B,)."""
    return torch.stack([image[own == label].mean() for image, own in zip(images, labels)])


def only(**chances: float) -> RandomSettings:
    """No chance of anything but ``chances``."""
    return RandomSettings(**{**dict.fromkeys(CHANCES, 0.0), "plain_share": 0.0, **chances})


# Geometry


def test_image_and_labels_move_together_in_all_channels() -> None:
    labels = torch.zeros(4, 3, 96, 96, dtype=torch.long)
    for channel in range(3):
        labels[:, channel, 30 - 4 * channel : 50, 40 : 70 + 4 * channel] = 2
    grid = draw_grid(throw(), 4, 3, 96, 64, (1.5, 1.5), RandomSettings())
    image, moved = warp((labels == 2).float(), grid), warp_labels(labels, grid)
    assert image.shape == moved.shape == (4, 3, 64, 64)
    assert set(moved.unique().tolist()) == {0, 2}
    for channel in range(3):
        agreement = ((image[:, channel] > 0.5) == (moved[:, channel] == 2)).float().mean()
        assert agreement > 0.999


def test_channels_of_a_sample_share_one_motion_but_for_the_breath() -> None:
    together = dataclasses.replace(RandomSettings(), misalignment_mm=0.0)
    images = torch.rand(3, 1, 96, 96).expand(-1, 3, -1, -1)
    moved = warp(images, draw_grid(throw(), 3, 3, 96, 64, (1.5, 1.5), together))
    torch.testing.assert_close(moved[:, 0], moved[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(moved[:, 2], moved[:, 1], rtol=0, atol=0)
    assert not torch.equal(moved[0], moved[1])
    # 3 mm of 1.5 mm pixels: the neighbours slip by about two pixels, the slice itself does not.
    slipping = dataclasses.replace(STILL, misalignment_mm=3.0)
    grid = draw_grid(throw(), 200, 3, 96, 4, (1.5, 1.5), slipping).reshape(200, 3, 4, 4, 2)
    slip_mm = (grid - grid[:, 1:2])[:, :, 0, 0] * (96 * 1.5 / 2)
    assert not slip_mm[:, 1].any()
    assert 2.6 < slip_mm[:, [0, 2]].std() < 3.4


def test_geometry_without_motion_is_the_central_window_or_its_mirror_image() -> None:
    images = torch.rand(16, 1, 96, 96)
    moved = warp(images, draw_grid(throw(), 16, 1, 96, 64, (1.5, 1.5), STILL))
    window = images[:, :, 16:80, 16:80]
    plain, mirrored = (
        [torch.allclose(one, other, atol=1e-4, rtol=1e-4) for one, other in zip(moved, wanted)]
        for wanted in (window, window.flip(3))
    )
    assert all(one != other for one, other in zip(plain, mirrored))
    assert any(plain) and any(mirrored)


def test_finer_pixels_show_the_same_heart_larger() -> None:
    _, labels = paint_plain_heart(8)
    moved = warp_labels(labels, draw_grid(throw(), 8, 1, 64, 96, (1.0, 1.5), STILL))
    wanted = (labels == LV).sum() * 1.5**2
    assert abs(float((moved == LV).sum() / wanted) - 1) < 0.06


# Contrast


def test_random_contrast_keeps_range_and_anatomy() -> None:
    images, labels = paint_plain_heart()
    images = images + 0.05 * torch.rand(16, 1, 64, 64)
    changed = randomise(throw(), images, labels, RandomSettings())
    assert changed.shape == images.shape and 0 <= changed.min() and changed.max() <= 1
    assert torch.isfinite(changed).all()
    # Blood is not always the bright one any more.
    blood, muscle = (measure_mean(changed, labels, label) for label in (LV, MYO))
    assert (blood > muscle).any() and (blood < muscle).any()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_images_of_one_level_stay_finite_and_in_range(level) -> None:
    """Black padding and saturated files: nothing to stretch between."""
    labels = paint_plain_heart(8, 3)[1]
    for settings in (RandomSettings(), only(**dict.fromkeys(CHANCES, 1.0))):
        for present in (labels, torch.zeros_like(labels)):
            changed = randomise(throw(), torch.full((8, 3, 64, 64), level), present, settings)
            assert torch.isfinite(changed).all() and 0 <= changed.min() and changed.max() <= 1


def test_a_plain_sample_keeps_its_contrast() -> None:
    images, labels = paint_plain_heart(8, 3)
    plain = dataclasses.replace(RandomSettings(), plain_share=1.0)
    assert torch.equal(change_contrast(throw(), images, labels, plain), images)
    changed = change_contrast(throw(), images, labels, dataclasses.replace(plain, plain_share=0.0))
    assert not torch.equal(changed, images)


def test_the_same_seed_gives_the_same_images() -> None:
    images, labels = paint_plain_heart(6, 3)
    one, two, other = (randomise(throw(seed), images, labels, RandomSettings()) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_muscle_and_blood_never_look_alike() -> None:
    images, labels = paint_plain_heart(100)
    settings = dataclasses.replace(RandomSettings(), plain_share=0.0)
    contrast = measure_contrast(change_contrast(throw(), images, labels, settings), labels)
    assert contrast.min() >= LEAST_CONTRAST
    blood, muscle = (measure_mean(images, labels, label) for label in (LV, MYO))
    torch.testing.assert_close(measure_contrast(images, labels).flatten(), blood - muscle)


def test_channels_of_a_sample_have_one_contrast() -> None:
    """Equal slices as channels come out equal: only disturbance, which is each slice's own, may tell them apart."""
    images, labels = paint_plain_heart(32, 3)
    settings = dataclasses.replace(RandomSettings(), plain_share=0.0)
    changed = change_contrast(throw(), images + 0.05 * torch.rand(32, 1, 64, 64), labels, settings)
    for channel in (0, 2):
        torch.testing.assert_close(changed[:, channel], changed[:, 1], rtol=0, atol=1e-5)


def test_scars_start_at_the_endocardium() -> None:
    images, labels = paint_plain_heart()

    def paint(scar: float) -> torch.Tensor:
        settings = only(late_enhancement=1.0, scar=scar, endocardial_scar=1.0, dark_core=0.0)
        return recolour_classes(throw(1), images, labels, settings)

    scar = (paint(1.0) - paint(0.0)).abs() > 0.05
    assert scar.any() and not scar[:, :, :7].any() and not scar[:, :, :, 53:].any()
    inner, outer = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    inner[..., 17:43, 17:43] = True
    outer[..., 10:50, 10:50] = True
    outer[..., 13:47, 13:47] = False
    assert scar[inner & (labels == MYO)].float().mean() > 1.5 * scar[outer].float().mean()


def test_black_blood_is_darker_than_muscle() -> None:
    images, labels = paint_plain_heart(64)
    changed = recolour_classes(throw(), images, labels, only(black_blood=1.0))
    blood, muscle = (measure_mean(changed, labels, label) for label in (LV, MYO))
    assert (blood < muscle).float().mean() > 0.8 and blood.max() < 0.35


def test_blooming_moves_the_visible_border_outwards_and_leaves_the_labels() -> None:
    _, labels = paint_plain_heart(4)
    kept = labels.clone()
    shares = [soften_labels(throw(), labels, torch.full((4, 1, 1, 1), factor)) for factor in (1.0, 3.0, 6.0)]
    areas = [float((share[:, LV] > 0.5).sum()) / 4 for share in shares]
    assert abs(areas[0] - 400) <= 4
    assert areas[0] < areas[1] < areas[2] < 26**2
    assert torch.equal(labels, kept)
    for share in shares:
        torch.testing.assert_close(share.sum(1), torch.ones(4, 1, 64, 64))


def test_blooming_blood_is_seen_in_the_images() -> None:
    images, labels = paint_plain_heart(32)

    def measure_bright_share(**chances: float) -> float:
        """Of the pixels next to the blood, those nearer to it than to the wall in intensity."""
        settings = dataclasses.replace(only(late_enhancement=1.0, **chances), strongest_blooming=6.0)
        changed = recolour_classes(throw(), images, labels, settings)
        blood = changed[..., 23:37, 23:37].mean((1, 2, 3), keepdim=True)
        muscle = changed[..., 12:17, 12:48].mean((1, 2, 3), keepdim=True)
        rim = torch.zeros_like(labels, dtype=torch.bool)
        rim[..., 19:41, 19:41] = True
        rim &= labels == MYO
        return float((changed > (blood + muscle) / 2)[rim].float().mean())

    assert measure_bright_share(blooming=1.0) > measure_bright_share(blooming=0.0) + 0.3


def test_intensity_maps_are_monotone_or_not() -> None:
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 1, 64)
    mapped = map_intensity(throw(), ramp)
    steps = mapped[:, 0, 0].diff(dim=1)
    rising, falling = (steps >= -1e-6).all(1), (steps <= 1e-6).all(1)
    assert 70 < rising.sum() < 160 and falling.sum() > 10 and (~rising & ~falling).sum() > 20
