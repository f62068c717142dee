"""How a benchmark is run: the published scale, and a reduction of it that two CPU cores can do."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Tuple

from confuda.adaptation.settings import AdaptationSettings, make_settings
from confuda.errors import UsageError
from confuda.training.command import make_training_settings
from confuda.training.rain import RainSettings

SETTINGS = ("one-shot", "few-shot", "full")
"""The paper's: one slice of one target patient, all slices of that patient, all slices of all target patients."""

SOURCE_PREFIX, RAIN_PREFIX = "source.", "rain."


@dataclass(frozen=True)
class SourceSettings:
    """Training of the source network of a fold, which is also the row "without UDA".

    width, normalisation, standardise: of ``DRUNet``. spacing_mm, crop: what the network sees, pixels; window: the
    larger square that slices are drawn from. optimizer: "sgd" or "adamw"; epochs: passes over the source slices, in
    batches of ``batch``; rise_steps: steps until the full learning rate; average_decay: of the averaged weights that
    are kept, 0 keeps the last ones.
    """

    width: int = 8
    normalisation: str = "group"
    standardise: bool = True
    spacing_mm: float = 2.25
    crop: int = 80
    window: int = 112
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    epochs: int = 100
    batch: int = 16
    rise_steps: int = 50
    average_decay: float = 0.99

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "sgd"):
            raise UsageError("source.optimizer must be adamw or sgd.")
        if min(self.width, self.epochs, self.batch) < 1 or self.learning_rate <= 0 or not 0 <= self.average_decay < 1:
            raise UsageError("source.width, epochs and batch start at 1, learning_rate above 0, average_decay below 1.")
        if self.crop % 16 or self.window % 16 or not 32 <= self.crop <= self.window:
            raise UsageError("source.crop and source.window are multiples of 16 of at least 32, window the larger one.")

    @property
    def network(self) -> Dict[str, Any]:
        """What :class:`confuda.networks.drunet.DRUNet` takes."""
        return {"width": self.width, "normalisation": self.normalisation, "standardise": self.standardise}

    def count_steps(self, slices: int) -> int:
        return count_steps(self.epochs, slices, self.batch)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a cell beside method, fold and seed.

    rain: its spacing, crop and window are the source's. epochs: of an adaptation, in passes over the source slices in
    batches of its ``source_batch``. overrides: of the adaptation's ``preset``, the user's included; ``steps`` among
    them takes the place of ``epochs``. description, deviations: for the head of a report. tuned_folds: which decided
    about the recipe, and are in no table by default; seeds: of the adaptations in each setting, by default.
    """

    scale: str
    source: SourceSettings
    rain: RainSettings
    preset: str
    epochs: int
    overrides: Mapping[str, Any]
    description: str
    deviations: Tuple[str, ...]
    tuned_folds: Tuple[int, ...] = ()
    seeds: Mapping[str, Tuple[int, ...]] = field(default_factory=lambda: dict.fromkeys(SETTINGS, (0,)))

    def make_settings(self, slices: int, overrides: Mapping[str, Any]) -> AdaptationSettings:
        """The settings of an adaptation with ``slices`` source slices; ``overrides`` (a row's own) come last."""
        settings = make_settings(self.preset, {**self.overrides, **overrides})
        if "steps" in self.overrides:
            return settings
        return dataclasses.replace(settings, steps=count_steps(self.epochs, slices, settings.source_batch))


def count_steps(epochs: int, slices: int, batch: int) -> int:
    """Steps of ``batch`` that make ``epochs`` passes over ``slices``."""
    return epochs * math.ceil(slices / batch)


_ALWAYS = (
    "Source and target are different patients in every fold; the paper does not say.",
    "The source network is trained on bSSFP alone and is shared: it is the row 'without UDA', and every method begins "
    "with it. RAIN's images come in with the adaptation, whose first part (warmup_share) is the paper's warm-up.",
    "Every adaptation takes the same steps, source batch and augmentation; its last (or averaged) weights are tested. "
    "No label of a target or test patient chooses anything.",
    "Images are cut around their own middle, source images (which have labels) around the heart. Beyond the square "
    "that the smallest source image shows, target images are black as source images are.",
    "The paper gives no ranges for its affine motion: here it is any rotation and flip, scale 0.75 to 1.35, shear and "
    "shift. While a method adapts (confuda.adaptation.loop), source images are also moved elastically, by about 2 "
    "pixels.",
    "RAIN's VGG encoder is trained as an autoencoder. RAIN sees bSSFP and T2 of the source patients, no label.",
    "Predictions are the network's own, no flips averaged; all methods alike get the clean-up that a user would use "
    "(the largest piece of the heart and of each structure, no holes in blood). An empty one is the worst case: Dice 0 "
    "and the image's diagonal as distance. Distances are in mm.",
)

RECIPES: Dict[str, Recipe] = {
    "small": Recipe(
        scale="small",
        source=SourceSettings(),
        rain=RainSettings(widths=(8, 16, 32, 64), latent=32, random_share=0.0, autoencoder_steps=500, style_steps=600),
        preset="balanced",
        epochs=1,
        overrides={
            "steps": 160,
            "lambda_adversarial": 0.02,
            "discriminator_rate": 1e-4,
            "runs": 1,
            "source_batch": 8,
            "target_batch": 2,
            "learning_rate": 5e-4,
            "average_decay": 0.95,
            "refresh_every": 15,
            "lambda_contrast": 1.0,
            "lambda_norm": 0.5,
            "randomise_source": False,
            "tissue_share": 0.0,
            "lambda_self": 0.0,
        },
        description="2.25 mm, 80 x 80 pixels (180 mm), DR-UNet of width 8 with group normalisation, AdamW, averaged "
        "weights",
        deviations=(
            *_ALWAYS,
            "A reduction: 2.25 mm and 80 x 80 instead of 1 mm and 224 x 224 (labels that go there and back keep a Dice "
            "of 0.97), width 8 instead of 32, group instead of batch normalisation, AdamW instead of SGD, 160 steps of "
            "batch 8 instead of 200 + 200 epochs of batch 32, weights averaged, target batch 2.",
            "RAIN is narrow (8 to 64 channels); fine edges that its decoder blurs are put back (keep_detail).",
            "The weights of ConFUDA's terms are the published ones; tau, P, the norm term relative to the source's "
            "norm, and the mean over classes are those of the preset 'balanced'.",
            "Fold 1 chose the number of steps, and for AdaptSeg and AdvEnt the weight 0.02 (published: 0.001) and the "
            "discriminator's rate 1e-4 (as published): it is in no table.",
            "The source network is one a fold; seeds are of the adaptations, and of the target patient that one-shot "
            "and few-shot draw.",
        ),
        tuned_folds=(1,),
        seeds={"one-shot": (0, 1, 2), "few-shot": (0, 1, 2), "full": (0,)},
    ),
    "paper": Recipe(
        scale="paper",
        source=SourceSettings(
            width=32,
            normalisation="batch",
            standardise=False,
            spacing_mm=1.0,
            crop=224,
            window=320,
            optimizer="sgd",
            learning_rate=5e-4,
            epochs=200,
            batch=32,
            rise_steps=1,
            average_decay=0.0,
        ),
        rain=RainSettings(random_share=0.0),
        preset="paper",
        epochs=400,
        overrides={"source_batch": 32, "learning_rate": 5e-4, "warmup_share": 0.5},
        description="1 mm, 224 x 224 pixels, DR-UNet of width 32 with batch normalisation, SGD, batch 32",
        deviations=(
            *_ALWAYS,
            "An adaptation is the paper's 200 + 200 epochs, with eps fixed in the first half; one polynomial decay "
            "from 5e-4 takes the place of two: it passes 2.7e-4 in the middle, where the paper goes on with 2.5e-4.",
            "RAIN is narrower than VGG-19 (16 to 128 channels).",
            "Min-max normalisation goes between the 1st and 99th percentile; the networks have one input channel.",
            "tau and P, which the paper leaves open, are those of the preset 'paper'.",
        ),
    ),
}


def make_recipe(scale: str, values: Mapping[str, Any]) -> Recipe:
    """The recipe of ``scale`` with ``values`` by name: ``source.NAME``, ``rain.NAME``, or a setting of adaptation.

    Raises:
        UsageError: for an unknown scale or name, or a value of the wrong kind.
    """
    if scale not in RECIPES:
        raise UsageError(f"Unknown scale '{scale}': choose one of {', '.join(RECIPES)}.")
    recipe = RECIPES[scale]
    own: Dict[str, Any] = {}
    parts: Dict[str, Dict[str, Any]] = {SOURCE_PREFIX: {}, RAIN_PREFIX: {}}
    for name, value in values.items():
        prefix = next((prefix for prefix in parts if name.startswith(prefix)), None)
        if prefix is None:
            own[name] = value
        else:
            parts[prefix][name[len(prefix) :]] = value
    source = _override(recipe.source, parts[SOURCE_PREFIX])
    geometry = {"spacing_mm": source.spacing_mm, "crop": source.crop, "window": source.window}
    rain = _override(recipe.rain, {**parts[RAIN_PREFIX], **geometry})
    changed = [f"{name}={value}" for name, value in values.items()]
    deviations = recipe.deviations + (("Set by hand: " + ", ".join(changed) + ".",) if changed else ())
    recipe = dataclasses.replace(
        recipe, source=source, rain=rain, overrides={**recipe.overrides, **own}, deviations=deviations
    )
    recipe.make_settings(1, {})  # Wrong names and values are told now, not after the source network is trained.
    return recipe


def _override(settings: Any, values: Mapping[str, Any]) -> Any:
    return make_training_settings(type(settings), {**dataclasses.asdict(settings), **values})
