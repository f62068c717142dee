"""Files that are cut off, flipped, empty, of another kind, or none at all: refused in one sentence, nothing written."""

from pathlib import Path

import numpy as np
import pytest
from Testing.torture.commands import expect_refusal
from Testing.torture.volume_files import cut_off, flip_bits, make_pipe, write_bytes, write_gzip_bomb, write_packed

ENDINGS = ("nii", "nii.gz", "nrrd", "mha")
each_ending = pytest.mark.parametrize("ending", ENDINGS)


@pytest.mark.parametrize("share, words", [(0.66, "damaged or incomplete"), (0.9995, "damaged")])
@each_ending
def test_cut_off(ending, share, words, tmp_path, seen) -> None:
    """The last third, or the last bytes, are missing: refused."""
    seen(expect_refusal(cut_off(write_packed(f"volume.{ending}"), share), tmp_path, words))


@pytest.mark.parametrize("ending", ENDINGS[1:])  # Nothing in an uncompressed file tells.
def test_flipped_bits(ending, tmp_path, seen) -> None:
    """Five bits flipped in compressed voxels: refused."""
    seen(expect_refusal(flip_bits(write_packed(f"volume.{ending}")), tmp_path, "damaged"))


@pytest.mark.parametrize("content", [b"", b"Dear all, " * 99], ids=["empty", "a letter"])
@pytest.mark.parametrize("ending", [*ENDINGS, "txt"])
def test_no_image(ending, content, tmp_path, seen) -> None:
    """An empty file, or a letter, with the ending of a volume: refused."""
    seen(expect_refusal(write_bytes(f"volume.{ending}", content), tmp_path, "not an image"))


@pytest.mark.parametrize(
    "write, words",
    [
        pytest.param(write_bytes("v.nii", np.random.default_rng(0).bytes(5000)), "not an image", id="random bytes"),
        pytest.param(make_pipe, "no ordinary file", id="a pipe that nobody writes to"),
        pytest.param(lambda folder: folder / "gone.nrrd", "No such file", id="missing"),
    ],
)
def test_no_file(write, words, tmp_path, seen) -> None:
    """Nothing that can be read: refused, and no waiting for ever."""
    seen(expect_refusal(write, tmp_path, words))


@pytest.mark.slow
def test_device(tmp_path, seen) -> None:
    """/dev/zero as the volume: refused, in a process of its own."""
    seen(expect_refusal(lambda folder: Path("/dev/zero"), tmp_path, "no ordinary file", apart=True))


@pytest.mark.slow
def test_gzip_bomb(tmp_path, seen) -> None:
    """40 GB of voxels promised by 40 MB: refused before memory is taken."""
    seen(expect_refusal(write_gzip_bomb, tmp_path, "bomb", codes=(3, 5), apart=True))
