"""Loss curves as SVG drawings, one small chart for each term."""

import html
import math
from typing import Dict, List, Sequence

import numpy as np

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

WIDTH, HEIGHT = 300, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 8, 10, 20
_SMOOTHING = 0.15
"""Weight of a step in the running mean, which is drawn over the steps themselves."""


def collect_terms(losses: Sequence[Dict[str, float]]) -> Dict[str, List[float]]:
    """The values of each term over the steps, NaN where a step lacks it; the total comes first."""
    names = list(dict.fromkeys(name for step in losses for name in step))
    names.sort(key=lambda name: name != "total")
    return {name: [float(step.get(name, math.nan)) for step in losses] for name in names}


def draw_curve(name: str, values: Sequence[float]) -> str:
    """One term over the steps as an HTML figure: thin the steps, thick their running mean; values that are not finite
    leave a gap."""
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array)]
    caption = html.escape(TERM_NAMES.get(name, name))
    if not finite.size:
        return f'<figure class="curve"><figcaption>{caption}</figcaption><p>No finite value.</p></figure>'
    low, high = min(float(finite.min()), 0.0), float(finite.max())
    high = high if high > low else low + 1.0
    steps = max(len(array) - 1, 1)

    def place(step: int, value: float) -> str:
        x = _LEFT + step / steps * (WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    floor, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    lines = [
        f'<line class="axis" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_format(value, 2)}</text>'
        for y, value in ((_TOP, high), (floor, low))
    ]
    lines.append(f'<text x="{_LEFT}" y="{HEIGHT - 4}">step 1</text>')
    if len(array) > 1:
        lines.append(f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{len(array)}</text>')
    for style, series in (("raw", array), ("mean", _smooth(array))):
        for run in _split_finite(series):
            points = " ".join(place(step, series[step]) for step in run)
            if len(run) > 1:
                lines.append(f'<polyline class="{style}" points="{points}"/>')
            elif style == "raw":
                x, y = points.split(",")
                lines.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2"/>')
    change = " → ".join(_format(value) for value in (finite if finite.size == 1 else finite[[0, -1]]))
    return (
        f'<figure class="curve"><figcaption>{caption} <span>{change}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{caption}">{"".join(lines)}</svg></figure>'
    )


def _format(value: float, digits: int = 3) -> str:
    """So many digits; no minus before a zero."""
    return f"{value + 0.0:.{digits}g}" if abs(value) >= 5e-4 or value == 0 else f"{value:.0e}"


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean that begins at the first finite value; NaN stays NaN."""
    smoothed = np.full(values.shape, np.nan)
    mean = math.nan
    for step, value in enumerate(values):
        if math.isfinite(value):
            mean = value if math.isnan(mean) else mean + _SMOOTHING * (value - mean)
            smoothed[step] = mean
    return smoothed


def _split_finite(values: np.ndarray) -> List[List[int]]:
    """Runs of steps whose values are finite."""
    runs: List[List[int]] = [[]]
    for step, value in enumerate(values):
        if math.isfinite(value):
            runs[-1].append(step)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
