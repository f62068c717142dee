"""The bull's eye: a number for each AHA segment, base outside, apex in the middle, front above, septum at the left.

It is the view from the apex that the AHA's statement draws (Cerqueira et al., Circulation 105:539, 2002).
"""

from typing import TYPE_CHECKING, Any, Dict, Iterable, Mapping, Optional, Tuple

import numpy as np

from confuda.measure.bulls_eye import find_place
from confuda.report.figures import make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABSENT = "#d9d9d9"
WHERE = ((90, "anterior"), (180, "septal"), (270, "inferior"), (0, "lateral"))


def draw_bulls_eye(
    values: Mapping[int, Optional[float]],
    title: str,
    unit: str,
    limits: Optional[Tuple[float, float]] = None,
    decimals: int = 0,
) -> "Figure":
    """Draw ``values`` by segment (1 to 17); a segment that is missing or None is grey and has a dash.

    limits: of the colours; the smallest and the largest value by default.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    known = {segment: float(value) for segment, value in values.items() if value is not None and np.isfinite(value)}
    low, high = limits or (min(known.values(), default=0.0), max(known.values(), default=1.0))
    figure = make_figure(5.0, 4.6)
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Wedge

    colors = ScalarMappable(Normalize(low, high if high > low else low + 1), colormaps["viridis"])
    axes = figure.add_subplot(aspect="equal")
    for segment in range(1, 18):
        inner, outer, first, last = find_place(segment)
        value = known.get(segment)
        color = ABSENT if value is None else colors.to_rgba(value)  # type: ignore[arg-type]
        axes.add_patch(
            Wedge((0, 0), outer, first, last, width=outer - inner, facecolor=color, edgecolor="white", linewidth=1.5)
        )
        radius, angle = (0.0, 0.0) if segment == 17 else ((inner + outer) / 2, np.radians((first + last) / 2))
        text = "–" if value is None else f"{value:.{decimals}f}"
        axes.text(
            radius * np.cos(angle), radius * np.sin(angle), text, ha="center", va="center", color=_choose_ink(color)
        )
    for degrees, name in WHERE:
        x, y = 4.3 * np.cos(np.radians(degrees)), 4.3 * np.sin(np.radians(degrees))
        axes.text(x, y, name, ha="center", va="center", rotation=90 if degrees in (0, 180) else 0, fontsize=9)
    axes.set(xlim=(-4.7, 4.7), ylim=(-4.7, 4.7))
    axes.axis("off")
    axes.set_title(title, fontsize=11)
    figure.colorbar(colors, ax=axes, shrink=0.75, label=unit)
    return figure


def take_values(segments: Iterable[Dict[str, Any]], key: str) -> Dict[int, Optional[float]]:
    """One number of each segment from the rows of a summary (``wall`` and ``scar`` in JSON)."""
    return {int(row["segment"]): row[key] for row in segments}


def _choose_ink(color: Any) -> str:
    if isinstance(color, str):
        return "black"
    red, green, blue = color[:3]
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"
