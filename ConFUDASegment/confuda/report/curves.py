"""Losses over the steps of an adaptation as one drawing, a small chart for each term."""

import math
from typing import TYPE_CHECKING, Dict, Sequence

import numpy as np

from confuda.report.figures import make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TERM_NAMES: Dict[str, str] = {
    "total": "Total",
    "source": "Labelled source images",
    "stylised": "Restyled source images",
    "contrast": "Contrast of structures (MPCCL)",
    "norm": "Centroid norms (CNR)",
    "consistency": "Consistency of two views",
    "self": "Own confident labels",
    "blocks": "Contrast of blocks (BlockCL)",
    "adversarial": "Adversarial term",
    "discriminator": "Discriminator (not in the total)",
}

CHARTS_ACROSS = 3
COLOR = "#1f5fb0"
_SMOOTHING = 0.15
"""Weight of a step in the running mean, which is drawn over the steps themselves."""


def collect_terms(losses: Sequence[Dict[str, float]]) -> Dict[str, np.ndarray]:
    """The values of each term over the steps, NaN where a step lacks it or it is not finite; the total comes first."""
    names = list(dict.fromkeys(name for step in losses for name in step))
    names.sort(key=lambda name: name != "total")
    values = {name: np.array([step.get(name, math.nan) for step in losses], dtype=float) for name in names}
    return {name: np.where(np.isfinite(series), series, math.nan) for name, series in values.items()}


def draw_curves(terms: Dict[str, np.ndarray]) -> "Figure":
    """A chart for each term: thin the steps, thick their running mean, a gap where there is no finite value.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    down = math.ceil(len(terms) / CHARTS_ACROSS)
    figure = make_figure(11.2, 1.9 * down)
    charts = list(figure.subplots(down, CHARTS_ACROSS, squeeze=False).flat)
    for axes, (name, values) in zip(charts, terms.items()):
        steps = np.arange(1, len(values) + 1)
        axes.plot(steps, values, color=COLOR, alpha=0.35, linewidth=1, marker="." if len(values) == 1 else "")
        axes.plot(steps, smooth(values), color=COLOR, linewidth=2)
        axes.set_title(TERM_NAMES.get(name, name), fontsize=9, fontweight="bold", loc="left")
        axes.set_title(_tell_change(values), fontsize=9, color="#5c6675", loc="right")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.locator_params(nbins=4)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in charts[len(terms) :]:
        axes.set_visible(False)
    return figure


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean that begins at the first value; NaN stays NaN."""
    smoothed, mean = np.full(values.shape, math.nan), math.nan
    for step in np.flatnonzero(np.isfinite(values)):
        mean = values[step] if math.isnan(mean) else mean + _SMOOTHING * (values[step] - mean)
        smoothed[step] = mean
    return smoothed


def _tell_change(values: np.ndarray) -> str:
    """The first and the last finite value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "no finite value"
    return " → ".join(f"{value:.3g}" for value in (finite if len(finite) == 1 else finite[[0, -1]]))
