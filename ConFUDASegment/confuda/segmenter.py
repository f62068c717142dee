"""The method in memory: a volume in, labels on the volume's own grid out. It knows no path, no scene and no terminal.

    look    the source network finds the heart and says what it sees
    adapt   a copy of it adapts to slices of one volume, or of several together
    judge   both are compared: is the adapted network to be kept?
    segment labels on the volume's grid from the network that is kept

:meth:`Segmenter.adapt_and_segment` takes a volume through all of them; studies take the stages one by one.
"""

import copy
import dataclasses
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple, TypeVar, Union

import numpy as np
import SimpleITK as sitk

from confuda.adaptation.loop import Answer
from confuda.adaptation.pace import Pace
from confuda.adaptation.runs import adapt
from confuda.adaptation.settings import DEFAULT_PRESET, METHODS, MODES, AdaptationSettings, make_settings
from confuda.adaptation.strength import rate_need
from confuda.adaptation.target import choose_target_slices
from confuda.bundle.exemplars import derive_bundle
from confuda.bundle.format import Bundle, load_bundle
from confuda.device import CPU, choose_device, release_memory, to_device
from confuda.errors import InputError, UsageError, explain_memory_errors, is_out_of_memory
from confuda.imaging.neighbours import count_offset, join_neighbours
from confuda.imaging.stack import HeartCrop, ShortAxisStack
from confuda.imaging.volume import Volume
from confuda.inference.acceptance import Opinion, form_opinion, judge_adaptation, measure_voxel_ml
from confuda.inference.cautions import find_cautions
from confuda.inference.heart import find_heart
from confuda.inference.plausibility import find_doubt
from confuda.inference.prediction import ALL_VIEWS, NO_FLIP, Predictor
from confuda.labels import STRUCTURES
from confuda.networks.drunet import DRUNet
from confuda.observer import Observer
from confuda.result import Adapted, Look, Result, Verdict

NO_HEART = "No heart was found: the segmentation is empty. Give its centre if there is one."


class TellsItsCourse(Protocol):
    """A result that says what the user should know, and how many seconds each stage took."""

    warnings: List[str]
    timings: Dict[str, float]


AnyResult = TypeVar("AnyResult", bound=TellsItsCourse)


class Segmenter:
    """Adapts a bundle's network to volumes and segments them.

    Args:
        bundle: what :func:`confuda.load_bundle` gives; the shipped one by default. It is not changed.
        device: auto, cpu, cuda or cuda:N. Where a GPU's memory does not suffice, the CPU is used from then on.
        observer: hears of progress, steps and warnings, and may cancel.

    Attributes:
        warnings, timings: of the stages since the last :meth:`segment` or :meth:`adapt_and_segment` began.

    Raises:
        UsageError: for an unknown device. BundleError: if the shipped bundle cannot be used.
    """

    def __init__(
        self, bundle: Optional[Bundle] = None, device: str = "auto", observer: Optional[Observer] = None
    ) -> None:
        self.bundle = bundle if bundle is not None else load_bundle()
        self.observer = observer if observer is not None else Observer()
        self.timings: Dict[str, float] = {}
        warning = self._use(device)
        self._device_warnings = [warning] if warning else []
        self.warnings = list(self._device_warnings)

    def adapt_and_segment(
        self,
        volume: Volume,
        mode: str = "few-shot",
        method: str = "confuda",
        preset: str = DEFAULT_PRESET,
        settings: Optional[Mapping[str, Any]] = None,
        seed: int = 0,
        slice: Optional[int] = None,
        center: Optional[Tuple[float, float]] = None,
    ) -> Result:
        """Look, adapt, judge and segment.

        Args:
            mode: "few-shot" adapts to all slices of the heart, "one-shot" to one.
            method: a row of the paper's table; "none" adapts nothing.
            preset, settings: how long and how; single settings by name on top (:class:`AdaptationSettings`).
            seed: of everything random.
            slice: the slice of the one-shot mode, counted from 0 along the volume's slice axis; None chooses one.
            center: of the heart, in-plane voxel indices (i, j); None finds it.

        Raises:
            ConfudaError: of the kind that says what is wrong.
        """
        options = {"mode": mode, "method": method, "preset": preset, "seed": seed}
        how = check_options(mode, method, preset, settings, slice, volume)

        def run() -> Result:
            self.observer.started(str(self.device), how.steps if method != "none" else 0)
            look = self.look(volume, center)
            if look.crop is None:
                self.warn(NO_HEART)
            elif look.doubt:
                self.warn(f"What lies at the given centre does not look like a heart: {look.doubt}.")
            adapted = verdict = None
            if look.crop is not None and method != "none":
                adapted = self.adapt(look, mode, method, preset, settings, seed, slice)
            if look.crop is not None:
                self.observer.progress("predict", 0, 1, None)
            if adapted is not None:
                verdict = self.judge(look, adapted)
            label_map = self._restore(look, verdict)
            return Result(label_map, look, adapted, verdict, options, how, str(self.device))

        return self.run(volume, run)

    def segment(self, volume: Volume, center: Optional[Tuple[float, float]] = None) -> Result:
        """Segment with the bundle's network as it is."""
        return self.adapt_and_segment(volume, method="none", center=center)

    def look(self, volume: Volume, center: Optional[Tuple[float, float]] = None, scar: Optional[float] = None) -> Look:
        """Find the heart, and what the source network says about it. At a given ``center`` there is one, whatever the
        network says. ``scar`` says how far the volume shows bright scar, 0 to 1; None reads it from its grey values.

        Raises:
            InputError: if ``center`` lies outside the volume.
        """
        with self._timed("find"):
            self.observer.progress("find", 0, 1, None)
            look = Look(volume, ShortAxisStack(volume.image, self.bundle.spacing_mm))
            crop = self._crop_on_heart(look, center)
        if crop is None:
            look.doubt = "no place in it looks like one"
            return look
        began = time.monotonic()
        with self._timed("predict"):
            opinion = self._ask(self.network, crop, scar)
        look.opinion_s = time.monotonic() - began
        look.doubt = find_doubt(opinion.probabilities.argmax(axis=0), opinion.agreement, self.bundle.spacing_mm)
        if not look.doubt or center is not None:
            look.crop, look.opinion = crop, opinion
        return look

    def adapt(
        self,
        looks: Union[Look, Sequence[Look]],
        mode: str = "few-shot",
        method: str = "confuda",
        preset: str = DEFAULT_PRESET,
        settings: Optional[Mapping[str, Any]] = None,
        seed: int = 0,
        slice: Optional[int] = None,
    ) -> Optional[Adapted]:
        """Adapt a copy of the bundle's network to the slices of one volume, or of several together, that show a heart;
        None where no slice of them does. Where there is no need (``confuda.adaptation.strength``) no step is taken.
        For the arguments see :meth:`adapt_and_segment`."""
        looks = [looks] if isinstance(looks, Look) else list(looks)
        how = check_options(mode, method, preset, settings, slice)
        need = rate_need(how, [look.opinion for look in looks if look.opinion is not None], method)
        how = dataclasses.replace(how, strength=need.strength)
        chosen = [_choose_slices(look, mode, slice) for look in looks]
        target = np.concatenate([self._make_samples(look)[numbers] for look, numbers in zip(looks, chosen)])
        if not len(target):
            self.warn("The network sees no heart in this volume: it was not adapted.")
            return None
        facts = {"method": method, "mode": mode, **dataclasses.asdict(how)}
        if need.strength == 0:
            return Adapted(copy.deepcopy(self.bundle.segmenter), how, [], chosen, facts, need)
        predicted_s = sum(look.opinion_s for look in looks)
        views = self.bundle.views * sum(len(look.need_crop().slices) for look in looks)
        pace = Pace(how, views, predicted_s, time.monotonic())
        self.observer.progress("adapt", 0, how.steps, pace.estimate(0))

        def report(step: int, total: int, losses: Dict[str, float], network: DRUNet) -> None:
            self.observer.check_cancelled()
            pace.add_step(time.monotonic())
            self.observer.progress("adapt", step, total, pace.estimate(step), losses)
            if len(looks) == 1:
                self.observer.offer_preview(step, total, lambda: self._draw(network, looks[0].need_crop()))

        with self._timed("adapt"):
            answers = [look.answer(numbers) for look, numbers in zip(looks, chosen)]
            answer = Answer(*(np.concatenate(parts, axis=1) for parts in zip(*answers)))
            result = adapt(self.bundle, target, method, how, self.device, seed, report, self.warn, answer)
        return Adapted(result.network, how, result.losses, chosen, facts, need)

    def judge(self, look: Look, adapted: Adapted) -> Verdict:
        """Compare what both networks say about a volume that shows a heart; no label is needed."""
        if not adapted.took_steps:
            return Verdict(True, "", look.need_opinion())
        with self._timed("predict"):
            own = look.need_opinion()
            opinion = self._ask(adapted.network, look.need_crop(), own.scar)
            # Of several volumes together none has to gain: the caller looks at all of them.
            must_gain = adapted.need.must_gain and len(adapted.chosen) == 1
            accepted, reason = judge_adaptation(own, opinion, adapted.losses, must_gain)
            if adapted.settings.plain_prediction:
                opinion = self.answer_plainly(look.need_crop(), opinion, adapted.network)
        return Verdict(accepted, reason, opinion)

    def answer_plainly(self, crop: HeartCrop, opinion: Opinion, network: DRUNet) -> Opinion:
        """``opinion`` with the answer of one view, neither weighed nor cleaned up (``plain_prediction``)."""
        plain = self.make_predictor(crop.stack, network).predict(crop.slices, NO_FLIP)
        return dataclasses.replace(opinion, probabilities=plain)

    def make_bundle(self, adapted: Adapted, keep: bool = True, **facts: Any) -> Bundle:
        """The bundle with the adapted network in place of its own, or with its own where that is not to be kept.

        facts: told in its description, beside method, mode and settings.
        """
        return derive_bundle(self.bundle, adapted.network if keep else self.network, {**adapted.facts, **facts})

    def run(self, volume: Volume, run: Callable[[], AnyResult]) -> AnyResult:
        """What ``run`` makes of stages, with their warnings and timings. Where memory does not suffice, the CPU is
        used: smaller portions were tried already, by the predictor and by the adaptation."""
        began = time.monotonic()
        self.warnings, self.timings = [], {}
        for message in (*volume.warnings, *self._device_warnings):
            self.warn(message)
        with explain_memory_errors():
            try:
                result = run()
            except Exception as error:
                if self.device == CPU or not is_out_of_memory(error):
                    raise
                result = None
            if result is None:
                # Beyond the except clause, whose error holds on to what the attempt had allocated.
                release_memory()
                self._use("cpu")
                self.warn("The GPU's memory does not suffice: the CPU is used.")
                result = run()
        result.warnings = list(self.warnings)
        result.timings = {**self.timings, "total": time.monotonic() - began}
        return result

    def _use(self, device: str) -> str:
        """Move to a device by its name; returns a warning, or ""."""
        self.device, warning = choose_device(device)
        # A copy: the bundle stays as it is, for whoever else uses it.
        self.network = to_device(copy.deepcopy(self.bundle.segmenter), self.device)
        return warning

    def _crop_on_heart(self, look: Look, center: Optional[Tuple[float, float]]) -> Optional[HeartCrop]:
        if center is None:
            place = find_heart(self.make_predictor(look.stack), look.stack, self.bundle.crop)
            look.rival = place.rival if place is not None else 0.0
            return look.stack.crop(place.center, self.bundle.crop) if place is not None else None
        given = look.stack.locate(*center)
        if not all(-0.5 <= c <= count - 0.5 for c, count in zip(given, look.stack.grid.size)):
            raise InputError("The centre lies outside the volume: give in-plane voxel indices I,J inside it.")
        return look.stack.crop(given, self.bundle.crop)

    def _ask(self, network: DRUNet, crop: HeartCrop, scar: Optional[float]) -> Opinion:
        return form_opinion(
            self.make_predictor(crop.stack, network),
            crop.slices,
            slice_distance_mm=crop.stack.slice_distance_mm,
            voxel_ml=measure_voxel_ml(crop),
            scar=scar,
        )

    def make_predictor(self, stack: ShortAxisStack, network: Optional[DRUNet] = None) -> Predictor:
        """For ``stack`` and ``network``, the bundle's by default, with the bundle's class weights."""
        weights, views = self.bundle.class_weights, ALL_VIEWS[: self.bundle.views]
        asked, check, distance_mm = network or self.network, self.observer.check_cancelled, stack.slice_distance_mm
        return Predictor(asked, weights, check, distance_mm, views, self.bundle.scar_weights)

    def _make_samples(self, look: Look) -> np.ndarray:
        """The slices of the window around the heart as the network is shown them, (S, C, H, W)."""
        offset = count_offset(look.stack.slice_distance_mm)
        return join_neighbours(look.need_crop().slices, self.network.channels, offset)

    def _draw(self, network: DRUNet, crop: HeartCrop) -> sitk.Image:
        predictor = self.make_predictor(crop.stack, network)
        return crop.restore(predictor.weigh(predictor.predict(crop.slices, NO_FLIP)))

    def _restore(self, look: Look, verdict: Optional[Verdict]) -> sitk.Image:
        """The label map of the network that is kept; empty where no heart was found."""
        if look.crop is None or look.opinion is None:
            empty = sitk.Image(look.volume.image.GetSize(), sitk.sitkUInt8)
            empty.CopyInformation(look.volume.image)
            return empty
        opinion = look.opinion
        if verdict is not None and verdict.accepted:
            opinion = verdict.opinion
        elif verdict is not None:
            self.warn(f"Adaptation was not kept, since {verdict.reason}: the source network's segmentation is given.")
        with self._timed("predict"):
            label_map = look.crop.restore(opinion.probabilities)
        present = set(np.unique(sitk.GetArrayViewFromImage(label_map)).tolist())
        absent = [structure.name for structure in STRUCTURES if structure.label not in present]
        if absent:
            self.warn(f"Not found in this volume: {', '.join(absent)}.")
        for message in find_cautions(look.crop, opinion, look.rival):
            self.warn(message)
        return label_map

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.timings[stage] = self.timings.get(stage, 0.0) + time.monotonic() - began

    def warn(self, message: str) -> None:
        """Something the user should know: kept for the result, and told to the observer."""
        self.warnings.append(message)
        self.observer.warning(message)


def check_options(
    mode: str,
    method: str,
    preset: str,
    settings: Optional[Mapping[str, Any]] = None,
    slice: Optional[int] = None,
    volume: Optional[Volume] = None,
) -> AdaptationSettings:
    """The settings that ``preset`` and ``settings`` make; see :meth:`Segmenter.adapt_and_segment`.

    Raises:
        UsageError: naming the option and what it takes. InputError: if ``volume`` has no such slice.
    """
    for name, value, known in (("mode", mode, MODES), ("method", method, METHODS)):
        if value not in known:
            raise UsageError(f"Unknown {name} '{value}': choose one of {', '.join(known)}.")
    if slice is not None and mode != "one-shot":
        raise UsageError("A slice goes with the one-shot mode only.")
    if slice is not None and volume is not None and not 0 <= slice < volume.slice_count:
        raise InputError(f"There is no slice {slice}: the volume has slices 0 to {volume.slice_count - 1}.")
    return make_settings(preset, settings or {})


def _choose_slices(look: Look, mode: str, slice: Optional[int]) -> np.ndarray:
    """Numbers in the stack of the slices to adapt to."""
    if slice is not None:
        return np.array([look.stack.frame.slice_position(slice, len(look.stack))])
    return choose_target_slices(look.need_opinion().probabilities.argmax(axis=0), mode)
