"""The source side that a bundle carries: exemplar slices to adapt with, and the centroids of their classes."""

import copy
import dataclasses
from typing import Any, Mapping, Tuple

import numpy as np
import torch
from torch import Tensor

from confuda.bundle.format import Bundle
from confuda.labels import CLASS_NAMES
from confuda.losses.centroids import SourceBank, compute_centroids
from confuda.losses.labels import encode_labels
from confuda.networks.drunet import DRUNet


def choose_exemplars(labels: np.ndarray, volume: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of ``count`` slices with a heart in them, from as many volumes as there are, at all levels of the heart.

    Volumes are taken in random order; the k-th takes its slice at a level (base to apex) that a low-discrepancy
    sequence gives, so that levels are covered evenly.
    """
    heart = labels.reshape(len(labels), -1).any(axis=1)
    order = np.random.default_rng(seed).permutation(np.unique(volume[heart]))
    chosen = []
    for turn in range(count):
        own = np.flatnonzero(heart & (volume == order[turn % len(order)]))
        level = (turn * 0.6180339887) % 1.0
        chosen.append(own[int(level * len(own))])
    return np.unique(chosen)


@torch.no_grad()
def compute_source_bank(network: DRUNet, images: Tensor, labels: Tensor, batch: int = 16) -> SourceBank:
    """The source centroids C^s of equation (1) over all exemplars (N, C, H, W) and their labels (N, H, W)."""
    device = next(network.parameters()).device
    weighted, mass = [], []
    for some_images, some_labels in zip(images.split(batch), labels.split(batch)):
        features = network.features(some_images.to(device)).float()
        step = compute_centroids(features, encode_labels(some_labels.to(device), len(CLASS_NAMES), torch.float32))
        weighted.append(step.vectors * step.mass[:, None])
        mass.append(step.mass)
    total_mass = torch.stack(mass).sum(dim=0)
    centroids = torch.stack(weighted).sum(dim=0) / total_mass.clamp_min(1.0)[:, None]
    bank = SourceBank(len(CLASS_NAMES), centroids.shape[1])
    bank.load_state_dict({"vectors": centroids.cpu(), "mass": total_mass.cpu()})
    return bank


def crop_exemplars(images: np.ndarray, labels: np.ndarray, size: int) -> Tuple[Tensor, Tensor]:
    """Central windows of ``size`` pixels of (N, H, W) uint8 slices, as a bundle holds them."""
    margin = (images.shape[1] - size) // 2
    window = np.s_[:, margin : margin + size, margin : margin + size]
    return torch.from_numpy(images[window]).float()[:, None] / 255, torch.from_numpy(labels[window]).long()


def derive_bundle(bundle: Bundle, network: DRUNet, adapted: Mapping[str, Any]) -> Bundle:
    """``bundle`` with an adapted network in place of its own, on the CPU, and the centroids that go with it.

    adapted: how it was adapted, for the description; what was measured of the former network is left out.
    """
    kept = copy.deepcopy(network).to("cpu").eval()
    description = {
        **{key: value for key, value in bundle.description.items() if key != "adaptation"},
        "name": f"{bundle.description.get('name', 'bundle')}-adapted",
        "scores": {},
        "adapted": dict(adapted),
    }
    images, labels = bundle.get_samples(torch.arange(len(bundle.samples)))
    bank = compute_source_bank(kept, images, labels[:, labels.shape[1] // 2])
    return dataclasses.replace(bundle, description=description, segmenter=kept, bank=bank)
