"""What one run tells its report: the segmentations without and with adaptation, their doubt, how they came about."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.adaptation.settings import AdaptationSettings
from confuda.imaging.stack import HeartCrop, ShortAxisStack
from confuda.inference.acceptance import Opinion
from confuda.measure.metrics import compute_volumes_ml
from confuda.privacy import HIDDEN_PATH, hide_paths
from confuda.report.uncertainty import Uncertainty, restore_field


@dataclass
class Case:
    """Filled in by the pipeline as the run goes; nothing in it is shown before :func:`hide_names` went over it.

    Attributes:
        stack: the volume; crop: what the network saw of it, None where no heart was found.
        settings: those used; changed: names of the settings that the user set; options: what else was asked for, by
            name; bundle: name, version and hash by name.
        given: the label map that was written.
        source, adapted: what the network said before and after adaptation; None where it was not asked.
        adapted_to: positions in the stack of the slices it was adapted to.
        losses: of each step, the mean over the runs; accepted, reason: whether adaptation was kept, and why not.
        uncertainty: of the segmentation that was given.
        summary: as told in JSON.
        names: paths that the page must not tell.
    """

    stack: ShortAxisStack
    settings: AdaptationSettings
    given: sitk.Image
    summary: Dict[str, Any]
    crop: Optional[HeartCrop] = None
    changed: Sequence[str] = ()
    options: Dict[str, str] = field(default_factory=dict)
    bundle: Dict[str, str] = field(default_factory=dict)
    source: Optional[Opinion] = None
    adapted: Optional[Opinion] = None
    adapted_to: Sequence[int] = ()
    losses: List[Dict[str, float]] = field(default_factory=list)
    accepted: bool = True
    reason: str = ""
    uncertainty: Optional[Uncertainty] = None
    names: Sequence[Path] = ()


@dataclass
class Outcome:
    """A segmentation as the page shows it: labels (S, rows, columns) in the canonical frame, volumes in mL, and how
    far the network's views agree (0 to 1)."""

    labels: np.ndarray
    volumes_ml: Dict[str, float]
    agreement: Optional[float]


def restore_outcome(case: Case, opinion: Optional[Opinion]) -> Optional[Outcome]:
    """The segmentation that follows from an opinion; None where there is none or it holds numbers that are not
    finite."""
    if case.crop is None or opinion is None or not np.isfinite(opinion.probabilities).all():
        return None
    labels = case.crop.restore(opinion.probabilities)
    return Outcome(show_upright(case.stack, labels), compute_volumes_ml(labels), opinion.agreement)


def show_upright(stack: ShortAxisStack, image: sitk.Image) -> np.ndarray:
    """An image on the volume's grid as (S, rows, columns) in the canonical frame, at the volume's own pixels."""
    # A copy: a view would not keep an image alive that nobody else holds.
    return stack.frame.apply(sitk.GetArrayFromImage(image))


def restore_maps(case: Case) -> Optional[Tuple[np.ndarray, np.ndarray]]:
    """Entropy and dissent (S, rows, columns) in the canonical frame, at the volume's own pixels."""
    if case.crop is None or case.uncertainty is None:
        return None
    fields = (case.uncertainty.entropy, case.uncertainty.dissent)
    entropy, dissent = (show_upright(case.stack, restore_field(case.crop, field)) for field in fields)
    return entropy, dissent


def hide_names(text: str, paths: Sequence[Path]) -> str:
    """``text`` without paths, and without the file names of ``paths``, which may tell whose volume it is."""
    absolute = [form for path in paths for form in (path.absolute(), path.resolve())]
    text = hide_paths(text, [*absolute, *(form.parent for form in absolute)])
    for path in paths:
        # A name without an ending, that of a folder of DICOM files, may be any word of the text.
        if "." in path.name:
            text = text.replace(path.name, HIDDEN_PATH)
    return text
