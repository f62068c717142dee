"""A figure of slices with the outlines of the structures, one prediction beside the other. Needs matplotlib."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from confuda.errors import InputError, UsageError
from confuda.io.atomic import replace_file
from confuda.labels import STRUCTURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 2.1
LEGEND_INCHES = 4.6
MARGIN_MM = 14.0
PAPER, INK = "#101114", "#e8e6e3"
LINE_STYLES: Dict[str, Any] = {"MYO": "solid", "LV": "solid", "RV": (0, (4, 1.2))}
"""The dashes tell the right ventricle also in print without colours."""


def draw_contours(
    slices: np.ndarray,
    labels: Dict[str, np.ndarray],
    path: Union[str, Path],
    spacing_mm: Tuple[float, float] = (1.0, 1.0),
    numbers: Optional[Sequence[int]] = None,
    max_slices: int = 8,
    plain: bool = False,
    title: str = "",
) -> Path:
    """Draw slices with the outlines of MYO, LV and RV into a PNG file, cropped to the heart.

    slices: (S, H, W) numbers of any range; labels: by the heading of its column ('without adaptation', 'ConFUDA',
    'truth'), label maps of ours of the same shape; spacing_mm: of rows and of columns; numbers: the slices' names in
    the volume (from 0 by default); max_slices: of the slices with labels at most so many are drawn, evenly spread;
    plain: a first column without outlines. With one column in all, the slices fill a grid instead.

    Raises:
        UsageError: if matplotlib is not installed.
        InputError: if the shapes differ, there is nothing to draw, or the file cannot be written.
    """
    slices = np.asarray(slices, dtype=np.float64)
    if slices.ndim != 3 or not slices.size or not labels:
        raise InputError(f"A figure needs slices (S, H, W) and a label map, got {slices.shape} and {len(labels)}.")
    for name, given in labels.items():
        if given.shape != slices.shape:
            raise InputError(f"The labels '{name}' are {given.shape}, the slices {slices.shape}: they must agree.")
    figure_class = _import_matplotlib()
    chosen = _choose_slices(labels, max_slices)
    names = list(range(len(slices))) if numbers is None else list(numbers)
    columns: List[Tuple[str, Optional[np.ndarray]]] = [("image", None)] if plain else []
    columns += list(labels.items())
    across = len(columns) if len(columns) > 1 else min(len(chosen), int(np.ceil(np.sqrt(len(chosen) * 1.5))))
    down = int(np.ceil(len(chosen) * len(columns) / across))
    heart = np.any([labelmap.any(axis=0) for labelmap in labels.values()], axis=0)
    rows_cut, columns_cut = find_window(heart, spacing_mm)
    height_mm = (rows_cut.stop - rows_cut.start) * spacing_mm[0]
    width_mm = (columns_cut.stop - columns_cut.start) * spacing_mm[1]
    panel = (PANEL_INCHES * width_mm / height_mm, PANEL_INCHES)
    top, bottom = 0.32 * (len(columns) > 1) + 0.26 * bool(title) + 0.06, 0.42
    size = (max(across * panel[0], LEGEND_INCHES), down * panel[1] + top + bottom)
    indent = (size[0] - across * panel[0]) / 2
    figure = figure_class(figsize=size, facecolor=PAPER)
    # The limits of all slices together: contrast that jumps from slice to slice would hide what differs.
    low, high = np.percentile(slices[:, rows_cut, columns_cut], (1, 99.5))
    for place in range(len(chosen) * len(columns)):
        number = chosen[place // len(columns)]
        heading, labelmap = columns[place % len(columns)]
        left = (indent + (place % across) * panel[0]) / size[0]
        low_edge = 1 - (top + (place // across + 1) * panel[1]) / size[1]
        axes = figure.add_axes((left, low_edge, 0.985 * panel[0] / size[0], 0.985 * panel[1] / size[1]))
        aspect = spacing_mm[0] / spacing_mm[1]
        picture = slices[number, rows_cut, columns_cut]
        axes.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="bilinear", aspect=aspect)
        axes.set_axis_off()
        if labelmap is not None:
            _outline(axes, labelmap[number, rows_cut, columns_cut])
        box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 2}
        axes.text(0.04, 0.96, str(names[number]), transform=axes.transAxes, color=INK, fontsize=8, va="top", bbox=box)
        if len(columns) > 1 and place < across:
            axes.set_title(heading, color=INK, fontsize=10, pad=5)
    if title:
        figure.text(0.5, 1 - 0.1 / size[1], title, color=INK, fontsize=11, ha="center", va="top")
    _add_legend(figure)
    return _save(figure, Path(path))


def _import_matplotlib() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Drawing needs matplotlib: install it with 'pip install matplotlib'.") from error
    return Figure


def _choose_slices(labels: Dict[str, np.ndarray], most: int) -> List[int]:
    """Indices of at most ``most`` slices that anything is drawn in (of all, if there are none), evenly spread."""
    drawn = np.any([labelmap.any(axis=(1, 2)) for labelmap in labels.values()], axis=0)
    candidates = np.flatnonzero(drawn) if drawn.any() else np.arange(len(drawn))
    places = np.linspace(0, len(candidates) - 1, min(most, len(candidates)))
    return [int(candidates[place]) for place in np.rint(places).astype(int)]


def find_window(heart: np.ndarray, spacing_mm: Sequence[float]) -> Tuple[slice, slice]:
    """Rows and columns around a mask (H, W), with a margin; the whole slice if there is nothing."""
    if not heart.any():
        return slice(0, heart.shape[0]), slice(0, heart.shape[1])
    window = []
    for axis, mm in enumerate(spacing_mm):
        inside = np.flatnonzero(heart.any(axis=1 - axis))
        margin = int(round(MARGIN_MM / mm))
        window.append(slice(max(inside[0] - margin, 0), min(inside[-1] + 1 + margin, heart.shape[axis])))
    return window[0], window[1]


def _outline(axes: "Axes", labels: np.ndarray) -> None:
    # A margin, so that outlines close at the picture's border.
    padded = np.pad(labels, 1)
    rows, columns = np.arange(padded.shape[0]) - 1, np.arange(padded.shape[1]) - 1
    limits = axes.get_xlim(), axes.get_ylim()
    for structure in STRUCTURES:
        mask = padded == structure.label
        if mask.any():
            axes.contour(
                columns,
                rows,
                mask.astype(float),
                levels=[0.5],
                colors=[structure.rgb],
                linewidths=1.3,
                linestyles=[LINE_STYLES[structure.name]],
            )
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _add_legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=structure.rgb, linestyle=LINE_STYLES[structure.name], linewidth=2)
        for structure in STRUCTURES
    ]
    figure.legend(
        lines,
        [structure.display_name for structure in STRUCTURES],
        loc="lower center",
        ncols=len(lines),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.3,
    )


def _save(figure: "Figure", path: Path) -> Path:
    try:
        with replace_file(path) as draft:
            figure.savefig(draft, format="png", dpi=150, facecolor=PAPER)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return path
