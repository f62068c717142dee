"""Names of files with anything in them that a file system takes: read and written as they are."""

import os

import pytest
from Testing.torture.commands import check_polite, expect_heart, expect_refusal, make_places, run_apart
from Testing.torture.volume_files import write_distorted

NAMES = {
    "blanks": "my volume  of today.nrrd",
    "quotes": "a\"b'c`d.nrrd",
    "a newline": "line one\nline two.nrrd",
    "Unicode": "Herz é 心 \U0001fac0.nrrd",
    "a leading dash": "-o.nrrd",
    "shell characters": "$(touch x);&|*?.nrrd",
    "a terminal's escape": "red \x1b[31m.nrrd",
    "a percent sign": "v%02d%s.nrrd",
    "240 letters": "x" * 240 + ".nrrd",
}
APART = ("a newline", "Unicode", "shell characters")


@pytest.mark.slow
@pytest.mark.parametrize("what", NAMES)
def test_name_of_the_volume(what, tmp_path, seen) -> None:
    """The sample under an odd name: the sample's own labels."""
    seen(expect_heart(write_distorted(NAMES[what]), tmp_path, 0.99, apart=what in APART))


@pytest.mark.slow
def test_bytes_that_are_no_text(tmp_path, seen) -> None:
    """A name of bytes that are no text: refused, though SimpleITK would end the process."""
    write = write_distorted(os.fsdecode(b"\xff\xfe.nrrd"))
    seen(expect_refusal(write, tmp_path, "no valid text", apart=True))


@pytest.mark.slow
def test_names_of_outputs(tmp_path, seen) -> None:
    """Outputs of odd names, on a console that knows ASCII alone: written under the names as given."""
    place, _ = make_places(tmp_path)
    volume = write_distorted("volume.nrrd")(place)
    names = ("Herz é 心.seg.nrrd", "a\nb \"c'.nii.gz", "-x.nrrd")
    for number, name in enumerate(names):
        output = tmp_path / f"out {number}"
        output.mkdir()
        arguments = ["adapt", str(volume), "-o", str(output / name), "--method", "none", "--device", "cpu"]
        outcome = run_apart(arguments, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
        check_polite(outcome)
        assert outcome.code == 0, outcome.err[-200:]
        assert [path.name for path in output.iterdir()] == [name]
    seen(f"written: {', '.join(map(ascii, names))}")
