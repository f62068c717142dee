"""Disks that are full or may not be written to: code 3, one line, what lay there intact, nothing half written."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from Testing.torture.commands import check_polite, list_arguments, make_places, run_apart
from Testing.torture.runs import Place, start_command
from Testing.torture.volume_files import write_bytes, write_distorted
from Testing.toy_bundle import share_toy_bundle


@contextlib.contextmanager
def mounted(folder: Path, options: str):
    """A small file system over ``folder`` (empty); False where none may be mounted here."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = sys.platform.startswith("linux") and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


def read_all(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


@pytest.mark.parametrize(
    "ending", [".seg.nrrd", *(pytest.param(e, marks=pytest.mark.slow) for e in (".nii.gz", ".mha"))]
)
def test_full_disk(ending, tmp_path, seen) -> None:
    """No byte free on the file system of the output (or, where none may be mounted, a limit on the size of files): code
    3, one line, and nothing left."""
    place = Place(tmp_path, ending)
    full = tmp_path / "full"
    full.mkdir()
    with mounted(full, "size=1m") as is_small:
        if is_small:
            shutil.copy(place.output, full / place.output.name)
            place.outputs, place.output = full, full / place.output.name
            fill(full)
        run = start_command(place, place.list_arguments("--method", "none"), "none" if is_small else "files:500")
        assert run.finish() == 3, run.errors[-300:]
        (full / "filler").unlink(missing_ok=True)
        place.check_untouched()
    kind = "a full tmpfs" if is_small else "a limit on file sizes"
    seen(f"{kind}: code 3, '{run.errors.strip().splitlines()[-1].replace(str(tmp_path), '...')}'")


@pytest.mark.slow
def test_full_in_the_middle_of_the_file(tmp_path, seen) -> None:
    """No file may grow beyond 20 kB: code 3, one line, and nothing left."""
    place = Place(tmp_path, ".nii")  # Not compressed, so larger than the limit.
    run = start_command(place, place.list_arguments("--method", "none"), "files:20000")
    assert run.finish() == 3, run.errors[-300:]
    place.check_untouched()
    seen(f"code 3, '{run.errors.strip().splitlines()[-1].replace(str(tmp_path), '...')}'")


@pytest.mark.slow
@pytest.mark.parametrize("replace", [True, False], ids=["over an earlier bundle", "anew"])
def test_full_while_a_bundle_is_kept(replace, place, seen) -> None:
    """``--save-bundle`` where no file may grow beyond 30 kB: code 3, an earlier bundle intact, and nothing left."""
    bundle = place.folder / "kept" / "adapted"
    bundle.parent.mkdir()
    if replace:
        shutil.copytree(share_toy_bundle(), bundle)
    before = read_all(bundle)
    run = start_command(place, place.list_arguments("--save-bundle", str(bundle)), "files:30000")
    assert run.finish() == 3, run.errors[-300:]
    assert read_all(bundle) == before
    assert [path for path in bundle.parent.iterdir() if path != bundle] == []
    place.check_untouched()
    seen(f"code 3, '{run.errors.strip().splitlines()[-1].replace(str(place.folder), '...')}'")


def test_bundle_that_cannot_be_exchanged(tmp_path, seen) -> None:
    """No exchange of two folders at one stroke here, and the second of two renames fails: one sentence, the earlier
    bundle intact."""
    from confuda.bundle import format as bundle
    from confuda.errors import InputError
    from confuda.io import atomic

    place = tmp_path / "kept" / "adapted"
    shutil.copytree(share_toy_bundle(), place)
    before = read_all(place)
    replace = os.replace

    def fail(source, target):
        if Path(target) == place and Path(source).name.startswith(".confuda-"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    with mock.patch.object(atomic, "_exchange", lambda one, other: False):
        with mock.patch.object(atomic.os, "replace", fail), pytest.raises(InputError) as error:
            bundle.save_bundle(bundle.load_bundle(place), place)
        assert read_all(place) == before
        bundle.save_bundle(bundle.load_bundle(place), place)
        bundle.load_bundle(place)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    seen(f"'{str(error.value).replace(str(tmp_path), '...')}', the earlier bundle intact")


@pytest.mark.slow
def test_read_only_disk(tmp_path, seen) -> None:
    """A file system mounted read-only (or, where none may be mounted, a place without the right to write): exit code 3,
    one sentence."""
    place, output = make_places(tmp_path)
    volume = write_distorted("volume.nrrd")(place)
    with mounted(output.parent, "ro") as is_mounted:
        if not is_mounted:
            output = Path("/proc/labels.nrrd") if os.geteuid() == 0 else output
            output.parent.chmod(0o555) if os.geteuid() else None
        outcome = run_apart(list_arguments(volume, output))
    check_polite(outcome)
    assert outcome.code == 3 and "Cannot write" in outcome.err
    seen(f"exit code {outcome.code}, {outcome.err.splitlines()[-1].replace(str(tmp_path), '')}")


@pytest.mark.slow
def test_good_and_bad_together(tmp_path, seen) -> None:
    """``confuda segment`` on a letter and the sample together: exit code 3, the sample is done."""
    place, output = make_places(tmp_path)
    good, bad = write_distorted("good.nrrd")(place), write_bytes("bad.nii", b"Dear all, ")(place)
    from confuda.bundle.format import SHIPPED_BUNDLE

    outcome = run_apart(["segment", str(bad), str(good), "-o", str(output.parent), "--bundle", str(SHIPPED_BUNDLE)])
    check_polite(outcome)
    written = sorted(path.name for path in output.parent.iterdir())
    assert outcome.code == 3 and written == ["good.seg.nrrd"]
    seen(f"exit code 3, written: {', '.join(written)}")
