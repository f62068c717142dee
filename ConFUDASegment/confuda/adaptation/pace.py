"""How much longer an adaptation will take, judged by its own steps so far, on this machine as busy as it is."""

from collections import deque
from statistics import median_low
from typing import Deque

from confuda.adaptation.settings import AdaptationSettings

VIEWS_PER_IMAGE = 4.2
"""How many views of a slice are predicted in the time that training takes for one image (bundle 0.2.0, bundled sample);
used for the first estimate only."""

RECENT_STEPS = 9
"""The time of a step is the median of this many: the first takes longer, and a later one sometimes does."""


class Pace:
    """To be created before the first step.

    Args:
        settings: of the adaptation.
        views: that were predicted just now, of all slices together; predicted_s: how long that took. The adapted
            network's prediction, which follows the steps, will take as long.
        now: seconds of a clock.
    """

    def __init__(self, settings: AdaptationSettings, views: int, predicted_s: float, now: float) -> None:
        images = 2 * (settings.source_batch + settings.target_batch)
        self._steps = settings.steps
        self._after_s = predicted_s
        self._last = now
        self._recent: Deque[float] = deque(maxlen=RECENT_STEPS)
        self._recent.append(predicted_s / max(views, 1) * images * VIEWS_PER_IMAGE)

    def estimate(self, done: int) -> float:
        """Seconds left after ``done`` steps, prediction included."""
        return median_low(self._recent) * (self._steps - done) + self._after_s

    def add_step(self, now: float) -> None:
        """A step has ended."""
        self._recent.append(now - self._last)
        self._last = now
