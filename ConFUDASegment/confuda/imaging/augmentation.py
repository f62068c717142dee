"""Random geometry and random contrast for training, in batches of torch tensors.

Source pretraining sees every contrast an MR scanner could give the same anatomy, so that the network learns shape and
edges rather than the bSSFP look: random maps of intensity, a contrast of its own for every class, late-enhancement-like
contrast with scars, bias field, blur, partial volume, noise. Images are (B, 1, H, W) in [0, 1], labels (B, H, W) with
0 background, 1 MYO, 2 LV, 3 RV.
"""

import math
from dataclasses import dataclass
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

MYO, LV, RV = 1, 2, 3


@dataclass(frozen=True)
class GeometrySettings:
    """Random affine and elastic motion. Angles in degrees, shifts in pixels, elastic in pixels of displacement."""

    rotation: float = 180.0
    flip: bool = True
    scale: Tuple[float, float] = (0.75, 1.35)
    shear: float = 0.1
    shift: float = 16.0
    far_shift: float = 45.0
    far_probability: float = 0.12
    elastic: float = 3.0


@dataclass(frozen=True)
class ContrastSettings:
    """How often (probability) each change of contrast happens.

    ``scar`` and ``black_blood`` are shares of the images that are, or are not, late-enhancement-like;
    ``endocardial_scar`` and ``dark_core`` of the scars; ``slow_flow`` of the black-blood images.
    """

    intensity_map: float = 0.6
    class_contrast: float = 0.75
    late_enhancement: float = 0.5
    scar: float = 0.75
    endocardial_scar: float = 0.6
    dark_core: float = 0.35
    black_blood: float = 0.25
    slow_flow: float = 0.3
    gamma: float = 0.5
    bias_field: float = 0.6
    blur: float = 0.35
    coarse: float = 0.2
    noise: float = 0.6
    padding: float = 0.25


def _uniform(shape: Tuple[int, ...], low: float, high: float, generator: Optional[torch.Generator]) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _chance(count: int, probability: float, generator: Optional[torch.Generator]) -> Tensor:
    """(B, 1, 1, 1) float mask: 1 where it happens."""
    return (torch.rand((count, 1, 1, 1), generator=generator) < probability).float()


def _smooth_field(
    count: int, cells: int, size: Tuple[int, int], channels: int, generator: Optional[torch.Generator]
) -> Tensor:
    """Smooth random field (B, channels, H, W) of about unit variance with ``cells`` bumps across."""
    coarse = torch.randn((count, channels, cells, cells), generator=generator)
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)


def _gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image (B, C, H, W) with its own ``sigma`` (B,) in pixels."""
    count, channels, height, width = images.shape
    radius = 4
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets[None] / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = images.reshape(1, count * channels, height, width)
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), "replicate"), kernel[:, None, :, None], groups=count * channels)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), "replicate"), kernel[:, None, None, :], groups=count * channels)
    return flat.reshape(images.shape)


def sample_grid(
    count: int,
    source_size: Tuple[int, int],
    size: int,
    settings: GeometrySettings,
    generator: Optional[torch.Generator] = None,
) -> Tensor:
    """Random sampling grids (B, size, size, 2) for :func:`torch.nn.functional.grid_sample` from ``source_size``
    images."""
    angle = _uniform((count,), -settings.rotation, settings.rotation, generator) * math.pi / 180
    scale = torch.exp(_uniform((count,), math.log(settings.scale[0]), math.log(settings.scale[1]), generator))
    stretch = torch.exp(_uniform((count,), -settings.shear, settings.shear, generator))
    shear = _uniform((count,), -settings.shear, settings.shear, generator)
    mirror = (
        torch.where(torch.rand((count,), generator=generator) < 0.5, -1.0, 1.0) if settings.flip else torch.ones(count)
    )
    shift = _uniform((count, 2), -settings.shift, settings.shift, generator)
    far = _uniform((count, 2), -settings.far_shift, settings.far_shift, generator)
    is_far = torch.rand((count, 1), generator=generator) < settings.far_probability
    shift = torch.where(is_far, far, shift)

    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    x = columns[None] + shift[:, 0, None, None]
    y = rows[None] + shift[:, 1, None, None]
    if settings.elastic > 0:
        bumps = _smooth_field(count, 5, (size, size), 2, generator) * settings.elastic
        bumps = bumps * torch.rand((count, 1, 1, 1), generator=generator)
        x, y = x + bumps[:, 0], y + bumps[:, 1]
    x = (x + shear[:, None, None] * y) * (stretch / scale * mirror)[:, None, None]
    y = y / (stretch * scale)[:, None, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    grid_x, grid_y = cos * x - sin * y, sin * x + cos * y
    return torch.stack([grid_x * 2 / source_size[1], grid_y * 2 / source_size[0]], dim=-1)


def warp(images: Tensor, labels: Optional[Tensor], grid: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
    """Images (linear) and labels (nearest) at ``grid``; zero outside."""
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if labels is None:
        return moved, None
    moved_labels = F.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved, moved_labels[:, 0].round().long()


def map_intensity(images: Tensor, generator: Optional[torch.Generator] = None, knots: int = 7) -> Tensor:
    """A random piecewise linear map of intensity for each image; two in three are monotone (rising or falling)."""
    count = images.shape[0]
    values = torch.rand((count, knots), generator=generator)
    rising = values.sort(dim=1).values
    kind = torch.rand((count, 1), generator=generator)
    falling = rising.flip(1)
    # Half way between a random and a rising map: neighbours in intensity swap, far apart ones mostly do not.
    wild = 0.5 * (values + rising)
    table = torch.where(kind < 0.5, rising, torch.where(kind < 0.65, falling, wild))
    position = images.clamp(0, 1) * (knots - 1)
    left = position.floor().clamp(max=knots - 2)
    fraction = position - left
    index = left.long().reshape(count, -1)
    low = table.gather(1, index).reshape(images.shape)
    high = table.gather(1, index + 1).reshape(images.shape)
    return low + (high - low) * fraction


def soften_labels(labels: Tensor, classes: int, generator: Optional[torch.Generator] = None) -> Tensor:
    """One-hot ``labels`` (B, H, W) as (B, classes, H, W) with edges about a pixel wide, as partial volume makes
    them."""
    masks = F.one_hot(labels, classes).permute(0, 3, 1, 2).float()
    return _gaussian_blur(masks, _uniform((len(labels),), 0.4, 1.0, generator))


def recolour_classes(
    images: Tensor, labels: Tensor, settings: ContrastSettings, generator: Optional[torch.Generator] = None
) -> Tensor:
    """Give MYO, LV and RV new mean intensities, keep (scaled) texture; sometimes late-enhancement-like, with scars.

    Edges are softened over about a pixel, so that the new contrast has partial volume like the old.
    """
    count = images.shape[0]
    masks = F.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    mass = masks.sum((2, 3))
    mean = (images * masks).sum((2, 3)) / mass.clamp_min(1.0)
    soft = soften_labels(labels, 4, generator)

    late = torch.rand((count,), generator=generator) < settings.late_enhancement
    black_blood = ~late & (torch.rand((count,), generator=generator) < settings.black_blood)
    myo = torch.where(late, _uniform((count,), 0.0, 0.3, generator), torch.rand((count,), generator=generator))
    myo = torch.where(black_blood, _uniform((count,), 0.2, 0.7, generator), myo)
    lv = torch.where(late, _uniform((count,), 0.3, 1.0, generator), torch.rand((count,), generator=generator))
    lv = torch.where(black_blood, _uniform((count,), 0.0, 0.3, generator), lv)
    apart = torch.rand((count,), generator=generator) < 0.2
    rv = torch.where(
        apart, torch.rand((count,), generator=generator), lv + 0.08 * torch.randn((count,), generator=generator)
    )
    level = torch.stack([torch.zeros(count), myo, lv, rv.clamp(0, 1)], dim=1)
    # Papillary muscles and trabeculae are labelled blood: they stay darker or brighter than it as far as texture stays.
    texture = _uniform((count, 4), 0.2, 1.3, generator)
    recoloured = level[:, :, None, None] + texture[:, :, None, None] * (images - mean[:, :, None, None])
    changed = images * soft[:, :1] + (recoloured[:, 1:] * soft[:, 1:]).sum(1, keepdim=True)

    slow = _chance(count, settings.slow_flow, generator) * black_blood[:, None, None, None].float()
    changed = _draw_slow_flow(changed, soft, slow, generator)
    has_scar = _chance(count, settings.scar, generator) * late[:, None, None, None].float()
    changed = _draw_scar(changed, soft, lv, myo, has_scar, settings, generator)
    return torch.where(_chance(count, settings.class_contrast, generator) > 0, changed, images)


def _measure_depth(soft: Tensor) -> Tensor:
    """How near each pixel of MYO lies to the blood of LV, (B, 1, H, W): about 1 at the endocardium, 0 at the
    epicardium."""
    wide = torch.full((len(soft),), 3.0)
    inner = _gaussian_blur(_gaussian_blur(soft[:, LV : LV + 1], wide), wide)
    outer = _gaussian_blur(_gaussian_blur(soft[:, :1] + soft[:, RV : RV + 1], wide), wide)
    return inner / (inner + outer).clamp_min(1e-4)


def _draw_scar(
    images: Tensor,
    soft: Tensor,
    lv: Tensor,
    myo: Tensor,
    has_scar: Tensor,
    settings: ContrastSettings,
    generator: Optional[torch.Generator],
) -> Tensor:
    """Bright patches inside MYO: some anywhere, some that start at the endocardium, as infarcts do, and reach a random
    depth; some with a core that stays dark (microvascular obstruction), which looks like wall beside blood."""
    count, _, height, width = images.shape
    field = _smooth_field(count, 5, (height, width), 1, generator)
    inside = torch.sigmoid((field - _uniform((count, 1, 1, 1), 0.2, 1.2, generator)) * 8)
    # An infarct takes a sector of the wall, sometimes nearly all of it.
    sector = torch.sigmoid((field - _uniform((count, 1, 1, 1), -1.0, 0.6, generator)) * 8)
    wall = torch.sigmoid((_measure_depth(soft) - _uniform((count, 1, 1, 1), 0.1, 0.75, generator)) * 12)
    endocardial = _chance(count, settings.endocardial_scar, generator)
    shape = torch.lerp(inside, sector * wall, endocardial)
    scar_level = (lv * _uniform((count,), 0.7, 1.5, generator)).clamp(0, 1.1)[:, None, None, None]
    core = torch.sigmoid((_smooth_field(count, 9, (height, width), 1, generator) - 0.4) * 8)
    core = core * shape * _chance(count, settings.dark_core, generator)
    level = torch.lerp(scar_level.expand_as(images), myo[:, None, None, None].expand_as(images), core)
    return torch.lerp(images, level, shape * soft[:, MYO : MYO + 1] * has_scar)


def _draw_slow_flow(images: Tensor, soft: Tensor, amount: Tensor, generator: Optional[torch.Generator]) -> Tensor:
    """Blood that was too slow to turn black: a bright rim, patchy, where LV and RV meet the wall."""
    count, _, height, width = images.shape
    blood = soft[:, LV : LV + 1] + soft[:, RV : RV + 1]
    deep = _gaussian_blur(blood, torch.full((count,), 3.0))
    patches = torch.sigmoid(_smooth_field(count, 7, (height, width), 1, generator) * 6)
    rim = blood * torch.sigmoid((0.8 - deep) * 12) * patches * amount
    return torch.lerp(images, _uniform((count, 1, 1, 1), 0.4, 1.0, generator).expand_as(images), rim)


def randomise_contrast(
    images: Tensor,
    labels: Optional[Tensor] = None,
    settings: Optional[ContrastSettings] = None,
    generator: Optional[torch.Generator] = None,
) -> Tensor:
    """All random changes of contrast in turn; without ``labels`` those that need none. Returns images in [0, 1]."""
    settings = settings or ContrastSettings()
    count, _, height, width = images.shape
    images = torch.where(
        _chance(count, settings.intensity_map, generator) > 0, map_intensity(images, generator), images
    )
    if labels is not None:
        images = recolour_classes(images, labels, settings, generator)
    gamma = torch.exp(_uniform((count, 1, 1, 1), -0.7, 0.7, generator) * _chance(count, settings.gamma, generator))
    images = images.clamp(0, 1.2).pow(gamma)
    bias = torch.exp(0.3 * _smooth_field(count, 4, (height, width), 1, generator))
    images = torch.where(_chance(count, settings.bias_field, generator) > 0, images * bias, images)

    coarse = F.interpolate(F.avg_pool2d(images, 2), size=(height, width), mode="bilinear", align_corners=False)
    images = torch.where(_chance(count, settings.coarse, generator) > 0, coarse, images)
    blurred = _gaussian_blur(images, _uniform((count,), 0.3, 1.3, generator))
    images = torch.where(_chance(count, settings.blur, generator) > 0, blurred, images)

    level = _uniform((count, 1, 1, 1), 0.0, 0.08, generator) * _chance(count, settings.noise, generator)
    rician = (torch.rand((count, 1, 1, 1), generator=generator) < 0.5).float()
    real = images + level * torch.randn(images.shape, generator=generator)
    imaginary = rician * level * torch.randn(images.shape, generator=generator)
    images = torch.sqrt(real**2 + imaginary**2) * rician + real * (1 - rician)

    images = _pad_side(images, settings.padding, generator)
    return rescale_intensity(images, generator)


def _pad_side(images: Tensor, probability: float, generator: Optional[torch.Generator]) -> Tensor:
    """Black out what lies beyond a random line, as at the edge of a field of view or of a resampled volume."""
    count, _, height, width = images.shape
    angle = _uniform((count, 1, 1, 1), 0, 2 * math.pi, generator)
    distance = _uniform((count, 1, 1, 1), 0.35, 1.0, generator)
    rows = torch.linspace(-1, 1, height)[None, None, :, None]
    columns = torch.linspace(-1, 1, width)[None, None, None, :]
    beyond = (torch.cos(angle) * columns + torch.sin(angle) * rows) > distance
    return images.masked_fill(beyond & (_chance(count, probability, generator) > 0), 0.0)


def rescale_intensity(images: Tensor, generator: Optional[torch.Generator] = None) -> Tensor:
    """Min-max between random low and high percentiles of each image, as the normalisation of another volume might
    do."""
    count = images.shape[0]
    flat = images.reshape(count, -1)
    # Every seventh pixel is enough for a percentile, and sorting is what costs.
    ordered = flat[:, ::7].sort(dim=1).values
    last = ordered.shape[1] - 1
    low = ordered.gather(1, (_uniform((count, 1), 0.0, 0.05, generator) * last).long())
    high = ordered.gather(1, (_uniform((count, 1), 0.95, 1.0, generator) * last).long())
    flat = (flat - low) / (high - low).clamp_min(1e-3)
    return flat.clamp(0, 1).reshape(images.shape)
