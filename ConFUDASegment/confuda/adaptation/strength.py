"""How strongly to adapt to a volume, by need: a sure network has nothing to gain, and something to lose.

The measures need no label: how far the network's views agree, and whether the wall that it sees is closed. What
adaptation gains, and where, is in docs/results.md.
"""

from typing import NamedTuple, Sequence

import numpy as np

from confuda.adaptation.settings import AdaptationSettings
from confuda.inference.acceptance import Opinion, measure_enclosure

SURE = 0.915
"""Agreement of the views (mean Dice of two of them) from which the network is sure."""

OPEN_WALL = 0.85
"""Share of the left ventricle's outline that borders on muscle below which its wall is open."""


class Need(NamedTuple):
    """strength: what the learning rate is multiplied by, 0 for no adaptation; reason: why, the end of a sentence;
    must_gain: whether the adapted network is kept only where it is better by what can be measured without labels."""

    strength: float
    reason: str
    must_gain: bool = False


BY_NEED = ("confuda", "source")
"""The method that is offered, and its control. Who asks for another one wants to compare: it always runs."""


def rate_need(settings: AdaptationSettings, opinions: Sequence[Opinion], method: str = "confuda") -> Need:
    """The strength that ``settings`` ask for, or else the one that the volumes need.

    opinions: of the source network, about each volume that is adapted to.
    """
    if settings.strength > 0 or method not in BY_NEED:
        return Need(settings.strength or 1.0, "it was asked for")
    if not opinions:
        return Need(1.0, "nothing is known of the need")
    enclosure = min(measure_enclosure(opinion.probabilities.argmax(axis=0)) for opinion in opinions)
    if enclosure < OPEN_WALL:
        return Need(1.0, f"the wall is open: {enclosure:.0%} of the outline of LV borders on muscle", must_gain=True)
    agreement = float(np.mean([opinion.agreement for opinion in opinions]))
    if agreement < SURE:
        return Need(1.0, f"the network is in doubt: its views agree by {agreement:.2f}", must_gain=True)
    if settings.only_in_doubt:
        return Need(0.0, f"the network is sure: its views agree by {agreement:.2f}")
    return Need(1.0, f"these settings always try, though its views agree by {agreement:.2f}", must_gain=True)
