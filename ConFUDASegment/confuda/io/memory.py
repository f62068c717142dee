"""Refusing, before they are read, voxels that this machine's memory does not hold."""

import os
from pathlib import Path
from typing import Optional

from confuda.errors import MemoryExhausted

MEMORY_SHARE = 0.5
"""A volume whose voxels alone need more than this share of the machine's memory is refused."""


def check_memory(needed: float, path: Path) -> None:
    """Make sure that ``needed`` bytes of voxels fit.

    Raises:
        MemoryExhausted: if they do not.
    """
    memory = _measure_memory()
    if memory is not None and needed > MEMORY_SHARE * memory:
        raise MemoryExhausted(
            f"{path} holds {needed / 1e9:.1f} GB of voxels, too many for {memory / 1e9:.1f} GB of memory: "
            "crop it, or keep fewer slices."
        )


def _measure_memory() -> Optional[int]:
    """The machine's memory in bytes, None where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
