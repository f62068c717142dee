"""DICOM stacks as scanners, archives and anonymisers leave them: the right volume, or one sentence on why not."""

import sys
import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from Testing.scanner_files import (
    Study,
    make_enhanced,
    make_image,
    make_slice,
    save,
    write_localizer,
    write_screen_capture,
    write_series,
    write_slice_series,
)

from confuda.errors import InputError, UsageError
from confuda.io.volume_file import read_volume

needs_pydicom_3 = pytest.mark.skipif(int(pydicom.__version__[0]) < 3, reason="pydicom 2 cannot write such files")


def check_same(volume, expected, *told):
    """The same voxels at the same places, and warnings of which each has its words, in order."""
    image = volume.image
    np.testing.assert_allclose(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(expected), rtol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), expected.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(image.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), expected.GetDirection(), atol=1e-5)
    assert len(volume.warnings) == len(told), volume.warnings
    for warning, words in zip(volume.warnings, told):
        assert words in warning


def check_refused(path, *words, **options):
    with pytest.raises(InputError) as refusal:
        read_volume(path, **options)
    message = str(refusal.value)
    assert "\n" not in message and "Doe" not in message and "4711" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
def test_the_frames_of_an_enhanced_image_are_sorted_by_place(tmp_path, order):
    image = make_image()
    path = save(make_enhanced([image], order), tmp_path / "enhanced.dcm")
    check_same(read_volume(path), image)
    check_same(read_volume(tmp_path), image)


def test_a_rescale_slope_that_differs_between_slices_gives_floating_point(tmp_path):
    expected = sitk.Cast(make_image(), sitk.sitkFloat32)
    slopes = [1.0, 0.25, 0.5, 0.125, 2.0]

    def change(header, number):
        header.RescaleSlope, header.RescaleIntercept = f"{slopes[number]:g}", "0"

    write_series(tmp_path, make_image(), change)
    scaled = sitk.GetArrayFromImage(expected) * np.array(slopes, dtype=np.float32)[:, None, None]
    scaled = sitk.GetImageFromArray(scaled)
    scaled.CopyInformation(expected)
    volume = read_volume(tmp_path)
    assert volume.image.GetPixelID() == sitk.sitkFloat32
    check_same(volume, scaled)


def test_a_whole_slope_and_intercept_keep_whole_numbers(tmp_path):
    write_series(tmp_path, make_image(), RescaleSlope="2", RescaleIntercept="-1024")
    volume = read_volume(tmp_path)
    assert volume.image.GetPixelID() == sitk.sitkInt32
    check_same(volume, sitk.Cast(make_image(), sitk.sitkInt32) * 2 - 1024)


def test_a_whole_slope_too_large_for_whole_numbers_of_32_bits_turns_nothing_negative(tmp_path):
    write_series(tmp_path, make_image(), RescaleSlope="10000000", RescaleIntercept="0")
    expected = sitk.GetArrayFromImage(make_image()) * 1e7
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_volume(tmp_path).image), expected, rtol=1e-6)


def test_one_series_per_slice_is_stacked_and_said_so(tmp_path):
    image = make_image()
    write_slice_series(tmp_path, image, SeriesDescription="LGE_SAX_PSIR")
    check_same(read_volume(tmp_path), image, "5 DICOM series of one slice each were taken for one stack (lge_sax_psir)")


def test_series_of_one_slice_that_do_not_fit_are_not_stacked(tmp_path):
    image = make_image()
    for name, tags in {
        "descriptions": {"SeriesDescription": "T1 map"},
        "frames": {"FrameOfReferenceUID": pydicom.uid.generate_uid()},
        "spacings": {"PixelSpacing": ["2.5", "2.5"]},
        "directions": {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]},
    }.items():
        study = Study()
        write_slice_series(tmp_path / name, image[:, :, :2], study)
        save(make_slice(image, 2, study, pydicom.uid.generate_uid(), **tags), tmp_path / name / "odd")
        volume = read_volume(tmp_path / name)
        assert volume.image.GetSize() == (20, 24, 2), name


def test_a_slice_missing_among_series_of_one_slice_is_noticed(tmp_path):
    image, study = make_image(6), Study()
    write_slice_series(tmp_path, image, study)
    for path in (tmp_path / "SE2").iterdir():
        path.unlink()
    check_refused(tmp_path, "not evenly spaced", "a slice is missing")


def test_the_one_stack_of_a_study_is_taken_and_named(tmp_path):
    image, study = make_image(), Study()
    write_series(tmp_path, image, study=study)
    write_localizer(tmp_path, image, study)
    write_screen_capture(tmp_path, image, study)
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "VERSION").write_text("x")
    check_same(read_volume(tmp_path), image, "'LGE SAX', 20 x 24, 5 slices was taken")
    assert read_volume(tmp_path, series=2).image.GetSize() == image.GetSize()
    message = check_refused(tmp_path, "1: 'localizer'", "2: 'LGE SAX', 20 x 24, 5 slices", "colour", series=0)
    assert "has no series 0" in message
    check_refused(tmp_path, "differ in direction", series=1)
    check_refused(tmp_path, "colour", series=3)


def test_a_study_of_several_stacks_is_listed_and_one_is_chosen(tmp_path):
    study, first, second = Study(), make_image(), make_image(4, seed=1)
    write_series(tmp_path / "a", first, study=study, SeriesDescription="LGE", SeriesNumber=7)
    write_series(tmp_path / "b", second, study=study, SeriesDescription="T2", SeriesNumber=3)
    check_refused(tmp_path, "2 DICOM series", "--series N", "1: 'T2', 20 x 24, 4 slices; 2: 'LGE', 20 x 24, 5 slices")
    check_same(read_volume(tmp_path, series=2), first)
    check_same(read_volume(tmp_path, series=1), second)


def test_a_series_whose_description_says_short_axis_is_preferred(tmp_path):
    study, image = Study(), make_image()
    write_series(tmp_path / "a", image, study=study, SeriesDescription="lge_sax_10sl")
    write_series(tmp_path / "b", make_image(9, seed=1), study=study, SeriesDescription="haste axial", SeriesNumber=2)
    check_same(read_volume(tmp_path), image, "'lge_sax_10sl'")


def test_a_spoilt_short_axis_stack_is_not_passed_over_for_another_one(tmp_path):
    study = Study()
    write_series(tmp_path / "a", make_image(6), study=study, SeriesDescription="LGE SAX")
    write_series(tmp_path / "b", make_image(9, seed=1), study=study, SeriesDescription="haste axial", SeriesNumber=2)
    (tmp_path / "a" / "IM0003").unlink()
    check_refused(tmp_path, "a slice is missing")


@pytest.mark.parametrize("below", ["ST000/SE000", "PATIENT/ST000/SE000"])
def test_a_series_in_a_subfolder_is_found(tmp_path, below):
    image = make_image()
    write_series(tmp_path / "given" / below, image)
    check_same(read_volume(tmp_path / "given"), image)


@needs_pydicom_3
def test_a_file_set_is_read_by_its_dicomdir(tmp_path):
    from pydicom.fileset import FileSet

    image = make_image()
    write_series(tmp_path / "files", image)
    file_set = FileSet()
    for path in (tmp_path / "files").iterdir():
        file_set.add(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file_set.write(tmp_path / "set")
    assert (tmp_path / "set" / "DICOMDIR").exists()
    check_same(read_volume(tmp_path / "set" / "DICOMDIR"), image)
    check_same(read_volume(tmp_path / "set"), image)


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_another_pixel_spacing_is_used_with_a_warning(tmp_path, keyword):
    write_series(tmp_path, make_image(), PixelSpacing=None, **{keyword: ["1.5", "1.25"]})
    check_same(read_volume(tmp_path), make_image(), f"their {keyword} is used, 1.25 x 1.5 mm")


def test_without_any_pixel_spacing_one_has_to_be_given(tmp_path):
    write_series(tmp_path, make_image(), PixelSpacing=None)
    check_refused(tmp_path, "no pixel spacing", "--spacing")
    check_same(read_volume(tmp_path, spacing_mm=(1.25, 1.5, 8)), make_image())
    volume = read_volume(tmp_path, spacing_mm=(1.25, 1.5, 9))
    assert volume.image.GetSpacing() == (1.25, 1.5, 9)
    assert "8 mm" in volume.warnings[0] and "9 mm is used" in volume.warnings[0]


def test_a_slice_that_is_there_twice_counts_once(tmp_path):
    image, study, series = make_image(), Study(), pydicom.uid.generate_uid()
    for number in range(5):
        save(make_slice(image, number, study, series), tmp_path / f"a{number}")
    save(make_slice(image, 2, study, series), tmp_path / "copy")
    check_same(read_volume(tmp_path), image, "1 identical copies")


def test_two_different_images_of_one_slice_are_told(tmp_path):
    image, study, series = make_image(), Study(), pydicom.uid.generate_uid()
    for number in range(5):
        save(make_slice(image, number, study, series), tmp_path / f"a{number}")
    save(make_slice(make_image(seed=1), 2, study, series), tmp_path / "again")
    check_refused(tmp_path, "1 to 2 images at one place", "slices taken twice")


def test_magnitude_and_phase_images_of_one_series_are_told_apart(tmp_path):
    study, series = Study(), pydicom.uid.generate_uid()
    kinds = {"M": make_image(), "P": make_image(seed=1)}
    for letter, image in kinds.items():
        for number in range(5):
            tags = {"ImageType": ["DERIVED", "PRIMARY", letter, "ND"]}
            save(make_slice(image, number, study, series, **tags), tmp_path / f"{letter}{number}")
    check_refused(tmp_path, "1: 'LGE SAX', magnitude, 20 x 24, 5 slices; 2: 'LGE SAX', phase", "--series N")
    check_same(read_volume(tmp_path, series=1), kinds["M"])
    check_same(read_volume(tmp_path, series=2), kinds["P"])


def test_places_and_distances_are_taken_from_positions_whatever_else_is_said(tmp_path):
    image = make_image()
    for name, tags in {
        "negative": {"SpacingBetweenSlices": "-8"},
        "none": {"SpacingBetweenSlices": None, "SliceThickness": None},
        "gap": {"SpacingBetweenSlices": "5", "SliceThickness": "5"},
    }.items():
        check_same(read_volume(write_series(tmp_path / name, image, **tags)), image)


def test_without_positions_slice_locations_tell_the_order_with_a_warning(tmp_path):
    image = make_image()

    def locate(header, number):
        header.SliceLocation = f"{8 * number}"

    write_series(tmp_path / "located", image, locate, ImagePositionPatient=None)
    image.SetOrigin((0, 0, 0))
    check_same(read_volume(tmp_path / "located"), image, "slice location")
    write_series(tmp_path / "lost", image, ImagePositionPatient=None)
    check_refused(tmp_path / "lost", "do not say where their slices lie")


def test_a_single_slice_without_thickness_is_warned_of(tmp_path):
    path = write_series(tmp_path, make_image(1), SliceThickness=None, SpacingBetweenSlices=None)
    volume = read_volume(path)
    assert volume.image.GetSpacing()[2] == 1 and "no slice thickness" in volume.warnings[0]
    assert read_volume(path, spacing_mm=(1.25, 1.5, 8)).image.GetSpacing() == (1.25, 1.5, 8)


@needs_pydicom_3
def test_files_with_padding_after_the_pixels_and_files_without_a_preamble_are_whole(tmp_path):
    image = make_image()
    write_series(tmp_path, image)
    paths = sorted(tmp_path.iterdir())
    paths[0].write_bytes(paths[0].read_bytes() + bytes(1000))
    paths[1].write_bytes(paths[1].read_bytes() + b"\xff" * 77)
    header = pydicom.dcmread(paths[2])
    header.preamble = None
    del header.file_meta
    header.save_as(paths[2], implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert paths[2].read_bytes()[:2] == b"\x08\x00"
    check_same(read_volume(tmp_path), image)


def test_a_damaged_file_of_another_series_is_left_out_with_a_word(tmp_path):
    image, study = make_image(), Study()
    write_series(tmp_path / "a", image, study=study)
    write_localizer(tmp_path / "b", image, study)
    path = tmp_path / "b" / "LOC1"
    path.write_bytes(path.read_bytes()[:-100])
    volume = read_volume(tmp_path)
    check_same(volume, image, "was taken", "1 damaged DICOM files of other series were left out")
    path = tmp_path / "a" / "IM0005"
    path.write_bytes(path.read_bytes()[:-100])
    check_refused(tmp_path, "damaged or incomplete DICOM files (1)")


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "Deflated"])
def test_compressed_images_give_the_same_voxels(tmp_path, syntax):
    image = make_image()

    def compress(header, number):
        if syntax == "Deflated":
            header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        else:
            pytest.importorskip("jpeg_ls")
            header.compress(getattr(pydicom.uid, syntax), generate_instance_uid=False)

    write_series(tmp_path / "series", image, compress)
    check_same(read_volume(tmp_path / "series"), image)
    packed = make_enhanced([image], [3, 0, 4, 1, 2])
    if syntax != "Deflated":
        packed.compress(getattr(pydicom.uid, syntax), generate_instance_uid=False)
    check_same(read_volume(save(packed, tmp_path / "enhanced.dcm")), image)


def test_numbers_of_fewer_bits_lose_what_lies_above_them_and_keep_their_sign(tmp_path):
    image = make_image()
    voxels = sitk.GetArrayFromImage(image).astype(np.int16) - 300
    signed = sitk.GetImageFromArray(voxels)
    signed.CopyInformation(image)

    def pack(header, number):
        header.BitsStored, header.HighBit, header.PixelRepresentation = 12, 11, 1
        header.PixelData = ((voxels[number].astype("<u2") & 0x0FFF) | 0x3000).tobytes()

    check_same(read_volume(write_series(tmp_path, image, pack)), signed)


def test_reports_and_segmentations_alone_are_no_images(tmp_path):
    write_series(tmp_path, make_image(), Modality="SEG")
    check_refused(tmp_path, "holds no DICOM image", "5 files of other kinds")
    check_refused(tmp_path / "IM0001", "holds no DICOM image")


def test_without_pydicom_other_files_are_read_and_dicom_says_what_is_missing(tmp_path, monkeypatch):
    """As in 3D Slicer, whose panel gives NRRD."""
    image = make_image()
    write_series(tmp_path / "series", image)
    sitk.WriteImage(image, str(tmp_path / "volume.nrrd"))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    check_same(read_volume(tmp_path / "volume.nrrd"), image)
    with pytest.raises(UsageError, match="pip install pydicom"):
        read_volume(tmp_path / "series")
