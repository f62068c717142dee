"""What can be segmented is read with its geometry; what cannot is refused in one sentence that says what to do."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.data.volume_file import read_volume
from confuda.errors import InputError

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
    image, warnings = read_volume(path)
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
    check_refused(path, "3 frames", "extract one")


def test_a_missing_file_is_named(tmp_path):
    check_refused(tmp_path / "gone.nii.gz", "No such file", "gone.nii.gz")


@pytest.mark.parametrize("name", ["notes.txt", "volume.nii", "volume.nii.gz", "volume.nrrd", "volume.mha"])
@pytest.mark.parametrize("text", ["", "this is no image " * 50])
def test_a_text_or_empty_file_is_no_image(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    check_refused(path, name, "not an image")


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd", "mha"])
@pytest.mark.parametrize("kept", [0.6, 0.995])
def test_a_file_that_was_cut_off_is_refused(tmp_path, ending, kept):
    path = tmp_path / f"volume.{ending}"
    sitk.WriteImage(make_volume((6, 40, 40)), str(path), useCompression=ending != "nii")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    check_refused(path, "damaged or incomplete")


def test_a_compressed_file_with_flipped_bits_is_refused(tmp_path):
    path = tmp_path / "volume.nii.gz"
    sitk.WriteImage(make_volume((6, 40, 40)), str(path))
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content)))
    packed[-6] ^= 0xFF  # The check sum.
    path.write_bytes(packed)
    check_refused(path, "damaged")


@pytest.mark.parametrize("name", ["picture.png", "plane.nii.gz"])
def test_a_2d_image_is_refused(tmp_path, name):
    plane = sitk.GetImageFromArray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    sitk.WriteImage(plane, str(tmp_path / name))
    check_refused(tmp_path / name, "2-D")


def test_colour_and_complex_volumes_are_refused(tmp_path):
    grey = make_volume(dtype=np.float32)
    for name, image in {
        "vector.nrrd": sitk.Compose([grey, grey, grey]),
        "rgb.nii.gz": sitk.Cast(sitk.Compose([grey, grey, grey]), sitk.sitkVectorUInt8),
        "complex.nii.gz": sitk.RealAndImaginaryToComplex(grey, grey),
    }.items():
        sitk.WriteImage(image, str(tmp_path / name))
        check_refused(tmp_path / name, name, "make it one grey value")


@pytest.mark.parametrize("value", [0, 17])
def test_a_constant_volume_is_refused(tmp_path, value):
    path = tmp_path / "flat.nrrd"
    sitk.WriteImage(make_volume() * 0 + value, str(path))
    check_refused(path, f"all voxels are {value}")


def test_nan_and_infinite_voxels_are_replaced_with_a_warning(tmp_path):
    image = make_volume(dtype=np.float32)
    voxels = sitk.GetArrayFromImage(image) + 5
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    broken = sitk.GetImageFromArray(voxels)
    broken.CopyInformation(image)
    path = tmp_path / "nan.nrrd"
    sitk.WriteImage(broken, str(path))
    mended, warnings = read_volume(path)
    voxels[0, 0, :3] = voxels[np.isfinite(voxels)].min()
    expected = sitk.GetImageFromArray(voxels)
    expected.CopyInformation(image)
    check_same(mended, expected)
    assert len(warnings) == 1 and warnings[0].startswith("3 NaN")


def test_a_volume_of_nothing_but_nan_is_refused(tmp_path):
    path = tmp_path / "nan.nrrd"
    sitk.WriteImage(make_volume(dtype=np.float32) * float("nan"), str(path))
    check_refused(path, "NaN")


def test_a_dicom_series_is_stacked_by_place_and_forgets_the_patient(tmp_path):
    expected = write_series(tmp_path / "series")
    image, warnings = read_volume(tmp_path / "series")
    check_same(image, expected)
    assert warnings == () and image.GetMetaDataKeys() == ()


def test_several_dicom_series_are_counted_without_their_names(tmp_path):
    write_series(tmp_path / "study", 3, "1.2.3.4")
    write_series(tmp_path / "study", 5, "1.2.3.5")
    message = check_refused(tmp_path / "study", "2 DICOM series", "3 files", "5 files", "folder of its own")
    assert "Doe" not in message


def test_a_dicom_series_with_a_missing_slice_is_refused(tmp_path):
    write_series(tmp_path / "gap", 5, positions=[0, 1, 2, 4, 5])
    check_refused(tmp_path / "gap", "not evenly spaced")


def test_a_dicom_series_that_is_slightly_uneven_is_read_with_a_warning(tmp_path):
    write_series(tmp_path / "uneven", 5, positions=[0, 1, 2.04, 3, 4])
    image, warnings = read_volume(tmp_path / "uneven")
    assert image.GetSize() == (12, 10, 5)
    assert len(warnings) == 1 and "not quite evenly" in warnings[0]


def test_a_dicom_cine_is_refused(tmp_path):
    write_series(tmp_path / "cine", 6, positions=[0, 0, 1, 1, 2, 2])
    check_refused(tmp_path / "cine", "6 images at 3 positions", "cine")


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("no image")
    check_refused(tmp_path, "no DICOM")


def test_one_file_of_a_dicom_series_is_read_with_a_warning(tmp_path):
    write_series(tmp_path / "series")
    image, warnings = read_volume(next((tmp_path / "series").glob("*.dcm")))
    assert image.GetSize() == (12, 10, 1) and image.GetMetaDataKeys() == ()
    assert "folder" in warnings[0]


def test_refusing_a_file_leaves_the_standard_error_empty(tmp_path, capfd):
    (tmp_path / "text.nii.gz").write_text("no image")
    write_series(tmp_path / "gap", 5, positions=[0, 1, 2, 4, 5])
    capfd.readouterr()
    check_refused(tmp_path / "text.nii.gz")
    check_refused(tmp_path / "gap")
    assert capfd.readouterr().err == ""
