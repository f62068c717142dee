"""Voxels that are no numbers, of any type, constant, coloured or moving: labels with a warning, or one sentence."""

import numpy as np
import pytest
from Testing.torture.commands import expect_heart, expect_refusal
from Testing.torture.distortions import blank_slice, cast, leave, scatter, shift, shift_int64
from Testing.torture.volume_files import write_array, write_distorted, write_vector

REPLACED = "NaN, infinite or impossibly large"
PIXEL_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
FLAT = np.full((4, 64, 64), 7, np.int16)
NOISE = np.random.default_rng(0).integers(0, 200, (1, 64, 64)).astype(np.int16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "paint, least_dice, warnings",
    [
        pytest.param(scatter(np.nan), 0.85, [REPLACED], id="0.1 % NaN"),
        pytest.param(scatter(np.inf), 0.85, [REPLACED], id="0.1 % infinite"),
        pytest.param(scatter(-np.inf), 0.85, [REPLACED], id="0.1 % minus infinite"),
        pytest.param(scatter(1e300, dtype=np.float64), 0.85, [REPLACED], id="0.1 % of 1e300, beyond float32"),
        pytest.param(scatter(30000, dtype=np.int16), 0.8, [], id="0.1 % of 30000"),
        pytest.param(shift(-5000, dtype=np.int16), 0.99, [], id="all lower by 5000"),
        pytest.param(shift_int64(1 << 60), 0.97, [], id="on top of 2^60"),
        pytest.param(shift(0, 1e-12, np.float32), 0.97, [], id="at most 1e-9"),
        pytest.param(shift(0, 1e25, np.float64), 0.97, [], id="up to 1e28"),
        pytest.param(blank_slice(3), 0.6, ["on one side only"], id="one slice zero"),
    ],
)
def test_values(paint, least_dice, warnings, tmp_path, seen) -> None:
    """The sample with other grey values: labels where the sample's are, and a warning where one is due."""
    seen(expect_heart(write_distorted("volume.nrrd", leave, paint), tmp_path, least_dice, *warnings))


@pytest.mark.slow
@pytest.mark.parametrize("name", PIXEL_TYPES)
def test_types_of_voxels(name, tmp_path, seen) -> None:
    """The sample in a scalar type of SimpleITK: the sample's own labels."""
    write = write_distorted("volume.nrrd", leave, cast(np.dtype(name)))
    seen(expect_heart(write, tmp_path, 0.9 if name.endswith("int8") else 0.99))


@pytest.mark.parametrize(
    "write, words",
    [
        pytest.param(write_array("flat.nrrd", FLAT), "all voxels are 7", id="constant"),
        pytest.param(write_array("nan.nrrd", np.full((4, 64, 64), np.nan, np.float32)), "only NaN", id="all NaN"),
        pytest.param(write_array("pixel.nrrd", FLAT[:1, :1, :1]), "correct its voxel spacing", id="1 x 1 x 1 voxel"),
        pytest.param(write_array("row.nrrd", NOISE[:, :1]), "correct its voxel spacing", id="64 x 1 x 1 voxels"),
        pytest.param(write_array("plane.nrrd", NOISE[0]), "2-D image", id="2-D"),
        pytest.param(write_vector("rgb.nrrd", "rgb"), "one grey value", id="three colours a voxel"),
        pytest.param(write_vector("rgba.nii.gz", "rgba"), "one grey value", id="four channels a voxel"),
        pytest.param(write_vector("complex.nrrd", "complex"), "one grey value", id="complex voxels"),
        pytest.param(write_vector("cine.nii.gz", "cine"), "cine of 3 frames", id="a cine of three frames"),
    ],
)
def test_no_volume(write, words, tmp_path, seen) -> None:
    """Nothing that can be segmented: refused in one sentence, nothing written."""
    seen(expect_refusal(write, tmp_path, words))


@pytest.mark.slow
def test_cine_of_one_frame(tmp_path, seen) -> None:
    """A 4-D file of one frame is that frame."""
    seen(expect_heart(write_vector("cine.nii.gz", "single"), tmp_path, 0.99))
