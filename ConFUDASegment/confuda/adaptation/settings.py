"""What can be set about an adaptation, and the presets. No torch is needed to read this."""

import dataclasses
import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Dict, Mapping

from confuda.errors import UsageError

MODES = ("one-shot", "few-shot")
METHODS = ("confuda", "fuda", "blockcl", "advent", "adaptseg", "source", "none")
DEFAULT_PRESET = "balanced"
LARGEST_NUMBER = 1e9
"""No setting needs a larger number; JSON allows whole numbers of hundreds of digits, which no float can hold."""
LARGEST_COUNTS = {
    "steps": 1_000_000,
    "runs": 100,
    "source_batch": 256,
    "target_batch": 256,
    "partitions": 1024,
    "block_size": 64,
    "discriminator_width": 512,
}
"""Bounds of the settings that decide on memory or time; 1024 is the number of pixels in the smallest crop."""


@dataclass(frozen=True)
class AdaptationSettings:
    """Settings of one adaptation; each name may be overridden by the user.

    steps: optimiser steps of all runs together. runs: how many times the network is adapted from the beginning, each
    time with other random images and styles; the weights that the runs end with are averaged.
    strength: what the learning rate is multiplied by; 0 chooses by need (``confuda.adaptation.strength``), and is 1
    where nothing is known of the need.
    only_in_doubt: a strength chosen by need is 0 where the network is sure; otherwise it is adapted all the same, and
    kept only where that helps.
    source_batch, target_batch: images of each kind a step (stylised sources come on top, as many as sources; augmented
    targets, as many as targets). learning_rate with optimizer "adamw" or "sgd".
    average_decay: of the running average of the weights that is kept in the end; 0 keeps the last weights.
    warmup_share: share of the steps in which eps stays random and the contrastive terms ramp up.
    epsilon_step: length of the step of eps against the segmenter, in standard deviations of the style code.
    lambda_rain: weight of L_RAIN, by which RAIN's decoder and style code are trained along; 0 keeps them as they are.
    mean_over_domains: the segmentation losses on source and on stylised images are averaged instead of summed.
    stylised_in_bank: the source centroids are those of source and stylised images together.
    gradient_clip: norm to which the segmenter's gradient is cut; 0 cuts nothing.
    plain_prediction: the adapted network is asked for one view, and nothing of our own is done to its answer.
    lambda_contrast, lambda_norm, lambda_consistency: weights of MPCCL, CNR (equation (4)) and of FUDA's consistency.
    temperature, partitions: tau and P. include_background, relative_norm, mean_over_classes, gradient_through_weights,
    minimum_mass: see ``confuda.losses.contrastive``.
    lambda_block, block_size, block_stride: weight of BlockCL's term (its tau is ``temperature``), side of a block in
    compared pixels, and distance between two of these in pixels. lambda_adversarial, discriminator_rate,
    discriminator_width: weight of AdaptSeg's and AdvEnt's term, learning rate of their discriminator, and its channels
    after the first convolution.
    randomise_source: random contrast on the source images, as in pretraining. keep_detail: fine edges that RAIN's
    decoder blurs are put back into stylised images. tissue_share: share of the stylised images whose classes take their
    intensities from the target's confident pixels of that class instead of RAIN.
    lambda_self: weight of the segmentation loss on augmented targets against confident labels of the averaged network;
    confidence: probability from which a pixel counts as confident. refresh_every: steps between two looks at the
    target.
    """

    steps: int = 60
    runs: int = 1
    strength: float = 0.0
    only_in_doubt: bool = True
    source_batch: int = 4
    target_batch: int = 3
    optimizer: str = "adamw"
    learning_rate: float = 2e-4
    average_decay: float = 0.95
    warmup_share: float = 0.3
    epsilon_step: float = 0.5
    lambda_rain: float = 0.0
    mean_over_domains: bool = False
    stylised_in_bank: bool = False
    gradient_clip: float = 5.0
    plain_prediction: bool = False
    lambda_contrast: float = 0.05
    lambda_norm: float = 0.05
    lambda_consistency: float = 0.05
    temperature: float = 0.5
    partitions: int = 4
    include_background: bool = True
    relative_norm: bool = True
    mean_over_classes: bool = True
    gradient_through_weights: bool = True
    minimum_mass: float = 20.0
    lambda_block: float = 1.0
    block_size: int = 16
    block_stride: int = 2
    lambda_adversarial: float = 1e-3
    discriminator_rate: float = 1e-4
    discriminator_width: int = 64
    randomise_source: bool = True
    keep_detail: bool = True
    tissue_share: float = 0.5
    lambda_self: float = 0.0
    confidence: float = 0.8
    refresh_every: int = 15

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise UsageError(f"{field.name} must be at least 1.")
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{field.name} must be a finite number of at least 0.")
        for name, most in LARGEST_COUNTS.items():
            if getattr(self, name) > most:
                raise UsageError(f"{name} must be at most {most}.")
        if min(self.temperature, self.learning_rate, self.discriminator_rate) <= 0:
            raise UsageError("temperature, learning_rate and discriminator_rate must be greater than 0.")
        if self.optimizer not in ("adamw", "sgd"):
            raise UsageError("optimizer must be adamw or sgd.")
        if self.average_decay >= 1 or max(self.warmup_share, self.tissue_share, self.confidence) > 1:
            raise UsageError("Shares and decays must lie between 0 and 1.")


# A few large steps on few images improved the network more than many small steps on more images. The result of one such
# run depends on what it happens to draw; averaging several runs removes that dependence and keeps the gain.
_BRISK: Dict[str, Any] = {
    "source_batch": 2,
    "target_batch": 2,
    "learning_rate": 2e-3,
    "average_decay": 0.85,
    "refresh_every": 10,
    # On doubtful volumes, the only ones that are adapted to, ten times the weights that sure ones would bear.
    "lambda_contrast": 0.5,
    "lambda_norm": 0.5,
}

PRESETS: Dict[str, AdaptationSettings] = {
    "fast": AdaptationSettings(steps=10, runs=1, **_BRISK),
    "balanced": AdaptationSettings(steps=20, runs=2, **_BRISK),
    "thorough": AdaptationSettings(steps=60, runs=6, only_in_doubt=False, **_BRISK),
    # As published, term by term: SGD at the rate of the second half, lambda 1 and 0.5, RAIN alone, nothing of our own.
    "paper": AdaptationSettings(
        steps=200,
        strength=1.0,
        source_batch=8,
        target_batch=1,
        optimizer="sgd",
        learning_rate=2.5e-4,
        average_decay=0.0,
        lambda_rain=1.0,
        mean_over_domains=True,
        stylised_in_bank=True,
        gradient_clip=0.0,
        plain_prediction=True,
        lambda_contrast=1.0,
        lambda_norm=0.5,
        relative_norm=False,
        mean_over_classes=False,
        minimum_mass=1.0,
        temperature=0.1,
        randomise_source=False,
        keep_detail=False,
        tissue_share=0.0,
        lambda_self=0.0,
    ),
}


def make_settings(preset: str, overrides: Mapping[str, Any]) -> AdaptationSettings:
    """The settings of ``preset`` with ``overrides`` by name.

    Raises:
        UsageError: for an unknown preset, an unknown name or a value of the wrong kind.
    """
    if preset not in PRESETS:
        raise UsageError(f"Unknown preset '{preset}': choose one of {', '.join(PRESETS)}.")
    types = {field.name: type(getattr(PRESETS[preset], field.name)) for field in dataclasses.fields(AdaptationSettings)}
    values: Dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in types:
            raise UsageError(f"Unknown setting '{name}': known are {', '.join(sorted(types))}.")
        wanted = types[name]
        number = isinstance(value, Real) and not isinstance(value, bool)  # Those of numpy, too.
        if number and not abs(value) <= LARGEST_NUMBER:
            raise UsageError(f"The setting '{name}' is out of range.")
        if wanted is float and number:
            values[name] = float(value)
        elif wanted is int and number and float(value).is_integer():
            values[name] = int(value)
        elif isinstance(value, wanted) and wanted in (bool, str):
            values[name] = value
        else:
            raise UsageError(f"The setting '{name}' takes a value of type {wanted.__name__}.")
    return dataclasses.replace(PRESETS[preset], **values)
