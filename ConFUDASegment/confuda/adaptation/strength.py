"""How strongly to adapt to a volume, by need: where the network is sure there is little to gain, and something to lose.

The measure needs no label: the mean entropy of the network's own answer where it sees heart. On volumes of ACDC, M&Ms
and MS-CMRSeg it follows the error (docs/results.md); what adaptation gains on doubtful volumes it may lose on sure
ones.
"""

import dataclasses
from typing import Sequence

import numpy as np

from confuda.adaptation.settings import AdaptationSettings

SURE, DOUBTFUL = 0.09, 0.13
"""Entropy (0 to 1) up to which a network is sure, and from which it is doubtful enough for the whole strength."""

LEAST_STRENGTH = 0.1


def choose_strength(settings: AdaptationSettings, entropies: Sequence[float]) -> AdaptationSettings:
    """``settings`` with a strength, where they leave it to the volumes.

    entropies: the mean entropy of the source network's answer on each volume that is adapted to, 0 to 1.
    """
    if settings.strength > 0:
        return settings
    doubt = (float(np.mean(entropies)) - SURE) / (DOUBTFUL - SURE)
    return dataclasses.replace(settings, strength=round(float(np.clip(doubt, LEAST_STRENGTH, 1.0)), 3))
