"""The bundled sample, moved, turned, cut and stretched: labels lie where the heart went, or the volume is refused."""

import pytest
from Testing.torture.commands import expect_heart, expect_refusal
from Testing.torture.distortions import (
    ORIENTATIONS,
    chain,
    keep,
    make_oblique,
    pad,
    reorient,
    resample,
    reverse_slices,
    set_direction,
    set_origin,
    set_spacing,
)
from Testing.torture.volume_files import write_distorted

HEART_COLUMNS, HEART_ROWS = slice(58, 130), slice(108, 188)
"""The box round the sample's heart."""

QUICK_ORIENTATIONS = (7, 22, 41)
ALL = slice(None)


@pytest.mark.parametrize(
    "number", [n if n in QUICK_ORIENTATIONS else pytest.param(n, marks=pytest.mark.slow) for n in range(48)]
)
def test_order_and_direction_of_axes(number, tmp_path, seen) -> None:
    """The sample stored in one of the 48 orders and directions of axes: Dice of 0.99 with its own result."""
    geometry = reorient(*ORIENTATIONS[number])
    seen(expect_heart(write_distorted("volume.nrrd", geometry), tmp_path, 0.99, geometry=geometry))


@pytest.mark.slow
@pytest.mark.parametrize(
    "geometry, least_dice",
    [
        pytest.param(make_oblique(35), 0.99, id="turned by 35 degrees about two axes"),
        pytest.param(make_oblique(45), 0.95, id="turned by 45 degrees about two axes, no axis is nearer"),
        # A network that is shown a slice between its neighbours is shown them the other way round in these two.
        pytest.param(set_direction((1, 0, 0, 0, 1, 0, 0, 0, -1)), 0.97, id="left-handed"),
        pytest.param(reverse_slices, 0.97, id="slices in reversed order on the same grid"),
        pytest.param(set_direction((-1, 0, 0, 0, 1, 0, 0, 0, 1)), 0.95, id="mirrored in plane"),
        pytest.param(set_origin(1e5, -1e5, 1e5), 0.99, id="100 m from the scanner's middle"),
        pytest.param(keep(slice(58, None), slice(108, None)), 0.85, id="the heart touches two borders"),
        pytest.param(keep(HEART_COLUMNS, HEART_ROWS), 0.8, id="nothing but the heart"),
        pytest.param(pad((160, 160, 0), (0, 0, 0)), 0.9, id="the heart in a corner"),
        pytest.param(keep(ALL, ALL, slice(3, 4)), 0.85, id="one slice"),
        pytest.param(keep(ALL, ALL, slice(3, 5)), 0.85, id="two slices"),
        pytest.param(resample((711, 1000, 8)), 0.9, id="pixels of 0.4 mm"),
        pytest.param(resample((95, 133, 8)), 0.8, id="pixels of 3 mm"),
        pytest.param(resample((284, 133, 8)), 0.8, id="pixels of 1 x 3 mm"),
    ],
)
def test_geometry(geometry, least_dice, tmp_path, seen) -> None:
    """The sample, distorted in one way: labels on its own grid, where the undistorted sample's would lie."""
    # Where the image is cut two or three pixels beside the heart, it may be taken for cut off.
    write = write_distorted("volume.nrrd", geometry)
    seen(expect_heart(write, tmp_path, least_dice, geometry=geometry, allowed=["heart is cut off"]))


@pytest.mark.slow
def test_slices_far_apart(tmp_path, seen) -> None:
    """The sample with slices 95 mm apart: labels where they were, and a warning that no heart is so long."""
    geometry = set_spacing(1.3158, 1.3158, 95.0)
    write = write_distorted("volume.nrrd", geometry)
    seen(expect_heart(write, tmp_path, 0.95, "heart is very long", geometry=geometry))


@pytest.mark.slow
@pytest.mark.parametrize(
    "geometry, least_dice, largest_memory_mb",
    [
        pytest.param(chain(pad((44, 0, 0), (44, 0, 0)), resample((4096, 4096, 8))), 0.9, 2000, id="4096 x 4096 pixels"),
        pytest.param(resample((216, 304, 500)), 0.85, 3200, id="500 slices, 0.16 mm apart"),
    ],
)
def test_large_volumes(geometry, least_dice, largest_memory_mb, tmp_path, seen) -> None:
    """The sample in very many voxels: done within a limit of memory."""
    write = write_distorted("volume.nrrd", geometry)
    more = {"apart": True, "largest_memory_mb": largest_memory_mb}
    seen(expect_heart(write, tmp_path, least_dice, geometry=geometry, **more))


@pytest.mark.parametrize(
    "spacing_mm, words",
    [
        pytest.param((1.3158, 1.3158, 1000.0), "1e+03 mm apart", id="slices 1 m apart"),
        pytest.param((0.001, 0.001, 8.0), "correct its voxel spacing", id="pixels of a micrometre"),
        pytest.param((1000.0, 1000.0, 8.0), "correct its voxel spacing", id="pixels of a metre"),
        pytest.param((0.01, 100.0, 8.0), "correct its voxel spacing", id="pixels of 0.01 x 100 mm"),
    ],
)
def test_spacings_that_no_heart_has(spacing_mm, words, tmp_path, seen) -> None:
    """A spacing in the wrong unit: refused in one sentence, nothing written."""
    seen(expect_refusal(write_distorted("volume.nrrd", set_spacing(*spacing_mm)), tmp_path, words))
