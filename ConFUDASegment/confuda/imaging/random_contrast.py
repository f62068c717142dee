"""Random contrast of training samples: any that a scanner could give the same anatomy; see ``randomisation``."""

import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from confuda.imaging.blur import gaussian_blur
from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.labels import LV, MYO, RV

LEAST_CONTRAST = 0.08
"""Between the means of LV and MYO, for images in [0, 1]."""


def map_intensity(dice: Dice, images: Tensor, knots: int = 7) -> Tensor:
    """A random piecewise linear map of intensity for each sample; two in three are monotone (rising or falling)."""
    count = len(images)
    values = dice.uniform((count, knots))
    rising = values.sort(dim=1).values
    kind = dice.uniform((count, 1))
    # Half way between a random and a rising map: neighbours in intensity swap, far apart ones mostly do not.
    table = torch.where(kind < 0.5, rising, torch.where(kind < 0.65, rising.flip(1), 0.5 * (values + rising)))
    position = images.clamp(0, 1) * (knots - 1)
    left = position.floor().clamp(max=knots - 2)
    index = left.long().reshape(count, -1)
    low, high = table.gather(1, index).reshape(images.shape), table.gather(1, index + 1).reshape(images.shape)
    return low + (high - low) * (position - left)


def pass_random_network(dice: Dice, images: Tensor, hidden: int = 4) -> Tensor:
    """Each sample through a shallow random network of its own, brought back to [0, 1] and mixed with the sample."""
    count, channels, height, width = images.shape
    # Every second network sees single pixels only: a map of intensity without blur or edges.
    off_centre = (torch.arange(9, device=dice.device) != 4).float().reshape(3, 3)
    pointwise = 1 - off_centre * dice.chance(count, 0.5).float()
    first = dice.normal((count, hidden, 3, 3)) * pointwise
    second = dice.normal((count, hidden, 3, 3)) * pointwise
    bias = 0.5 * dice.normal((count, hidden))
    x = images.reshape(1, count * channels, height, width) - 0.5
    groups = count * channels
    x = F.conv2d(x, first.repeat_interleave(channels, 0).reshape(groups * hidden, 1, 3, 3), padding=1, groups=groups)
    x = F.leaky_relu(x + bias.repeat_interleave(channels, 0).reshape(1, -1, 1, 1), 0.2)
    kernel = second.repeat_interleave(channels, 0).reshape(groups * hidden, 1, 3, 3)
    x = F.conv2d(x, kernel, padding=1, groups=groups * hidden)
    x = x.reshape(count, channels, hidden, height, width).sum(2)
    x = stretch_to_unit(x)
    return torch.lerp(images, x, dice.per_image(count, 0.3, 1.0))


def stretch_to_unit(images: Tensor) -> Tensor:
    """Each sample linearly to [0, 1] between its 2nd and 98th percentile, by every seventh pixel."""
    flat = images.reshape(len(images), -1)
    ordered = flat[:, ::7].sort(dim=1).values
    low, high = ordered[:, int(0.02 * ordered.shape[1])], ordered[:, int(0.98 * ordered.shape[1])]
    flat = (flat - low[:, None]) / (high - low).clamp_min(1e-3)[:, None]
    return flat.clamp(0, 1.2).reshape(images.shape)


def soften_labels(dice: Dice, labels: Tensor, blooming: Optional[Tensor] = None) -> Tensor:
    """Labels as shares (B, 4, C, H, W) with edges about a pixel wide, as partial volume makes them.

    ``blooming`` (B, 1, 1, 1), 1 or more: how much brighter blood outshines the wall; it moves the visible border
    outwards while the labels stay. 1 by default.
    """
    count, channels, height, width = labels.shape
    if blooming is None:
        blooming = torch.ones((count, 1, 1, 1), device=labels.device)
    masks = F.one_hot(labels, 4).permute(0, 4, 1, 2, 3).float().reshape(count, 4 * channels, height, width)
    soft = gaussian_blur(masks, dice.uniform((count,), 0.5, 1.1) * (0.7 + 0.3 * blooming.flatten()))
    soft = soft.reshape(count, 4, channels, height, width)
    weights = torch.ones((count, 4, 1, 1, 1), device=labels.device)
    weights[:, LV.label] = weights[:, RV.label] = blooming
    soft = soft * weights
    return soft / soft.sum(1, keepdim=True)


def measure_contrast(images: Tensor, labels: Tensor) -> Tensor:
    """Distance of the means of LV and MYO, (B, 1, 1, 1); 1 where a sample lacks one of them."""
    means, present = [], torch.ones((len(images), 1, 1, 1), dtype=torch.bool, device=images.device)
    for structure in (MYO, LV):
        mask = (labels == structure.label).float()
        mass = mask.sum((1, 2, 3), keepdim=True)
        means.append((images * mask).sum((1, 2, 3), keepdim=True) / mass.clamp_min(1))
        present &= mass > 0
    return torch.where(present, (means[0] - means[1]).abs(), torch.ones_like(means[0]))


def recolour_classes(dice: Dice, images: Tensor, labels: Tensor, settings: RandomSettings) -> Tensor:
    """Give MYO, LV and RV new levels, keep (scaled) texture; sometimes late-enhancement-like, with scars."""
    count = len(images)
    late = dice.chance(count, settings.late_enhancement)
    black_blood = ~late & dice.chance(count, settings.black_blood)
    blooms = late & dice.chance(count, settings.blooming)
    blooming = torch.where(
        blooms,
        dice.per_image(count, 1.0, settings.strongest_blooming),
        torch.ones((count, 1, 1, 1), device=dice.device),
    )
    soft = soften_labels(dice, labels, blooming)

    lv = torch.where(late, dice.per_image(count, 0.3, 1.0), dice.per_image(count))
    lv = torch.where(black_blood, dice.per_image(count, 0.0, 0.3), lv)
    myo = torch.where(late, dice.per_image(count, 0.0, 0.3), dice.per_image(count))
    myo = torch.where(black_blood, dice.per_image(count, 0.2, 0.7), myo)
    gap = lv - myo
    gap = torch.sign(gap) * torch.maximum(gap.abs(), dice.per_image(count, 0.12, 0.25))
    myo = torch.where((lv - gap).clamp(0, 1) == lv - gap, lv - gap, lv + gap)
    near = lv + 0.08 * dice.normal((count, 1, 1, 1))
    rv = torch.where(dice.chance(count, 0.2), dice.per_image(count), near).clamp(0, 1)

    changed = images * soft[:, 0]
    for structure, level in ((MYO, myo), (LV, lv), (RV, rv)):
        mask = (labels == structure.label).float()
        mean = (images * mask).sum((1, 2, 3), keepdim=True) / mask.sum((1, 2, 3), keepdim=True).clamp_min(1)
        # Papillary muscles and trabeculae are labelled blood: they stay apart from it as far as texture stays.
        texture = dice.per_image(count, 0.2, 1.3)
        # Texture is a class's own: where blood blooms over the wall, the wall's darkness would undo it.
        changed = changed + (level + texture * (images - mean) * mask) * soft[:, structure.label]
    slow = dice.chance(count, settings.slow_flow) & black_blood
    changed = _draw_slow_flow(dice, changed, soft, slow.float())
    has_scar = dice.chance(count, settings.scar) & late
    return _draw_scar(dice, changed, soft, lv, myo, has_scar.float(), settings)


def _draw_scar(
    dice: Dice, images: Tensor, soft: Tensor, lv: Tensor, myo: Tensor, has_scar: Tensor, settings: RandomSettings
) -> Tensor:
    """Bright muscle, as infarcts are: a sector of the wall from the endocardium outwards, often through all of it, or
    patches anywhere; grained as blood is; some with a core that stays dark (microvascular obstruction), which looks
    like wall beside blood."""
    count, size = len(images), images.shape[2:]
    field = dice.field(count, 5, size)
    patches = torch.sigmoid((field - dice.per_image(count, 0.2, 1.2)) * 8)
    sector = torch.sigmoid((_measure_turn(dice, soft) + 0.35 * field) * 8)
    wide = torch.full((count,), 3.5, device=dice.device)
    inner = gaussian_blur(gaussian_blur(soft[:, LV.label], wide), wide)
    outer = gaussian_blur(gaussian_blur(soft[:, 0] + soft[:, RV.label], wide), wide)
    depth = inner / (inner + outer).clamp_min(1e-4)
    # Below 0 the scar goes through the whole wall.
    wall = torch.sigmoid((depth - dice.per_image(count, -0.2, 0.6)) * 12)
    shape = torch.where(dice.chance(count, settings.endocardial_scar), sector * wall, patches.expand_as(wall))
    # Half of the scars are as bright as the blood beside them.
    level = lv * torch.where(
        dice.chance(count, 0.5), dice.per_image(count, 0.85, 1.15), dice.per_image(count, 0.7, 1.6)
    )
    grain = dice.field(count, 56, size) * dice.per_image(count, 0.0, 0.12)
    own = images - gaussian_blur(images, torch.full((count,), 2.0, device=dice.device))
    bright = (level + grain + own * dice.per_image(count, 0.5, 1.5)).clamp(0, 1.2)
    core = torch.sigmoid((dice.field(count, 9, size) - 0.4) * 8) * shape
    core = core * dice.chance(count, settings.dark_core).float()
    return torch.lerp(images, torch.lerp(bright, myo.expand_as(bright), core), shape * soft[:, MYO.label] * has_scar)


def _measure_turn(dice: Dice, soft: Tensor) -> Tensor:
    """How far inside a random sector of the wall each pixel lies, (B, 1, H, W): above 0 inside, in radians."""
    count, height, width = len(soft), soft.shape[-2], soft.shape[-1]
    blood = soft[:, LV.label, soft.shape[2] // 2]
    mass = blood.sum((1, 2)).clamp_min(1e-3)
    rows = torch.arange(height, dtype=soft.dtype, device=soft.device)
    columns = torch.arange(width, dtype=soft.dtype, device=soft.device)
    row = (blood.sum(2) * rows).sum(1) / mass
    column = (blood.sum(1) * columns).sum(1) / mass
    angle = torch.atan2(rows[None, :, None] - row[:, None, None], columns[None, None, :] - column[:, None, None])
    off = (angle[:, None] - dice.per_image(count, -math.pi, math.pi) + 3 * math.pi) % (2 * math.pi) - math.pi
    return dice.per_image(count, 0.3, 2.2) - off.abs()


def _draw_slow_flow(dice: Dice, images: Tensor, soft: Tensor, amount: Tensor) -> Tensor:
    """Blood that was too slow to turn black: a bright rim, patchy, where LV and RV meet the wall."""
    count = len(images)
    blood = soft[:, LV.label] + soft[:, RV.label]
    deep = gaussian_blur(blood, torch.full((count,), 3.0, device=dice.device))
    patches = torch.sigmoid(dice.field(count, 7, images.shape[2:]) * 6)
    rim = blood * torch.sigmoid((0.8 - deep) * 12) * patches * amount
    return torch.lerp(images, dice.per_image(count, 0.4, 1.0).expand_as(images), rim)


def change_contrast(dice: Dice, images: Tensor, labels: Tensor, settings: RandomSettings) -> Tensor:
    """The contrast of another scan for all but ``plain_share`` of the samples."""
    count = len(images)
    kind = dice.per_image(count)
    changed = torch.where(kind < settings.intensity_map, map_intensity(dice, images), images)
    by_network = (kind >= settings.intensity_map) & (kind < settings.intensity_map + settings.random_network)
    changed = torch.where(by_network, pass_random_network(dice, images), changed)
    elsewhere = dice.chance(count, settings.background_map).float() * dice.per_image(count, 0.3, 1.0)
    background = gaussian_blur((labels == 0).float(), torch.full((count,), 0.8, device=dice.device))
    changed = torch.lerp(changed, map_intensity(dice, images), background * elsewhere)
    recoloured = recolour_classes(dice, changed, labels, settings)
    changed = torch.where(dice.chance(count, settings.class_contrast), recoloured, changed).clamp(0, 1.2)
    plain = dice.chance(count, settings.plain_share) | (measure_contrast(changed, labels) < LEAST_CONTRAST)
    return torch.where(plain, images, changed)
