"""Volumes without a heart in them: a warning, and not one voxel marked."""

import pytest
from Testing.torture.commands import expect_nothing
from Testing.torture.non_hearts import NON_HEARTS
from Testing.torture.volume_files import write_non_heart

QUICK = ("white noise", "solid ball")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NON_HEARTS])
def test_no_heart(name, tmp_path, seen) -> None:
    """Noise, textures and other organs: done, warned that no heart was found, empty segments."""
    seen(expect_nothing(write_non_heart(name), tmp_path))


@pytest.mark.slow
def test_adapting_to_no_heart(tmp_path, seen) -> None:
    """Adaptation to a brain-like ball: no step is taken, empty segments, a warning."""
    seen(expect_nothing(write_non_heart("brain-like ball"), tmp_path, apart=True, adapt=True))
