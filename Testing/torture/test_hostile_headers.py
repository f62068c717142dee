"""Headers of NIfTI, NRRD and MetaImage files that say what cannot be: refused in one sentence, or read as meant."""

import pytest
from Testing.torture.commands import expect_heart, expect_refusal
from Testing.torture.distortions import leave, set_spacing
from Testing.torture.volume_files import edit_nifti, edit_text_header

NAN, INFINITE = float("nan"), float("inf")
PIXDIM, SFORM = 80, ("2h", 252, (0, 1))
SHEARED = (("4f", 280, (1.3, 0.7, 0, 0)), ("4f", 296, (0, 1.3, 0, 0)), ("4f", 312, (0, 0, 10, 0)), SFORM)
SIZES, DIRECTIONS, VOXELS = r"^sizes:.*$", r"^space directions:.*$", r"^ElementDataFile.*"


def refuse(name, edited, words):
    return pytest.param(edited, words, id=name)


@pytest.mark.parametrize(
    "write, words",
    [
        refuse("NIfTI, spacing 0", edit_nifti(("3f", PIXDIM, (0, 0, 0))), "no usable voxel spacing"),
        refuse("NIfTI, spacing -1", edit_nifti(("3f", PIXDIM, (-1.3, 1.3, 10))), "no usable voxel spacing"),
        refuse("NIfTI, spacing NaN", edit_nifti(("3f", PIXDIM, (NAN, 1.3, 10))), "no usable voxel spacing"),
        refuse("NIfTI, spacing infinite", edit_nifti(("3f", PIXDIM, (INFINITE, 1.3, 10))), "no usable voxel spacing"),
        refuse("NIfTI in metres", edit_nifti(("b", 123, (1,))), "correct its voxel spacing"),
        refuse("NIfTI in micrometres", edit_nifti(("b", 123, (3,))), "correct its voxel spacing"),
        refuse("NIfTI, sheared", edit_nifti(*SHEARED), "not at right angles"),
        refuse("NIfTI, sform NaN", edit_nifti(("4f", 280, (NAN, 0, 0, 0)), SFORM), "not at right angles"),
        refuse("NIfTI, an axis of no voxel", edit_nifti(("h", 42, (0,))), "damaged"),
        refuse("NIfTI, 32767^3 voxels", edit_nifti(("3h", 42, (32767,) * 3)), "damaged"),
        refuse("NIfTI, nine axes", edit_nifti(("h", 40, (9,))), "damaged"),
        refuse("NIfTI, type unknown", edit_nifti(("h", 70, (0,))), "damaged"),
        refuse("NIfTI, voxels at 1e9", edit_nifti(("f", 108, (1e9,))), "damaged"),
        refuse(
            "NRRD, sheared",
            edit_text_header("v.nrrd", (DIRECTIONS, "space directions: (1.3,0,0) (0.6,1.3,0) (0,0,10)")),
            "not at right angles",
        ),
        refuse(
            "NRRD, slices that slant as with a tilted gantry",
            edit_text_header("v.nrrd", (DIRECTIONS, "space directions: (1.3,0,0) (0,1.3,0) (4,0,10)")),
            "not at right angles",
        ),
        refuse(
            "NRRD, a direction of zero",
            edit_text_header("v.nrrd", (DIRECTIONS, "space directions: (0,0,0) (0,1.3,0) (0,0,10)")),
            "no usable voxel spacing",
        ),
        refuse("NRRD, 1e13 voxels", edit_text_header("v.nrrd", (SIZES, "sizes: 100000 100000 1000")), "damaged"),
        refuse(
            "NRRD, voxels in /etc/passwd",
            edit_text_header("v.nrrd", (r"^encoding:.*$", "encoding: raw\ndata file: /etc/passwd")),
            "in another folder",
        ),
        refuse(
            "MHA, spacing 0",
            edit_text_header("v.mha", (r"^(ElementSpacing =).*", r"\1 0 1 8")),
            "no usable voxel spacing",
        ),
        refuse(
            "MHA, spacing -1",
            edit_text_header("v.mha", (r"^(ElementSpacing =).*", r"\1 -1 1 8")),
            "no usable voxel spacing",
        ),
        refuse(
            "MHA, sheared",
            edit_text_header("v.mha", (r"^(TransformMatrix =).*", r"\1 1 0 0 0.5 0.8 0 0 0 1")),
            "not at right angles",
        ),
        refuse(
            "MHA, voxels in /dev/zero",
            edit_text_header("v.mha", (VOXELS, "ElementDataFile = /dev/zero")),
            "in another folder",
        ),
        refuse("MHD without voxels", edit_text_header("v.mha", (VOXELS, "ElementDataFile = v.raw")), "missing"),
    ],
)
def test_impossible_header(write, words, tmp_path, seen) -> None:
    """A header that says what cannot be: refused in one sentence, nothing written."""
    seen(expect_refusal(write, tmp_path, words))


@pytest.mark.slow
@pytest.mark.parametrize(
    "write, least_dice, warnings, geometry",
    [
        pytest.param(edit_nifti(("f", 112, (NAN,))), 0.99, [], leave, id="NIfTI, scl_slope NaN"),
        pytest.param(
            edit_text_header("v.mha", (r"^(Offset =).*", r"\1 nan 0 0")), 0.99, [], leave, id="MHA, origin NaN"
        ),
        pytest.param(
            edit_text_header("v.nrrd", (r"^(space|kinds).*\n?", "")),
            0.5,
            ["1 x 1 x 1 mm"],
            set_spacing(1, 1, 1),
            id="NRRD without spacing",
        ),
    ],
)
def test_mendable_header(write, least_dice, warnings, geometry, tmp_path, seen) -> None:
    """A header with a fault that leaves one meaning: done, with a warning where the result depends on it."""
    seen(expect_heart(write, tmp_path, least_dice, *warnings, geometry=geometry))
