"""What the stages of a :class:`confuda.Segmenter` hand on, and what comes out in the end."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import numpy as np
import SimpleITK as sitk

from confuda.adaptation.loop import Answer
from confuda.adaptation.settings import AdaptationSettings
from confuda.adaptation.strength import Need
from confuda.device import measure_peak_memory_mb
from confuda.errors import InputError
from confuda.imaging.stack import HeartCrop, ShortAxisStack
from confuda.imaging.volume import Volume
from confuda.inference.acceptance import Opinion
from confuda.io.segmentation_file import write_segmentation
from confuda.labels import CLASS_NAMES
from confuda.measure.metrics import compute_volumes_ml
from confuda.networks.drunet import DRUNet


@dataclass
class Look:
    """What the source network sees in a volume.

    Attributes:
        volume: that was looked at; stack: its slices at the bundle's spacing.
        crop: the window around the heart; None where no heart was found.
        opinion: of the source network about ``crop``; None without one.
        rival: how far the network agrees with itself at another place that might be the heart, as a share of that
            here; 0 without such a place.
        doubt: why there is no heart, or what speaks against the one at a given centre; "" where nothing does.
        opinion_s: seconds that the opinion took.
    """

    volume: Volume
    stack: ShortAxisStack
    crop: Optional[HeartCrop] = None
    opinion: Optional[Opinion] = None
    rival: float = 0.0
    doubt: str = ""
    opinion_s: float = 0.0

    def need_crop(self) -> HeartCrop:
        """The window around the heart.

        Raises:
            InputError: if no heart was found.
        """
        if self.crop is None:
            raise InputError(f"No heart was found in the volume: {self.doubt}.")
        return self.crop

    def need_opinion(self) -> Opinion:
        """The source network's opinion; raises as :meth:`need_crop`."""
        if self.opinion is None:
            raise InputError(f"No heart was found in the volume: {self.doubt}.")
        return self.opinion

    def answer(self, numbers: np.ndarray) -> Answer:
        """What the source network says of the slices ``numbers`` of the window around the heart."""
        opinion = self.need_opinion()
        return Answer(opinion.unweigh()[:, numbers], opinion.probabilities[:, numbers])


@dataclass
class Adapted:
    """A network adapted to slices of one volume, or of several together.

    Attributes:
        network: in evaluation mode.
        settings: those used, where memory allowed.
        losses: of each step by name, the mean over the runs.
        chosen: of each volume, the numbers in its stack of the slices that were adapted to.
        facts: method, mode and settings by name, for the description of a bundle.
        need: how strongly it was adapted, and why; where that is 0 no step was taken, and the network is the bundle's.
    """

    network: DRUNet
    settings: AdaptationSettings
    losses: List[Dict[str, float]]
    chosen: List[np.ndarray]
    facts: Dict[str, Any]
    need: Need = Need(1.0, "it was asked for")

    @property
    def took_steps(self) -> bool:
        return self.need.strength > 0


@dataclass
class Verdict:
    """Whether an adapted network may replace the source network for a volume, why not, and what it says itself."""

    accepted: bool
    reason: str
    opinion: Opinion


def describe_adaptation(look: Look, adapted: Adapted, verdict: Verdict) -> Dict[str, Any]:
    """How strongly was adapted, why, and by how much that changed the answer about a volume, or would have changed it
    where it was not kept."""
    need, before, after = adapted.need, look.need_opinion(), verdict.opinion
    volumes = [compute_volumes_ml(look.need_crop().restore(one.probabilities)) for one in (before, after)]
    changed_ml = {name: round(volumes[1][name] - volumes[0][name], 2) + 0.0 for name in volumes[0]}
    if need.strength == 0:
        text = f"Not adapted, since {need.reason}."
    else:
        changes = ", ".join(f"{name} {value:+.1f} mL" for name, value in changed_ml.items())
        text = f"Adapted at {need.strength:.0%} of the full strength, since {need.reason}. "
        text += "That changed" if verdict.accepted else "That was not kept: it would have changed"
        text += f" {changes}, and the agreement of the views to {after.agreement:.2f}."
    return {
        "strength": need.strength,
        "text": text,
        "changed_ml": changed_ml,
        "agreement_before": round(before.agreement, 4),
        "agreement_after": round(after.agreement, 4),
    }


@dataclass
class Result:
    """A segmentation and how it came about.

    Attributes:
        label_map: uint8 image on the volume's own grid, 0 background, 1 MYO, 2 LV, 3 RV.
        look, adapted, verdict: of the stages; ``adapted`` and ``verdict`` are None where nothing was adapted.
        options: mode, method, preset and seed by name; settings: those of preset and user together.
        device: where it was computed.
        warnings: what the user should know, a sentence each.
        timings: seconds by stage: find, adapt, predict, and total.
    """

    label_map: sitk.Image
    look: Look
    adapted: Optional[Adapted]
    verdict: Optional[Verdict]
    options: Dict[str, Any]
    settings: AdaptationSettings
    device: str
    warnings: List[str] = field(default_factory=list)
    timings: Dict[str, float] = field(default_factory=dict)

    @cached_property
    def labels(self) -> np.ndarray:
        """uint8, with the axes of the volume's array: 0 background, 1 MYO, 2 LV, 3 RV."""
        return sitk.GetArrayFromImage(self.label_map).T

    @cached_property
    def soft_labels(self) -> np.ndarray:
        """(4, I, J, K) float32, from 0 to 1, for background, MYO, LV and RV; the largest one is the label."""
        if self.look.crop is None or self.opinion is None:
            soft = np.zeros((len(CLASS_NAMES), *self.labels.shape), np.float32)
            soft[0] = 1.0
            return soft
        return self.look.crop.restore_soft(self.opinion.probabilities).transpose(0, 3, 2, 1)

    @cached_property
    def volumes_ml(self) -> Dict[str, float]:
        """Volume of each structure in mL, by its name."""
        return compute_volumes_ml(self.label_map)

    @property
    def accepted(self) -> bool:
        """Whether the labels are the adapted network's; True, too, where nothing was adapted."""
        return self.verdict is None or self.verdict.accepted

    @property
    def reason(self) -> str:
        """Why the adaptation was not kept; "" where it was."""
        return self.verdict.reason if self.verdict is not None else ""

    @property
    def opinion(self) -> Optional[Opinion]:
        """Of the network whose labels these are; None where no heart was found."""
        return self.verdict.opinion if self.verdict is not None and self.accepted else self.look.opinion

    @property
    def agreement(self) -> Optional[float]:
        """How far the network says the same of its views of the slices, 0 to 1; None where no heart was found."""
        return self.opinion.agreement if self.opinion is not None else None

    @property
    def losses(self) -> List[Dict[str, float]]:
        """Of each step of the adaptation, by name."""
        return self.adapted.losses if self.adapted is not None else []

    @property
    def steps(self) -> int:
        """Steps of adaptation that were taken."""
        return self.adapted.settings.steps if self.adapted is not None and self.adapted.took_steps else 0

    def describe_adaptation(self) -> Optional[Dict[str, Any]]:
        """How strongly was adapted, why, and by how much that changed the answer; None where nothing was to adapt."""
        if self.adapted is None or self.verdict is None:
            return None
        return describe_adaptation(self.look, self.adapted, self.verdict)

    def save(self, path: Union[str, Path]) -> Path:
        """Write the labels: ``.seg.nrrd`` for 3D Slicer, or a label map (.nii.gz, .nii, .nrrd, .mha).

        Raises:
            UsageError: for another ending. InputError: if the place cannot be written to.
        """
        return write_segmentation(self.label_map, path)

    def summarise(self) -> Dict[str, Any]:
        """The facts of ``--json`` that concern no file."""
        seconds = self.timings
        return {
            **{name: self.options[name] for name in ("mode", "method", "preset")},
            "device": self.device,
            "steps": self.steps,
            "seconds": {
                "load": round(seconds.get("find", 0.0), 2),
                **{name: round(seconds.get(name, 0.0), 2) for name in ("adapt", "predict", "total")},
            },
            "peak_memory_mb": measure_peak_memory_mb(),
            "volumes_ml": {name: round(value, 2) for name, value in self.volumes_ml.items()},
            "accepted": self.accepted,
            "adaptation": self.describe_adaptation(),
            "agreement": round(self.agreement, 4) if self.agreement is not None else None,
            "warnings": list(self.warnings),
        }
