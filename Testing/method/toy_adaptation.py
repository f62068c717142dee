"""A few steps of the loop on a toy target, and what a method is shown in them."""

import dataclasses

import torch

from confuda.adaptation.loop import Adaptation
from confuda.adaptation.settings import AdaptationSettings

CPU = torch.device("cpu")
ADVERSARIAL = ["adaptseg", "advent"]

STEP = 0.005
"""Length of a step in the space of all weights: far beyond rounding, and short enough for the gradient to hold."""

TINY = AdaptationSettings(steps=2, source_batch=2, target_batch=2, discriminator_width=4, warmup_share=0.0)
"""Enough to run every line of a method once or twice."""


def take_step_of_views(bundle, slices, method, settings=TINY, steps=1):
    """A method and the views that the last of some steps of the loop gives it, with their graph to the network."""
    adaptation = Adaptation(bundle, slices, method, settings, CPU, 0)
    seen = []
    compute_terms = adaptation.method.compute_terms
    adaptation.method.compute_terms = lambda views: seen.append(views) or compute_terms(views)
    adaptation._look_at_target()
    for step in range(steps):
        adaptation._take_step(step)
    return adaptation, seen[-1]


def make_game(bundle, slices, method, **changes):
    """An adversarial method whose discriminator has learned a little, on the views of one step."""
    settings = dataclasses.replace(TINY, discriminator_rate=1e-3, **changes)
    adaptation, views = take_step_of_views(bundle, slices, method, settings)
    for _ in range(10):
        adaptation.method.update_own_networks(views.detach())
    return adaptation, views
