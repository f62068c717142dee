"""Slices and maps as PNG pictures inside a page (``data:`` addresses), written by SimpleITK."""

import base64
import tempfile
from pathlib import Path
from typing import List, Sequence

import numpy as np
import SimpleITK as sitk

from confuda.labels import DOUBT_COLORS

SCALE_END = 0.6
"""Value of the brightest colour. An entropy of 0.5 is a tie between two classes, and more is rare."""

_FADES_IN = (0.1, 0.3)
"""Between these shares of the scale a map fades in, so that the slice is seen where there is hardly a doubt."""


def encode_slices(slices: np.ndarray) -> List[str]:
    """Grey slices (S, H, W) of any range as pictures, all in one window (1st to 99.5th percentile)."""
    low, high = np.percentile(slices, (1, 99.5))
    scaled = np.clip((slices - low) / max(float(high - low), 1e-12), 0, 1)
    return _encode([np.rint(plane * 255).astype(np.uint8) for plane in scaled])


def encode_maps(fields: np.ndarray) -> List[str]:
    """Fields (S, H, W) of numbers from 0 to 1 as coloured, partly transparent pictures."""
    return _encode([color_field(field) for field in fields])


def color_field(field: np.ndarray) -> np.ndarray:
    """A field (H, W) as red, green, blue, opacity (H, W, 4) uint8."""
    share = np.clip(field / SCALE_END, 0, 1)
    stops = np.linspace(0, 1, len(DOUBT_COLORS))
    channels = [np.interp(share, stops, [color[channel] for color in DOUBT_COLORS]) for channel in range(3)]
    channels.append(230 * np.clip((share - _FADES_IN[0]) / (_FADES_IN[1] - _FADES_IN[0]), 0, 1))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _encode(planes: Sequence[np.ndarray]) -> List[str]:
    addresses = []
    # SimpleITK writes to files only.
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        path = Path(folder, "picture.png")
        for plane in planes:
            sitk.WriteImage(sitk.GetImageFromArray(plane, isVector=plane.ndim == 3), str(path), useCompression=True)
            addresses.append("data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii"))
    return addresses
