"""What a page shows: pictures and drawings inside it (``data:`` addresses), and outlines as SVG paths."""

import base64
import io
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

import numpy as np

from confuda.labels import DOUBT_COLORS, STRUCTURES
from confuda.report.figures import render_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALE_END = 0.6
"""Value of the brightest colour. An entropy of 0.5 is a tie between two classes, and more is rare."""

_FADES_IN = (0.1, 0.3)
"""Between these shares of the scale a map fades in, so that the slice is seen where there is hardly a doubt."""


def encode_slices(slices: np.ndarray) -> List[str]:
    """Grey slices (S, H, W) of any range as pictures, all in one window (1st to 99.5th percentile)."""
    low, high = np.percentile(slices, (1, 99.5))
    scaled = np.clip((slices - low) / max(float(high - low), 1e-12), 0, 1)
    return [_encode_pixels(np.rint(plane * 255).astype(np.uint8)) for plane in scaled]


def encode_maps(fields: np.ndarray) -> List[str]:
    """Fields (S, H, W) of numbers from 0 to 1 as coloured, partly transparent pictures."""
    return [_encode_pixels(color_field(field)) for field in fields]


def color_field(field: np.ndarray) -> np.ndarray:
    """A field (H, W) as red, green, blue, opacity (H, W, 4) uint8."""
    share = np.clip(field / SCALE_END, 0, 1)
    stops = np.linspace(0, 1, len(DOUBT_COLORS))
    channels = [np.interp(share, stops, [color[channel] for color in DOUBT_COLORS]) for channel in range(3)]
    channels.append(230 * np.clip((share - _FADES_IN[0]) / (_FADES_IN[1] - _FADES_IN[0]), 0, 1))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def draw_outlines(labels: np.ndarray, spacing_mm: Tuple[float, float]) -> Dict[str, str]:
    """The ``d`` of an SVG path around each structure of a label map (H, W), by its name, for those that are there.

    In mm, where the picture's corner is 0, 0 and a pixel measures ``spacing_mm`` (row, column).
    """
    row_mm, column_mm = spacing_mm
    paths = {}
    for structure in STRUCTURES:
        loops = trace_outlines(labels == structure.label)
        if loops:
            paths[structure.name] = "".join(
                "M" + "L".join(f"{(x + 0.5) * column_mm:.2f} {(y + 0.5) * row_mm:.2f}" for x, y in loop[:-1]) + "Z"
                for loop in loops
            )
    return paths


def trace_outlines(mask: np.ndarray) -> List[np.ndarray]:
    """Closed outlines of a mask (H, W), around its holes too, each as points (N, 2) of column and row with the first
    one repeated at the end. Centres of pixels lie at whole numbers; an outline runs half-way between one inside and
    one outside."""
    from contourpy import contour_generator  # What matplotlib itself finds contours with.

    # A margin, so that outlines close at the picture's border.
    padded = np.pad(np.asarray(mask, dtype=float), 1)
    lines: Any = contour_generator(z=padded).lines(0.5)
    return [np.asarray(line) - 1.0 for line in lines]


def encode_figure(figure: "Figure") -> str:
    """A figure of matplotlib as an SVG drawing."""
    return _make_address("image/svg+xml", render_figure(figure, ".svg"))


def encode_png(picture: bytes) -> str:
    """A PNG file's content."""
    return _make_address("image/png", picture)


def _encode_pixels(pixels: np.ndarray) -> str:
    from PIL import Image  # matplotlib's own library for pictures

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return encode_png(buffer.getvalue())


def _make_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")
