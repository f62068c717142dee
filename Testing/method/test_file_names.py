"""Names that one system has and another has not: of files to read, to write, and to make of other names."""

import os
from pathlib import Path

import pytest

from confuda.app.cli import main
from confuda.cohort.volumes import make_names, name_outputs
from confuda.io import atomic
from confuda.io.file_name import expand_patterns, is_device, is_good_on_windows, is_same_file


@pytest.mark.parametrize("name", ["con.nii.gz", "NUL", "aux.seg.nrrd", "Com1.nrrd", "lpt9.a.b"])
def test_devices_of_windows_are_known_whatever_their_ending(name) -> None:
    assert is_device(name) and not is_good_on_windows(name)


@pytest.mark.parametrize("name", ["contour.nii", "com10.nrrd", "my aux.nrrd", "Herz é 心.seg.nrrd", "nullo"])
def test_names_that_only_look_like_devices_are_good(name) -> None:
    assert is_good_on_windows(name)


@pytest.mark.parametrize("name", ["a:b.nrrd", "what?.nrrd", "a*.nrrd", 'a"b.nrrd', "a|b.nrrd", "a\nb.nrrd"])
def test_letters_that_windows_refuses_are_known(name) -> None:
    assert not is_good_on_windows(name)


def test_results_have_names_that_windows_can_open() -> None:
    names = make_names(["aux.nii.gz", "b/con.nrrd", "PRN.nrrd"])
    assert all(is_good_on_windows(f"{name}.seg.nrrd") for name in names) and len(set(names)) == 3


def test_an_accented_letter_in_either_spelling_gives_two_outputs(tmp_path) -> None:
    """macOS has one file for both: the second result would replace the first."""
    names = name_outputs([tmp_path / "a" / "\u00e9.nii.gz", tmp_path / "b" / "e\u0301.nii.gz"])
    assert names[0][0] == "a" and names[1][0] == "b"


def test_a_file_under_another_name_is_the_same(tmp_path) -> None:
    volume, other = tmp_path / "LGE.nrrd", tmp_path / "again.nrrd"
    volume.write_bytes(b"x")
    os.link(volume, other)
    assert is_same_file(volume, other)
    assert is_same_file(tmp_path / "new.nrrd", tmp_path / "sub" / ".." / "new.nrrd")
    assert not is_same_file(volume, tmp_path / "new.nrrd")


def test_the_volume_is_not_overwritten_under_another_name(tmp_path, capsys) -> None:
    """As ``lge.nrrd`` is ``LGE.nrrd`` on macOS, a second name of the file is on every system."""
    volume, other = tmp_path / "LGE.nrrd", tmp_path / "again.nrrd"
    volume.write_bytes(b"x")
    os.link(volume, other)
    assert main(["adapt", str(volume), "-o", str(other)]) == 2
    assert "would overwrite the volume" in capsys.readouterr().err and other.read_bytes() == b"x"


@pytest.mark.parametrize("option, ending", [(["--scar", "fwhm"], "scar"), (["--wall"], "wall")])
def test_the_volume_is_not_overwritten_by_what_lies_beside_the_output(option, ending, tmp_path, capsys) -> None:
    volume = tmp_path / f"LGE-{ending}.nii.gz"
    volume.write_bytes(b"x")
    assert main(["adapt", str(volume), "-o", str(tmp_path / "LGE.nii.gz"), *option]) == 2
    assert f"LGE-{ending}.nii.gz beside the output would overwrite the volume" in capsys.readouterr().err
    assert volume.read_bytes() == b"x"


def test_no_two_outputs_have_one_name(tmp_path, capsys) -> None:
    volume, output, wall = (tmp_path / name for name in ("LGE.nrrd", "heart.nii.gz", "heart-wall.nii.gz"))
    volume.write_bytes(b"no image, which nobody comes to see")
    assert main(["adapt", str(volume), "-o", str(output), "--wall", "--uncertainty", str(wall)]) == 2
    assert "heart-wall.nii.gz would be written twice" in capsys.readouterr().err
    assert main(["adapt", str(volume), "-o", str(output), "--wall", "--uncertainty", str(output)]) == 2
    assert "The uncertainty would overwrite the segmentation" in capsys.readouterr().err


def test_an_output_that_is_a_folder_is_refused_before_any_work(tmp_path, capsys) -> None:
    (tmp_path / "LGE.nrrd").write_bytes(b"no image, which nobody comes to see")
    (tmp_path / "LGE.seg.nrrd").mkdir()
    assert main(["adapt", str(tmp_path / "LGE.nrrd"), "-o", str(tmp_path / "LGE.seg.nrrd")]) == 3
    assert "it is a folder" in capsys.readouterr().err


def test_a_pattern_that_the_shell_left_becomes_its_files_in_order(tmp_path) -> None:
    for name in ("b.nrrd", "a.nrrd", "c.txt", "d[1].nrrd"):
        (tmp_path / name).touch()
    given = [tmp_path / "c.txt", tmp_path / "[ab].nrrd", tmp_path / "d[1].nrrd", tmp_path / "none*.nrrd"]
    names = [path.name for path in expand_patterns(given)]
    assert names == ["c.txt", "a.nrrd", "b.nrrd", "d[1].nrrd", "none*.nrrd"]


def test_a_file_that_another_program_holds_for_a_moment_is_replaced(tmp_path, monkeypatch) -> None:
    """As on Windows, where a virus scanner looks into each new file."""
    place, refusals = tmp_path / "a.json", [PermissionError(13, "in use")] * 2
    replace = os.replace

    def replace_late(one: Path, other: Path) -> None:
        if refusals:
            raise refusals.pop()
        replace(one, other)

    monkeypatch.setattr(atomic, "_TRIES", 3)
    monkeypatch.setattr(atomic.os, "replace", replace_late)
    atomic.write_text(place, "new")
    assert place.read_text(encoding="utf-8") == "new" and [path.name for path in tmp_path.iterdir()] == ["a.json"]
    refusals += [PermissionError(13, "in use")] * 3
    with pytest.raises(PermissionError):
        atomic.write_text(place, "newer")
    assert place.read_text(encoding="utf-8") == "new" and [path.name for path in tmp_path.iterdir()] == ["a.json"]
