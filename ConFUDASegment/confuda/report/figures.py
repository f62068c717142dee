"""Making figures with matplotlib, which Slicer does not have: pages and the command line draw, the panel does not."""

import io
from typing import TYPE_CHECKING, Any

from confuda.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_ENDINGS = (".png", ".svg")


def make_figure(width_inches: float, height_inches: float) -> "Figure":
    """An empty figure.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Drawing needs matplotlib: install it with 'pip install matplotlib'.") from error
    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def render_figure(figure: "Figure", ending: str) -> bytes:
    """The figure as a file's content; ``ending``: .png or .svg. Figures that were drawn alike give the same bytes.

    Raises:
        UsageError: for another ending.
    """
    if ending.lower() not in FIGURE_ENDINGS:
        raise UsageError(f"A figure's name has to end in {' or '.join(FIGURE_ENDINGS)}, not in '{ending}'.")
    from matplotlib import rc_context

    content = io.BytesIO()
    kind = ending.lower()[1:]
    # Without a date, and with names that do not depend on the time; text stays text, to be read and searched.
    settings: Any = {"svg.hashsalt": "confuda", "svg.fonttype": "none"}
    with rc_context(settings):
        figure.savefig(content, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()
