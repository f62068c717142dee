"""What can be segmented is read with its geometry; what cannot is refused in one sentence that says what to do."""

import logging
import os
import re
import sys
import warnings
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.io.dicom_file import keep_pydicom_quiet
from confuda.io.itk_silence import keep_itk_quiet
from confuda.io.volume_file import read_image, read_volume

OBLIQUE = (0.8, 0.0, 0.6, 0.0, 1.0, 0.0, -0.6, 0.0, 0.8)


def make_volume(shape=(4, 10, 12), dtype=np.int16, seed=0):
    voxels = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.25, 1.5, 8.0))
    image.SetOrigin((-30.0, 12.5, 70.0))
    image.SetDirection(OBLIQUE)
    return image


def write_series(folder, number_of_slices=5, uid="1.2.3.4", positions=None, name="Doe^Jane"):
    """A DICOM series of oblique 8 mm slices, written file by file as a scanner's export is."""
    folder.mkdir(exist_ok=True)
    volume = make_volume((number_of_slices, 10, 12))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(number_of_slices):
        plane = volume[:, :, number]
        at = number if positions is None else positions[number]
        origin = np.array(volume.GetOrigin()) + at * 8.0 * np.array(OBLIQUE).reshape(3, 3)[:, 2]
        tags = {
            "0008|0060": "MR",
            "0010|0010": name,
            "0018|0050": "8",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in origin),
            "0020|0037": "\\".join(f"{OBLIQUE[k]:.6f}" for k in (0, 3, 6, 1, 4, 7)),
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        # Names in reverse order: a scanner's export need not be sorted by place.
        writer.SetFileName(str(folder / f"{uid}-{number_of_slices - number:03d}.dcm"))
        writer.Execute(plane)
    return volume


def read(path):
    volume = read_volume(path)
    return volume.image, volume.warnings


def check_same(image, expected):
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(expected))
    np.testing.assert_allclose(image.GetSpacing(), expected.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(image.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), expected.GetDirection(), atol=1e-5)


def check_refused(path, *words):
    with pytest.raises(InputError) as refusal:
        read_volume(path)
    message = str(refusal.value)
    assert "\n" not in message and "itk" not in message.lower()
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd", "mha"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_every_format_keeps_voxels_type_and_geometry(tmp_path, ending, dtype):
    expected = make_volume(dtype=dtype)
    path = tmp_path / f"volume.{ending}"
    sitk.WriteImage(expected, str(path))
    image, warnings = read(path)
    check_same(image, expected)
    assert image.GetPixelID() == expected.GetPixelID()
    assert warnings == ()


def test_a_folder_with_accents_and_blanks_is_read(tmp_path):
    path = tmp_path / "Für Ärzte 心" / "Volumen 1.nii.gz"
    path.parent.mkdir()
    sitk.WriteImage(make_volume(), str(path))
    check_same(read_volume(str(path)).image, make_volume())


def test_a_single_slice_is_a_volume(tmp_path):
    path = tmp_path / "slice.nii.gz"
    sitk.WriteImage(make_volume((1, 10, 12)), str(path))
    assert read_volume(path).image.GetSize() == (12, 10, 1)


def test_a_cine_of_one_frame_is_a_volume_and_of_several_is_not(tmp_path):
    expected = make_volume()
    path = tmp_path / "cine.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([expected]), str(path))
    check_same(read_volume(path).image, expected)
    sitk.WriteImage(sitk.JoinSeries([expected] * 3), str(path))
    check_refused(path, "a cine of 3 frames", "--frames N (0 to 2)")


@pytest.mark.parametrize("name", ["picture.png", "plane.nii.gz"])
def test_a_2d_image_is_refused(tmp_path, name):
    plane = sitk.GetImageFromArray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    sitk.WriteImage(plane, str(tmp_path / name))
    check_refused(tmp_path / name, "2-D")


def test_nan_and_infinite_voxels_are_replaced_with_a_warning(tmp_path):
    image = make_volume(dtype=np.float32)
    voxels = sitk.GetArrayFromImage(image) + 5
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    broken = sitk.GetImageFromArray(voxels)
    broken.CopyInformation(image)
    path = tmp_path / "nan.nrrd"
    sitk.WriteImage(broken, str(path))
    mended, warnings = read(path)
    voxels[0, 0, :3] = voxels[np.isfinite(voxels)].min()
    expected = sitk.GetImageFromArray(voxels)
    expected.CopyInformation(image)
    check_same(mended, expected)
    assert len(warnings) == 1 and warnings[0].startswith("3 NaN")


def test_a_dicom_series_is_stacked_by_place_and_forgets_the_patient(tmp_path):
    expected = write_series(tmp_path / "series")
    image, warnings = read(tmp_path / "series")
    check_same(image, expected)
    assert warnings == () and image.GetMetaDataKeys() == ()


def test_several_dicom_series_are_counted_without_their_names(tmp_path):
    write_series(tmp_path / "study", 3, "1.2.3.4")
    write_series(tmp_path / "study", 5, "1.2.3.5")
    message = check_refused(
        tmp_path / "study", "2 DICOM series", "12 x 10, 3 slices", "12 x 10, 5 slices", "--series N"
    )
    assert "Doe" not in message


def test_a_dicom_series_that_is_slightly_uneven_is_read_with_a_warning(tmp_path):
    write_series(tmp_path / "uneven", 5, positions=[0, 1, 2.04, 3, 4])
    image, warnings = read(tmp_path / "uneven")
    assert image.GetSize() == (12, 10, 5)
    assert len(warnings) == 1 and "not quite evenly" in warnings[0]


def test_a_dicom_cine_is_refused(tmp_path):
    write_series(tmp_path / "cine", 6, positions=[0, 0, 1, 1, 2, 2])
    check_refused(tmp_path / "cine", "a cine of 2 phases of 3 slices, sorted by instance number", "--frames N")


def test_one_file_of_a_dicom_series_is_read_with_a_warning(tmp_path):
    write_series(tmp_path / "series")
    image, warnings = read(next((tmp_path / "series").glob("*.dcm")))
    assert image.GetSize() == (12, 10, 1) and image.GetMetaDataKeys() == ()
    assert "folder" in warnings[0]


def test_a_single_dicom_slice_has_its_thickness(tmp_path):
    plane = sitk.GetImageFromArray(np.arange(400, dtype=np.int16).reshape(20, 20))
    for tag, value in {"0008|0060": "MR", "0018|0050": "8"}.items():
        plane.SetMetaData(tag, value)
    sitk.WriteImage(plane, str(tmp_path / "slice.dcm"))
    assert read_volume(tmp_path / "slice.dcm").image.GetSpacing()[2] == 8


def test_refusing_a_file_leaves_the_standard_error_empty(tmp_path, capfd):
    (tmp_path / "text.nii.gz").write_text("no image")
    write_series(tmp_path / "gap", 5, positions=[0, 1, 2, 4, 5])
    capfd.readouterr()
    check_refused(tmp_path / "text.nii.gz")
    check_refused(tmp_path / "gap")
    assert capfd.readouterr().err == ""


def enter_and_leave(keep_quiet, between):
    """As two threads do of which the first one leaves first."""
    first, second = keep_quiet(), keep_quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    between()
    second.__exit__(None, None, None)


def test_threads_that_leave_in_another_order_than_they_came_give_the_standard_error_back(capfd):
    enter_and_leave(keep_itk_quiet, lambda: os.write(2, b"not shown"))
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_threads_that_leave_in_another_order_than_they_came_give_warnings_back(caplog):
    def warn():
        warnings.warn("a value", UserWarning, stacklevel=2)
        logging.getLogger("pydicom").warning("a value")

    enter_and_leave(keep_pydicom_quiet, warn)
    assert not caplog.records
    with pytest.warns(UserWarning, match="a value"):
        warn()
    assert [record.message for record in caplog.records] == ["a value"]


def test_a_packed_volume_is_not_mistaken_for_the_unpacked_one_beside_it(tmp_path):
    """Found by fuzzing: ITK reads the voxels of NAME.nii when it is asked for NAME.nii.gz and both are there."""
    for ending, value in ((".nii.gz", 3), (".nii", 7)):
        voxels = np.arange(8 * 16 * 16, dtype=np.float32).reshape(8, 16, 16) + value
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((1.5, 1.5, 8.0))
        sitk.WriteImage(image, str(tmp_path / f"heart{ending}"))
    for ending, value in ((".nii.gz", 3), (".nii", 7)):
        read = sitk.GetArrayFromImage(read_image(tmp_path / f"heart{ending}"))
        assert read[0, 0, 0] == value


def edit_header(path, pattern, line):
    content = path.read_bytes().decode("latin-1")
    edited, count = re.subn(pattern, lambda _: line, content, count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_bytes(edited.encode("latin-1"))


def test_a_volume_without_a_spacing_is_read_with_a_warning(tmp_path):
    image = make_volume()
    image.SetSpacing((1, 1, 1))
    sitk.WriteImage(image, str(tmp_path / "volume.nrrd"))
    (warning,) = read_volume(tmp_path / "volume.nrrd").warnings
    assert "1 x 1 x 1 mm" in warning


def test_values_that_no_float32_holds_are_replaced_with_a_warning(tmp_path):
    voxels = sitk.GetArrayFromImage(make_volume(dtype=np.float64))
    voxels[0, 0, :2] = 1e300, -1e300
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "volume.nrrd"))
    image, warnings = read(tmp_path / "volume.nrrd")
    assert np.abs(sitk.GetArrayViewFromImage(image)).max() < 200
    assert warnings[-1].startswith("2 NaN, infinite or impossibly large")


@pytest.mark.parametrize("name", ["volume.mhd", "volume.nhdr"])
def test_voxels_in_a_file_beside_the_header_are_read_and_elsewhere_are_not(tmp_path, name):
    path = tmp_path / "inside" / name
    path.parent.mkdir()
    sitk.WriteImage(make_volume(), str(path))
    check_same(read_volume(path).image, make_volume())
    beside = next(other for other in path.parent.iterdir() if other != path)
    line = "ElementDataFile = " if name.endswith("mhd") else "data file: "
    os.replace(beside, tmp_path / "outside.raw")
    check_refused(path, beside.name, "missing")
    edit_header(path, rf"^{line.strip()}.*$", f"{line}../outside.raw")
    check_refused(path, "in another folder")
    edit_header(path, rf"^{line.strip()}.*$", f"{line}/dev/zero")
    check_refused(path, "in another folder")


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and names of any bytes")
def test_what_is_no_file_or_has_no_name_in_letters_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    check_refused(tmp_path / "pipe.nii", "no ordinary file")
    odd = tmp_path / os.fsdecode(b"\xff\xfe.nrrd")
    odd.write_bytes(b"")
    check_refused(odd, "no valid text")
    write_series(tmp_path / "series")
    (tmp_path / "series" / odd.name).write_bytes(b"")
    check_refused(tmp_path / "series", "no valid text")


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_flipped_bits_in_compressed_voxels_are_noticed_in_every_format(tmp_path, ending):
    path = tmp_path / f"volume.{ending}"
    sitk.WriteImage(make_volume((6, 40, 40)), str(path), useCompression=True)
    whole = path.read_bytes()
    check_same(read_volume(path).image, make_volume((6, 40, 40)))
    for place in range(len(whole) // 2, len(whole) - 20, len(whole) // 9):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        check_refused(path, "damaged")


def test_a_header_that_promises_more_than_its_file_can_hold_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "volume.mha"
    sitk.WriteImage(make_volume(), str(path))
    edit_header(path, r"^DimSize = .*$", "DimSize = 30000 30000 4")
    edit_header(path, r"^CompressedData = .*$", "CompressedData = False")
    check_refused(path, "damaged")
    path.write_bytes(path.read_bytes() + zlib.compress(bytes(1 << 20)))
    check_refused(path, "damaged")


def test_blank_slices_between_others_are_told_and_padding_is_not(tmp_path):
    image = make_volume((6, 10, 12))
    voxels = sitk.GetArrayFromImage(image)
    for blank, told in (((0, 5), False), ((0, 2, 3), True)):
        spoilt = voxels.copy()
        spoilt[list(blank)] = 7
        copy = sitk.GetImageFromArray(spoilt)
        copy.CopyInformation(image)
        sitk.WriteImage(sitk.PermuteAxes(copy, (2, 0, 1)), str(tmp_path / "volume.nrrd"))
        warnings = read_volume(tmp_path / "volume.nrrd").warnings
        assert [("2, 3" in warning) for warning in warnings] == ([True] if told else [])
