"""Figures of function: volume over the cycle, and how two ways to measure one quantity agree."""

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from confuda.errors import UsageError
from confuda.labels import LV, RV
from confuda.report.figures import make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMITS_FACTOR = 1.96
"""Limits of agreement are this many standard deviations of the differences to either side of their mean."""


def draw_volume_curve(function: Mapping[str, Any], times_ms: Optional[Sequence[float]] = None) -> "Figure":
    """Volume of LV and RV in each frame, end-diastole and end-systole marked; ``function`` as ``HeartFunction`` tells
    it. The abscissa is time where ``times_ms`` says it, else the frame's number.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    figure = make_figure(6.0, 3.6)
    axes = figure.add_subplot()
    frames = list(function["frames"])
    along = frames if times_ms is None else list(times_ms)
    for structure, line in ((LV, "-"), (RV, "--")):
        prefix = structure.name.lower()
        color = tuple(channel / 255 for channel in structure.color)
        fraction = function[f"{prefix}_ejection_fraction_percent"]
        name = structure.name if fraction is None else f"{structure.name}, ejection fraction {fraction:.0f} %"
        volumes = function[f"{prefix}_volume_ml"]
        axes.plot(along, volumes, line, color=color, marker=".", label=name)
        for when in ("ed", "es"):
            frame = function[f"{prefix}_{when}_frame"]
            if frame is not None:
                place = frames.index(frame)
                axes.plot(along[place], volumes[place], "o", color=color, fillstyle="none", markersize=10)
    axes.set(xlabel="frame" if times_ms is None else "time, ms", ylabel="volume, mL", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure


class Agreement(NamedTuple):
    """How measurements agree with references, in the unit of both: mean difference (measured less reference), mean
    absolute difference, and the limits of agreement (Bland and Altman, Lancet 327:307, 1986)."""

    mean_difference: float
    mean_absolute_difference: float
    lower_limit: float
    upper_limit: float


def measure_agreement(reference: Sequence[float], measured: Sequence[float]) -> Agreement:
    """Agreement of pairs; the limits need two pairs at least.

    Raises:
        UsageError: where there are fewer than two, or not as many of the one as of the other.
    """
    if len(reference) != len(measured) or len(reference) < 2:
        raise UsageError(f"Agreement needs two pairs at least, got {len(reference)} and {len(measured)} numbers.")
    differences = np.subtract(measured, reference).astype(float)
    mean, spread = float(differences.mean()), LIMITS_FACTOR * float(differences.std(ddof=1))
    return Agreement(mean, float(np.abs(differences).mean()), mean - spread, mean + spread)


def draw_bland_altman(
    reference: Sequence[float],
    measured: Sequence[float],
    title: str,
    unit: str,
    color: Sequence[float] = RV.rgb,
) -> "Figure":
    """Differences over means of pairs, with their mean and the limits of agreement.

    color: red, green and blue of the points, 0 to 1.

    Raises:
        UsageError: as :func:`measure_agreement`; or if matplotlib is not installed.
    """
    agreement = measure_agreement(reference, measured)
    figure = make_figure(5.0, 3.8)
    axes = figure.add_subplot()
    middle, differences = np.add(reference, measured) / 2, np.subtract(measured, reference)
    axes.plot(middle, differences, "o", color=tuple(color))
    lines = (
        (agreement.upper_limit, ":", "upper limit"),
        (agreement.mean_difference, "-", "mean"),
        (agreement.lower_limit, ":", "lower limit"),
    )
    for height, style, name in lines:
        axes.axhline(height, linestyle=style, color="black", linewidth=1)
        axes.annotate(
            f"{name} {height:+.1f}",
            (1, height),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
        )
    axes.set(xlabel=f"mean of both, {unit}", ylabel=f"measured less reference, {unit}", title=title)
    axes.margins(y=0.2)
    axes.grid(alpha=0.3)
    return figure
