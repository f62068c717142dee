"""Pairs of files, headers that contradict themselves, odd packing, and label maps where an image belongs."""

import bz2
import gzip
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import SAMPLE, SAMPLE_TRUTH
from Testing.method.test_dicom_stacks import check_refused, check_same
from Testing.scanner_files import make_image

from confuda.errors import InputError
from confuda.io.volume_file import read_volume

SPACING = (1.25, 1.5, 8.0)


def make_straight(dtype=np.int16, slices=5, rows=24):
    """Grey noise, its axes along the patient's."""
    voxels = np.random.default_rng(0).integers(0, 600, (slices, rows, 20)).astype(dtype)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    return image


def write_pair(path, image, order="<", magic=b"ni1\0", packed=False):
    """NAME.hdr and NAME.img, NIfTI with a sform, or Analyze (no magic) with pixdims only."""
    voxels = sitk.GetArrayFromImage(image)
    kind, bits = {"i2": (4, 16), "f4": (16, 32)}[voxels.dtype.str[1:]]
    header = bytearray(348)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, 3, *image.GetSize(), 1, 1, 1, 1)
    struct.pack_into(order + "2h", header, 70, kind, bits)
    struct.pack_into(order + "8f", header, 76, 1, *image.GetSpacing(), 1, 1, 1, 1)
    if magic:
        struct.pack_into(order + "f", header, 112, 1)  # scl_slope
        header[344:348] = magic
        x, y, z = image.GetSpacing()
        struct.pack_into(order + "h", header, 254, 1)
        struct.pack_into(order + "12f", header, 280, -x, 0, 0, 0, 0, -y, 0, 0, 0, 0, z, 0)
    path.with_suffix(".hdr").write_bytes(header)
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    path.with_suffix(".img").write_bytes(content)
    return path


PAIRS = {
    "NIfTI": {},
    "big NIfTI": {"order": ">"},
    "Analyze": {"magic": b""},
    "big Analyze": {"order": ">", "magic": b""},
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_pairs_of_header_and_voxels_are_read_and_cut_ones_refused(tmp_path, kind, dtype, ending):
    image = make_straight(dtype)
    path = write_pair(tmp_path / "volume", image, **PAIRS[kind]).with_suffix(ending)
    check_same(read_volume(path), image)
    voxels = path.with_suffix(".img")
    voxels.write_bytes(voxels.read_bytes()[: voxels.stat().st_size // 2])
    check_refused(path, "damaged or incomplete")
    partner = path.with_suffix({".hdr": ".img", ".img": ".hdr"}[ending])
    partner.unlink()
    check_refused(path, "the other is missing", partner.name)


def test_a_pair_of_more_than_a_megabyte_is_no_less_whole(tmp_path):
    image = make_straight(np.float32, 40, 500)
    path = write_pair(tmp_path / "volume", image)
    assert path.with_suffix(".img").stat().st_size > 1.5e6
    check_same(read_volume(path.with_suffix(".hdr")), image)


@pytest.mark.parametrize("ending, partner", [("nhdr", "raw"), ("mhd", "raw"), ("mhd", "zraw")])
def test_cut_off_voxels_beside_a_header_are_noticed(tmp_path, ending, partner):
    path = tmp_path / f"volume.{ending}"
    sitk.WriteImage(make_straight(), str(path), useCompression=partner == "zraw")
    check_same(read_volume(path), make_straight())
    voxels = path.with_suffix(f".{partner}")
    voxels.write_bytes(voxels.read_bytes()[: voxels.stat().st_size // 2])
    check_refused(path, "damaged or incomplete")


def write_nifti(path, sform=None, codes=(0, 1)):
    """``sform``: (3, 3) in RAS; codes of qform, which fits the voxels, and sform."""
    sitk.WriteImage(make_straight(), str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, *codes)
    if sform is not None:
        rows = np.column_stack([np.array(sform, dtype=float), np.zeros(3)])
        struct.pack_into("<12f", content, 280, *rows.ravel())
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codes", [(0, 1), (1, 1)])
def test_a_sform_of_unit_scale_beside_the_true_pixdims_is_read_as_before(tmp_path, codes):
    """ACDC's own files are like this."""
    path = write_nifti(tmp_path / "volume.nii", [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], codes)
    check_same(read_volume(path), make_straight())


@pytest.mark.parametrize("shear", [1e-5, 3e-4, 5e-3])
def test_a_sform_off_the_right_angle_by_rounding_is_read(tmp_path, shear):
    sform = [[-1.25, 1.5 * shear, 0], [0, -1.5, 0], [0, 0, 8]]
    volume = read_volume(write_nifti(tmp_path / "volume.nii", sform))
    assert volume.warnings == ()
    np.testing.assert_allclose(volume.image.GetSpacing(), SPACING, rtol=1e-4)
    np.testing.assert_allclose(volume.image.GetDirection(), np.eye(3).ravel(), atol=shear)


def test_a_sform_that_is_truly_sheared_is_refused(tmp_path):
    check_refused(write_nifti(tmp_path / "a.nii", [[-1.25, 0.045, 0], [0, -1.5, 0], [0, 0, 8]]), "right angles")


def test_threads_that_read_beside_each_other_do_not_change_what_is_refused(tmp_path):
    rounded = write_nifti(tmp_path / "rounded.nii", [[-1.25, 0.0015, 0], [0, -1.5, 0], [0, 0, 8]])
    sheared = write_nifti(tmp_path / "sheared.nii", [[-1.25, 0.045, 0], [0, -1.5, 0], [0, 0, 8]])

    def is_read(path):
        try:
            return bool(read_volume(path))
        except InputError:
            return False

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(is_read, [rounded, sheared] * 100))
    assert found == [True, False] * 100


@pytest.mark.parametrize(
    "sform, words",
    [
        ([[-2.5, 0, 0], [0, -3, 0], [0, 0, 8]], "1.25 x 1.5 x 8 mm and, in its sform, of 2.5 x 3 x 8 mm"),
        ([[1.25, 0, 0], [0, -1.5, 0], [0, 0, 8]], "sform and qform disagree in direction"),
        ([[-1.25, 0, 0], [0, -1.5, 0], [0, 0, -8]], "sform and qform disagree in direction"),
    ],
)
def test_a_sform_and_a_qform_that_disagree_are_told(tmp_path, sform, words):
    (warning,) = read_volume(write_nifti(tmp_path / "volume.nii", sform, (1, 1))).warnings
    assert words in warning


def test_gzip_named_nii_and_bzip2_nrrd_are_read(tmp_path):
    image = make_straight()
    plain = tmp_path / "plain.nii"
    sitk.WriteImage(image, str(plain))
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    check_same(read_volume(tmp_path / "packed.nii"), image)
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 24 5\n"
        "space directions: (1.25,0,0) (0,1.5,0) (0,0,8)\nkinds: domain domain domain\nendian: little\n"
        "encoding: bzip2\nspace origin: (0,0,0)\n\n"
    )
    packed = bz2.compress(sitk.GetArrayFromImage(image).astype("<i2").tobytes())
    (tmp_path / "volume.nrrd").write_bytes(header.encode() + packed)
    check_same(read_volume(tmp_path / "volume.nrrd"), image)
    (tmp_path / "volume.nrrd").write_bytes(header.encode() + packed[:-200])
    check_refused(tmp_path / "volume.nrrd", "damaged or incomplete")


def test_nifti_2_is_called_by_its_name(tmp_path):
    header = bytearray(544)
    struct.pack_into("<i8s", header, 0, 540, b"n+2\0\r\n\x1a\n")
    (tmp_path / "volume.nii").write_bytes(header + bytes(1000))
    check_refused(tmp_path / "volume.nii", "NIfTI-2", "save it as NIfTI-1")


def test_a_segmentation_or_label_map_is_no_volume(tmp_path):
    check_refused(SAMPLE_TRUTH, "is a segmentation and no image")
    labels = sitk.GetImageFromArray(sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLE_TRUTH))))
    for name, image in {
        "labels.nii.gz": labels,
        "floats.nii.gz": sitk.Cast(labels, sitk.sitkFloat32),
        "mscmrseg.nrrd": sitk.Cast(labels, sitk.sitkInt16) * 200,
        "mask.nrrd": labels > 0,
    }.items():
        image.SetSpacing((1.3, 1.3, 10))
        sitk.WriteImage(image, str(tmp_path / name))
        check_refused(tmp_path / name, "holds labels")


def test_images_of_few_grey_values_are_no_label_maps(tmp_path):
    sample = sitk.ReadImage(str(SAMPLE))
    for levels in (256, 32, 8):
        coarse = sitk.Cast(sitk.RescaleIntensity(sample, 0, levels - 1), sitk.sitkUInt8)
        sitk.WriteImage(coarse, str(tmp_path / "coarse.nrrd"))
        assert read_volume(tmp_path / "coarse.nrrd").image.GetSize() == sample.GetSize()


def test_a_given_spacing_replaces_a_stated_one_and_a_missing_one(tmp_path):
    image = make_image()
    path = tmp_path / "volume.nii"
    sitk.WriteImage(image, str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<3f", content, 80, 0, 0, 0)
    path.write_bytes(content)
    check_refused(path, "no usable voxel spacing", "--spacing")
    assert read_volume(path, spacing_mm=(1.25, 1.5, 8)).image.GetSpacing() == (1.25, 1.5, 8)
