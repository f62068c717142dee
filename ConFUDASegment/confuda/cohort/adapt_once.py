"""The middle way for a scanner: one adaptation to the slices of a few volumes, kept as a bundle for all the others.

It is the paper's setting with all target data ("full"), with as many volumes as are given.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from confuda.adaptation.loop import adapt
from confuda.adaptation.settings import make_settings
from confuda.adaptation.target import choose_target_slices
from confuda.bundle.exemplars import compute_source_bank
from confuda.bundle.format import Bundle, load_bundle, read_description, save_bundle
from confuda.cohort.case import stage_volume, use_threads
from confuda.cohort.volumes import CohortVolume
from confuda.device import choose_device
from confuda.errors import BundleError, InputError
from confuda.imaging.stack import HeartCrop, ShortAxisStack
from confuda.inference.acceptance import Opinion, form_opinion, judge_adaptation
from confuda.inference.heart import find_heart
from confuda.inference.plausibility import find_doubt
from confuda.io.volume_file import read_volume
from confuda.networks.drunet import DRUNet

MODE = "full"


@dataclass
class AdaptOnceTask:
    """What to adapt to and how; ``key`` is kept in the bundle, so that a run that goes on knows its own.

    bundle: the folder to start from, None for the shipped one; output: where the adapted one goes; settings: on top of
    the preset.
    """

    volumes: List[CohortVolume]
    bundle: Optional[Path]
    output: Path
    key: str
    threads: int
    method: str
    preset: str
    device: str
    seed: int
    settings: Dict[str, Any] = field(default_factory=dict)


@dataclass
class AdaptOnceResult:
    """accepted: whether the adapted network was kept; volumes: how many it saw; slices: of these; warnings: what the
    user should know."""

    accepted: bool
    volumes: int
    slices: int
    warnings: List[str]


def has_bundle(folder: Path, key: str) -> bool:
    """Whether ``folder`` holds the bundle that the task with ``key`` makes."""
    try:
        return read_description(folder).get("adapted", {}).get("key") == key
    except BundleError:
        return False


def adapt_once(task: AdaptOnceTask) -> AdaptOnceResult:
    """Adapt to all slices around the heart of all volumes together, and save the bundle.

    The adapted network is kept if most of the volumes, each judged as ``confuda adapt`` judges it, are not worse off.
    Volumes that cannot be read, or show no heart, are left out with a warning.

    Raises:
        InputError: if no volume is left.
    """
    use_threads(task.threads)
    settings = make_settings(task.preset, task.settings)
    bundle = load_bundle(task.bundle)
    device, message = choose_device(task.device)
    warnings = [message] if message else []
    network = bundle.segmenter.to(device, memory_format=torch.channels_last)
    crops: List[HeartCrop] = []
    opinions: List[Opinion] = []
    target: List[np.ndarray] = []
    for number, volume in enumerate(task.volumes, start=1):
        try:
            crop, opinion, chosen = _look_at(volume, bundle, network)
        except InputError as error:
            warnings.append(f"Volume {number} of those to adapt to was left out: {error}")
            continue
        crops.append(crop)
        opinions.append(opinion)
        target.append(crop.slices[chosen])
    if not target:
        raise InputError("None of the volumes to adapt to can be used: choose others with --adapt-on.")
    together = np.concatenate(target)
    result = adapt(bundle, together, task.method, settings, device, task.seed)
    accepted, reasons = _judge(bundle, crops, opinions, result.network, result.losses)
    if not accepted:
        warnings.append(f"The adaptation was not kept, since {reasons[0]}: the source network segments the cohort.")
    kept = (result.network if accepted else network).to("cpu").eval()
    description = {
        **bundle.description,
        "name": f"{bundle.description.get('name', 'bundle')}-adapted",
        "scores": {},
        "adapted": {
            "method": task.method,
            "mode": MODE,
            "volumes": len(target),
            "slices": len(together),
            "seed": task.seed,
            "accepted": accepted,
            "key": task.key,
            **dataclasses.asdict(settings),
        },
    }
    bank = compute_source_bank(kept, bundle.images, bundle.labels)
    save_bundle(dataclasses.replace(bundle, description=description, segmenter=kept, bank=bank), task.output)
    return AdaptOnceResult(accepted, len(target), len(together), warnings)


def choose_volumes(volumes: Sequence[CohortVolume], count: int) -> List[CohortVolume]:
    """``count`` of ``volumes``, evenly spread over their order; all of them where there are fewer."""
    places = np.linspace(0, len(volumes) - 1, min(count, len(volumes)))
    return [volumes[int(place)] for place in np.rint(places)]


def _look_at(volume: CohortVolume, bundle: Bundle, network: DRUNet) -> Tuple[HeartCrop, Opinion, np.ndarray]:
    """The slices around the heart, what the source network says of them, and which to adapt to."""
    with stage_volume(volume) as path:
        stack = ShortAxisStack(read_volume(path).image, bundle.spacing_mm)
    center = find_heart(network, stack, bundle.crop)
    if center is None:
        raise InputError("no heart was found.")
    crop = stack.crop(center, bundle.crop)
    opinion = _ask(network, crop, bundle)
    labels = opinion.probabilities.argmax(axis=0)
    doubt = find_doubt(labels, opinion.agreement, bundle.spacing_mm)
    if doubt:
        raise InputError(f"no heart was found: {doubt}.")
    return crop, opinion, choose_target_slices(labels, "few-shot")


def _ask(network: DRUNet, crop: HeartCrop, bundle: Bundle) -> Opinion:
    """What the network says of a volume, formed as for its segmentation."""
    return form_opinion(network, crop.slices, bundle.class_weights, slice_distance_mm=crop.stack.slice_distance_mm)


def _judge(
    bundle: Bundle,
    crops: Sequence[HeartCrop],
    before: Sequence[Opinion],
    network: DRUNet,
    losses: List[Dict[str, float]],
) -> Tuple[bool, List[str]]:
    """Whether at least half of the volumes accept the network, and the reasons of the others."""
    reasons = []
    for crop, opinion in zip(crops, before):
        accepted, reason = judge_adaptation(opinion, _ask(network, crop, bundle), losses)
        if not accepted:
            reasons.append(reason)
    return 2 * len(reasons) <= len(crops), reasons
