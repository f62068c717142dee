"""Volumes with no heart in them, drawn with the size and spacing of cardiac MR: the network must see none either."""

from typing import Callable, Dict, List

import numpy as np
import SimpleITK as sitk

SIZE = (8, 208, 224)
"""Slices, rows, columns."""

SPACING_MM = (1.4, 1.4, 8.0)


def _grid() -> List[np.ndarray]:
    """Slice number from -1 to 1 and rows and columns in mm from the middle, each (slices, rows, columns)."""
    levels, rows, columns = np.indices(SIZE, dtype=np.float32)
    return [
        2 * levels / (SIZE[0] - 1) - 1,
        (rows - SIZE[1] / 2) * SPACING_MM[1],
        (columns - SIZE[2] / 2) * SPACING_MM[0],
    ]


def _smooth(voxels: np.ndarray, width_mm: float) -> np.ndarray:
    """Gaussian smoothing within slices."""
    image = sitk.GetImageFromArray(voxels.astype(np.float32))
    image.SetSpacing((SPACING_MM[0], SPACING_MM[1], 1.0))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, (width_mm, width_mm, 0.05)))


def _draw_texture(rng: np.random.Generator, width_mm: float) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1."""
    texture = _smooth(rng.normal(size=SIZE), width_mm)
    return (texture - texture.mean()) / texture.std()


def _add_noise(voxels: np.ndarray, rng: np.random.Generator, level: float = 12.0) -> np.ndarray:
    """Rician noise, as of a magnitude image."""
    return np.hypot(voxels + rng.normal(0, level, SIZE), rng.normal(0, level, SIZE))


def draw_white_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(200, 40, SIZE)


def draw_rician_noise(rng: np.random.Generator) -> np.ndarray:
    return _add_noise(np.zeros(SIZE), rng, 30)


def draw_fine_texture(rng: np.random.Generator) -> np.ndarray:
    return 200 + 60 * _draw_texture(rng, rng.uniform(2, 4))


def draw_coarse_texture(rng: np.random.Generator) -> np.ndarray:
    return _add_noise(np.maximum(0, 200 + 80 * _draw_texture(rng, rng.uniform(6, 20))), rng)


def draw_brain(rng: np.random.Generator) -> np.ndarray:
    """A ball like a head: scalp, skull, fluid, folded grey matter, white matter and two ventricles."""
    level, rows, columns = _grid()
    shrink = np.sqrt(np.maximum(0.05, 1 - 0.5 * level**2))
    radius = np.hypot(rows / 95, columns / 78) / shrink
    folds = 0.05 * _draw_texture(rng, 5)
    scalp, skull, fluid, grey, white = rng.permutation([(230, 30, 60, 130, 190), (220, 20, 240, 170, 110)])[0]
    voxels = np.zeros(SIZE)
    for limit, value in ((1.0, scalp), (0.94, skull), (0.88, fluid)):
        voxels[radius < limit] = value
    voxels[radius + folds < 0.84] = grey
    voxels[radius + 2 * folds < 0.72] = white
    for side in (-1, 1):
        ventricle = np.hypot(rows / 26, (columns - side * 12 * shrink) / 8) < shrink
        voxels[ventricle] = fluid
    return _add_noise(_smooth(voxels, 1.0), rng)


def draw_bottle(rng: np.random.Generator) -> np.ndarray:
    """A water bottle, with a bubble at its top."""
    _, rows, columns = _grid()
    radius = rng.uniform(40, 100)
    voxels = 300.0 * (np.hypot(rows, columns) < radius)
    voxels[np.hypot(rows + 0.7 * radius, columns) < 0.2 * radius] = 0
    return _add_noise(_smooth(voxels, 0.8), rng)


def draw_solid_ball(rng: np.random.Generator) -> np.ndarray:
    level, rows, columns = _grid()
    radius = rng.uniform(25, 70)
    voxels = 60 + 200.0 * (np.hypot(rows, columns) < radius * np.sqrt(np.maximum(0.0, 1.05 - level**2)))
    return _add_noise(_smooth(voxels, 0.8), rng)


def draw_thighs(rng: np.random.Generator) -> np.ndarray:
    """Two legs: fat, muscle, dark cortical bone round bright marrow."""
    _, rows, columns = _grid()
    voxels = np.zeros(SIZE)
    for side in (-1, 1):
        distance = np.hypot(rows, columns - side * 72)
        bone = np.hypot(rows - 5, columns - side * 78)
        voxels[distance < 66] = 280
        voxels[distance < 56] = 110
        voxels[bone < 15] = 15
        voxels[bone < 9] = 250
    voxels += 12 * _draw_texture(rng, 4) * (voxels > 0)
    return _add_noise(_smooth(np.maximum(0, voxels), 0.8), rng)


def draw_belly(rng: np.random.Generator) -> np.ndarray:
    """An axial belly: fat, liver, spleen, kidneys, spine, vessels."""
    level, rows, columns = _grid()
    voxels = np.zeros(SIZE)
    body = np.hypot(rows / 105, columns / 145)
    voxels[body < 1.0] = 280
    voxels[body < 0.88] = 90
    organs = (
        (-25, -65, 60, 62, 150),
        (-15, 80, 45, 38, 130),
        (35, -60, 28, 20, 190),
        (35, 62, 28, 20, 190),
        (55, 0, 20, 22, 120),
        (25, 8, 9, 9, 260),
        (20, -14, 10, 8, 40),
        (-45, 30, 30, 40, 60),
    )
    for row, column, tall, wide, value in organs:
        row, column = row + rng.uniform(-6, 6) + 4 * level, column + rng.uniform(-6, 6)
        voxels[np.hypot((rows - row) / tall, (columns - column) / wide) < 1] = value
    voxels += 10 * _draw_texture(rng, 5) * (voxels > 0)
    return _add_noise(_smooth(np.maximum(0, voxels), 1.0), rng)


def draw_blobs(rng: np.random.Generator) -> np.ndarray:
    """Ellipses of every size and grey value over one another."""
    return _add_noise(_smooth(np.repeat(_draw_ellipses(rng), SIZE[0], axis=0), 1.0), rng)


def draw_changing_blobs(rng: np.random.Generator) -> np.ndarray:
    """As :func:`draw_blobs`, with nothing in common from slice to slice."""
    return _add_noise(_smooth(np.concatenate([_draw_ellipses(rng) for _ in range(SIZE[0])]), 1.0), rng)


def _draw_ellipses(rng: np.random.Generator) -> np.ndarray:
    """One slice, (1, rows, columns)."""
    _, rows, columns = (axis[:1] for axis in _grid())
    voxels = np.full(rows.shape, 100.0)
    for _ in range(40):
        row, column = rng.uniform(-140, 140, 2)
        tall, wide = rng.uniform(6, 45, 2)
        voxels[np.hypot((rows - row) / tall, (columns - column) / wide) < 1] = rng.uniform(0, 300)
    return voxels


def draw_chequers(rng: np.random.Generator) -> np.ndarray:
    _, rows, columns = _grid()
    pitch = rng.uniform(10, 45)
    voxels = 250.0 * ((np.floor(rows / pitch) + np.floor(columns / pitch)) % 2)
    return _add_noise(voxels, rng)


def draw_stripes(rng: np.random.Generator) -> np.ndarray:
    _, rows, columns = _grid()
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(8, 60)
    return _add_noise(150 + 120 * np.sin(2 * np.pi * (rows * np.cos(angle) + columns * np.sin(angle)) / pitch), rng)


def draw_ramp(rng: np.random.Generator) -> np.ndarray:
    _, rows, columns = _grid()
    return 500 + rng.uniform(-2, 2) * rows + rng.uniform(-2, 2) * columns


def draw_vessels(rng: np.random.Generator) -> np.ndarray:
    """Bright round vessels across a grey background, none of them with a wall."""
    _, rows, columns = _grid()
    voxels = 110 + 15 * _draw_texture(rng, 12)
    for _ in range(12):
        row, column = rng.uniform(-120, 120, 2)
        voxels[np.hypot(rows - row, columns - column) < rng.uniform(4, 16)] = 280
    return _add_noise(_smooth(voxels, 0.8), rng)


def draw_boxes(rng: np.random.Generator) -> np.ndarray:
    _, rows, columns = _grid()
    voxels = np.zeros(SIZE)
    for _ in range(30):
        row, column = rng.uniform(-140, 140, 2)
        tall, wide = rng.uniform(5, 50, 2)
        voxels[(abs(rows - row) < tall) & (abs(columns - column) < wide)] = rng.uniform(0, 300)
    return _add_noise(voxels, rng)


def draw_one_bright_voxel(rng: np.random.Generator) -> np.ndarray:
    voxels = np.zeros(SIZE)
    voxels[tuple(int(rng.integers(count)) for count in SIZE)] = 1000
    return voxels


NON_HEARTS: Dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "white noise": draw_white_noise,
    "Rician noise": draw_rician_noise,
    "fine texture": draw_fine_texture,
    "coarse texture": draw_coarse_texture,
    "brain-like ball": draw_brain,
    "water bottle": draw_bottle,
    "solid ball": draw_solid_ball,
    "thighs": draw_thighs,
    "belly": draw_belly,
    "blobs": draw_blobs,
    "changing blobs": draw_changing_blobs,
    "chequers": draw_chequers,
    "stripes": draw_stripes,
    "ramp": draw_ramp,
    "vessels": draw_vessels,
    "boxes": draw_boxes,
    "one bright voxel": draw_one_bright_voxel,
}
"""What is drawn, (slices, rows, columns), by name."""


def make_non_heart(name: str, seed: int = 0) -> sitk.Image:
    """The volume ``name`` of ``NON_HEARTS`` as int16; ``seed`` decides on sizes, places and noise."""
    voxels = NON_HEARTS[name](np.random.default_rng(seed))
    image = sitk.GetImageFromArray(np.clip(voxels, -2000, 4000).astype(np.int16))
    image.SetSpacing(SPACING_MM)
    return image
