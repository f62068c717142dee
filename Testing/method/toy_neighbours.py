"""The toy bundle with a network that is shown each slice between its neighbours."""

import copy
import dataclasses

import torch

from confuda.bundle.exemplars import compute_source_bank
from confuda.bundle.format import Bundle
from confuda.networks.drunet import DRUNet

STACK = 6
"""Slices of each stack of the toy bundle's exemplars."""


def show_neighbours(bundle: Bundle) -> Bundle:
    """``bundle``, whose exemplars are stacks of ``STACK`` slices, with three channels.

    Its network heeds the slice itself and, a little, the two beside it; the first and the last slice of a stack stand
    in for the neighbours that they lack.
    """
    width = bundle.segmenter.classifier.in_channels
    settings = {
        **bundle.description["segmenter"],
        "channels": 3,
        "widths": [width, 2 * width, 4 * width, 8 * width],
        "bottleneck": 16 * width,
    }
    network = DRUNet(**settings)
    state = copy.deepcopy(bundle.segmenter.state_dict())
    (first,) = (name for name, value in network.state_dict().items() if value.shape != state[name].shape)
    state[first] = torch.cat([0.1 * state[first], 0.8 * state[first], 0.1 * state[first]], dim=1)
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    number = torch.arange(len(bundle.images))
    below = torch.where(number % STACK > 0, number - 1, number)
    above = torch.where(number % STACK < STACK - 1, number + 1, number)
    samples = torch.stack([below, number, above], dim=1)
    bank = compute_source_bank(network, bundle.images[samples, 0], bundle.labels)
    description = {**bundle.description, "segmenter": settings}
    return dataclasses.replace(bundle, description=description, segmenter=network, samples=samples, bank=bank)
