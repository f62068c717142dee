"""DICOM series with missing, turned, damaged or foreign slices: refused in one sentence, or the heart is found."""

import pytest
import SimpleITK as sitk
from Testing.torture.commands import expect_heart, expect_refusal
from Testing.torture.dicom_files import (
    add_series,
    add_strangers,
    claim_length,
    cut_file,
    halve_slice,
    list_files,
    lose_place,
    remove_file,
    space_unevenly,
    turn_slice,
    widen_pixels,
    write_dicom,
)
from Testing.torture.distortions import keep, leave, make_oblique, read_sample
from Testing.torture.volume_files import write_image

OBLIQUE = make_oblique(35)
SLICE = keep(slice(None), slice(None), slice(3, 4))


def cut_only(folder):
    series = write_dicom()(folder)
    cut_file(3, 0.7)(series)
    return list_files(series)[3]


def write_frames(folder):
    image = sitk.Cast(sitk.RescaleIntensity(read_sample(), 0, 255), sitk.sitkUInt8)
    return write_image(image, folder / "frames.dcm")


def write_letter(folder):
    (folder / "letter.txt").write_text("no image")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "write, least_dice, warnings, geometry",
    [
        pytest.param(write_dicom(), 0.99, [], leave, id="the sample as a series"),
        pytest.param(write_dicom(geometry=OBLIQUE), 0.99, [], OBLIQUE, id="oblique"),
        pytest.param(write_dicom(spoil=add_strangers), 0.99, [], leave, id="other files in the folder"),
        pytest.param(
            write_dicom(edit=space_unevenly), 0.95, ["not quite evenly spaced"], leave, id="a slice off by 0.4 of 10 mm"
        ),
        pytest.param(
            lambda folder: list_files(write_dicom()(folder))[4], 0.85, ["give the folder"], SLICE, id="one file"
        ),
        pytest.param(write_frames, 0.95, [], leave, id="slices as the frames of one file"),
    ],
)
def test_series(write, least_dice, warnings, geometry, tmp_path, seen) -> None:
    """A series that can be read: labels where the sample's are, a warning where one is due."""
    seen(expect_heart(write, tmp_path, least_dice, *warnings, geometry=geometry))


@pytest.mark.parametrize(
    "write, words",
    [
        pytest.param(write_dicom(spoil=remove_file(3)), "a slice is missing", id="a slice missing"),
        pytest.param(write_dicom(spoil=add_series), "2 DICOM series", id="two series"),
        pytest.param(write_dicom(edit=widen_pixels), "pixel spacing", id="two pixel spacings"),
        pytest.param(write_dicom(edit=turn_slice), "direction", id="a slice turned"),
        pytest.param(write_dicom(edit=halve_slice), "differ in size", id="a slice of half the size"),
        pytest.param(write_dicom(edit=lose_place), "where their slices lie", id="positions that are no numbers"),
        pytest.param(write_dicom(spoil=cut_file(3, 0.7)), "damaged", id="a file in the middle cut off"),
        pytest.param(write_dicom(spoil=cut_file(0, 0.7)), "damaged", id="the last slice's file cut off"),
        pytest.param(cut_only, "damaged", id="one file, cut off"),
        pytest.param(write_letter, "no DICOM image", id="a folder without an image"),
    ],
)
def test_spoilt_series(write, words, tmp_path, seen) -> None:
    """A series that cannot be trusted: refused in one sentence without the patient's name, nothing written."""
    seen(expect_refusal(write, tmp_path, words))


@pytest.mark.slow
def test_element_of_4_gb(tmp_path, seen) -> None:
    """An element said to have 4 GB: refused, in a process of its own."""
    seen(expect_refusal(write_dicom(spoil=claim_length(3)), tmp_path, "damaged", apart=True))
