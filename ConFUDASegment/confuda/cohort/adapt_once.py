"""The middle way for a scanner: one adaptation to the slices of a few volumes, kept as a bundle for all the others.

It is the paper's setting with all target data ("full"), with as many volumes as are given.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from confuda.bundle.description import read_description
from confuda.bundle.format import load_bundle, save_bundle
from confuda.cohort.case import stage_volume, use_threads
from confuda.cohort.failure import hide_parts, tell_no_names
from confuda.cohort.volumes import CohortVolume
from confuda.errors import BundleError, InputError, explain_memory_errors
from confuda.inference.acceptance import judge_gain
from confuda.io.volume_file import read_volume
from confuda.privacy import hide_paths
from confuda.result import Look
from confuda.segmenter import Segmenter

MODE = "full"


@dataclass(repr=False)
class AdaptOnceTask:
    """What to adapt to and how; ``key`` is kept in the bundle, so that a run that goes on knows its own. Dask writes a
    task's ``repr`` into its logs: that of this one names no volume.

    bundle: the folder to start from, None for the shipped one; output: where the adapted one goes; adaptation:
    arguments of :meth:`confuda.Segmenter.adapt` by name.
    """

    volumes: List[CohortVolume]
    bundle: Optional[Path]
    output: Path
    key: str
    threads: int
    device: str = "auto"
    adaptation: Dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"AdaptOnceTask({len(self.volumes)} volumes)"


@dataclass
class AdaptOnceResult:
    """accepted: whether the adapted network was kept; took_steps: whether there was a need to adapt; volumes: how many
    the network saw; slices: of these; warnings: what the user should know."""

    accepted: bool
    took_steps: bool
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

    The adapted network is kept if most of the volumes, each judged as ``confuda adapt`` judges it, are not worse off,
    and, where the strength was chosen by need, if it is better for all of them together.
    Volumes that cannot be read, or show no heart, are left out with a warning.

    Raises:
        InputError: if no volume is left; no error tells a volume's name.
    """
    with tell_no_names(lambda text: _hide_names(text, task)):
        return _adapt(task)


def _hide_names(text: str, task: AdaptOnceTask) -> str:
    text = hide_paths(text, [volume.path for volume in task.volumes])
    for volume in task.volumes:
        text = hide_parts(text, volume.relative)
    return text


def _adapt(task: AdaptOnceTask) -> AdaptOnceResult:
    use_threads(task.threads)
    with explain_memory_errors():
        segmenter = Segmenter(load_bundle(task.bundle), task.device)
        left_out: List[str] = []
        looks: List[Look] = []
        for number, volume in enumerate(task.volumes, start=1):
            try:
                looks.append(_look_at(volume, segmenter))
            except InputError as error:
                left_out.append(f"Volume {number} of those to adapt to was left out: {error}")
        if not looks:
            raise InputError("None of the volumes to adapt to can be used: choose others with --adapt-on.")
        adapted = segmenter.adapt(looks, **task.adaptation)
        if adapted is None:
            raise InputError("None of the volumes to adapt to can be used: choose others with --adapt-on.")
        verdicts = [segmenter.judge(look, adapted) for look in looks]
        reasons = [verdict.reason for verdict in verdicts if not verdict.accepted]
        accepted = 2 * len(reasons) <= len(verdicts)
        if accepted and adapted.need.must_gain:
            missing = judge_gain([look.need_opinion() for look in looks], [verdict.opinion for verdict in verdicts])
            accepted, reasons = not missing, [missing]
        warnings = [*segmenter.warnings, *left_out]
        if not adapted.took_steps:
            warnings.append(
                f"Nothing was adapted, since {adapted.need.reason}: the network as it is segments the cohort."
            )
        if not accepted:
            warnings.append(f"The adaptation was not kept, since {reasons[0]}: the source network segments the cohort.")
        slices = sum(map(len, adapted.chosen))
        facts = {"mode": MODE, "volumes": len(looks), "slices": slices, "seed": task.adaptation.get("seed", 0)}
        bundle = segmenter.make_bundle(adapted, accepted, **facts, accepted=accepted, key=task.key)
        save_bundle(bundle, task.output)
    return AdaptOnceResult(accepted, adapted.took_steps, len(looks), slices, warnings)


def choose_volumes(volumes: Sequence[CohortVolume], count: int) -> List[CohortVolume]:
    """``count`` of ``volumes``, evenly spread over their order; all of them where there are fewer."""
    places = np.linspace(0, len(volumes) - 1, min(count, len(volumes)))
    return [volumes[int(place)] for place in np.rint(places)]


def _look_at(volume: CohortVolume, segmenter: Segmenter) -> Look:
    with stage_volume(volume) as path:
        look = segmenter.look(read_volume(path, series=volume.number))
    if look.crop is None:
        raise InputError(f"no heart was found: {look.doubt}.")
    return look
