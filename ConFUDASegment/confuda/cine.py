"""A whole cine in memory: one adaptation for all of its frames, labels of each, and the heart's function.

The source network looks for the heart in one frame and counts, in one view of every frame, the left ventricle's blood:
its largest volume is near end-diastole, its smallest near end-systole. One adaptation takes the slices of both frames;
where it is kept for both it is kept for the cine, and all frames are segmented with one and the same network.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.adaptation.settings import DEFAULT_PRESET, AdaptationSettings
from confuda.device import measure_peak_memory_mb
from confuda.errors import InputError, UsageError
from confuda.imaging.stack import ShortAxisStack, find_slice_axis
from confuda.imaging.volume import Volume
from confuda.inference.acceptance import judge_gain
from confuda.inference.cautions import find_cautions
from confuda.inference.prediction import NO_FLIP, clean_up
from confuda.labels import LV
from confuda.measure.coverage import CUT_OFF, LARGEST_NARROW_END, measure_narrow_end
from confuda.measure.function import ALL_FRAMES, ED_AND_ES, HeartFunction, measure_function
from confuda.measure.metrics import compute_volumes_ml
from confuda.result import Adapted, Look, Verdict, describe_adaptation
from confuda.segmenter import NO_HEART, Segmenter, check_options

NO_ADAPTATION = "none"
ONE_FRAME = "Only one frame was segmented, so there is no end-systole and no ejection fraction."


@dataclass
class CineResult:
    """The segmentation of a cine.

    Attributes:
        frames: numbers of the frames that were segmented; label_maps: theirs, on the cine's own grid, 0 background,
            1 MYO, 2 LV, 3 RV.
        function: volumes, ejection fraction, mass.
        ed, es: frames near end-diastole and end-systole, found by the source network, that were adapted to.
        looks: of the source network at these two, by their numbers; empty where no heart was found.
        adapted, verdicts: of the stages, by the numbers of these two; None and empty where nothing was adapted.
        agreement: how far the network says the same of its views, 0 to 1, the mean over frames; None without a heart.
        options, settings, device, warnings, timings: as those of a :class:`confuda.Result`.
    """

    frames: List[int]
    label_maps: List[sitk.Image]
    function: HeartFunction
    ed: int
    es: int
    looks: Dict[int, Look]
    adapted: Optional[Adapted]
    verdicts: Dict[int, Verdict]
    agreement: Optional[float]
    options: Dict[str, Any]
    settings: AdaptationSettings
    device: str
    warnings: List[str] = field(default_factory=list)
    timings: Dict[str, float] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the labels are the adapted network's; True, too, where nothing was adapted."""
        return all(verdict.accepted for verdict in self.verdicts.values())

    @property
    def reason(self) -> str:
        """Why the adaptation was not kept; "" where it was."""
        return next((verdict.reason for verdict in self.verdicts.values() if not verdict.accepted), "")

    def describe_adaptation(self) -> Optional[Dict[str, Any]]:
        """As :meth:`confuda.Result.describe_adaptation`, of the frame near end-diastole that was adapted to."""
        if self.adapted is None or self.ed not in self.verdicts:
            return None
        verdict = replace(self.verdicts[self.ed], accepted=self.accepted)
        return describe_adaptation(self.looks[self.ed], self.adapted, verdict)

    @property
    def ed_frame(self) -> int:
        """The segmented frame of the largest LV, in the cine's own numbers; the first one without an LV."""
        return self.frames[0] if self.function.lv.ed_frame is None else self.function.lv.ed_frame

    @property
    def ed_label_map(self) -> sitk.Image:
        """Labels of :attr:`ed_frame`."""
        return self.label_maps[self.frames.index(self.ed_frame)]

    def summarise(self) -> Dict[str, Any]:
        """The facts of ``--json`` that concern no file; ``volumes_ml`` are those of :attr:`ed_frame`."""
        seconds = self.timings
        return {
            **{name: self.options[name] for name in ("mode", "method", "preset")},
            "device": self.device,
            "steps": self.adapted.settings.steps if self.adapted is not None and self.adapted.took_steps else 0,
            "seconds": {
                "load": round(seconds.get("find", 0.0), 2),
                **{name: round(seconds.get(name, 0.0), 2) for name in ("adapt", "predict", "total")},
            },
            "peak_memory_mb": measure_peak_memory_mb(),
            "volumes_ml": {name: round(ml, 2) for name, ml in compute_volumes_ml(self.ed_label_map).items()},
            "accepted": self.accepted,
            "adaptation": self.describe_adaptation(),
            "agreement": round(self.agreement, 4) if self.agreement is not None else None,
            "warnings": list(self.warnings),
            "frames": list(self.frames),
            "function": self.function.describe(),
        }


def segment_cine(
    segmenter: Segmenter,
    frames: Sequence[Volume],
    which: str = ALL_FRAMES,
    mode: str = "few-shot",
    method: str = "confuda",
    preset: str = DEFAULT_PRESET,
    settings: Optional[Mapping[str, Any]] = None,
    seed: int = 0,
    center: Optional[Tuple[float, float]] = None,
    body_surface_area_m2: Optional[float] = None,
) -> CineResult:
    """Adapt once to a cine and segment its frames.

    Args:
        frames: volumes on one grid, in the order of time.
        which: "all", or "ed,es" for the two that are adapted to.
        mode, method, preset, settings, seed, center: as :meth:`Segmenter.adapt_and_segment` takes them; the method
            "none" adapts nothing.

    Raises:
        ConfudaError: of the kind that says what is wrong.
    """
    if not frames:
        raise InputError("A cine needs at least one frame.")
    if which not in (ALL_FRAMES, ED_AND_ES):
        raise UsageError("A cine is segmented in all frames, or in ed,es.")
    how = {"mode": mode, "method": method, "preset": preset, "settings": settings, "seed": seed}
    used = check_options(mode, method, preset, settings)

    def run() -> CineResult:
        segmenter.observer.started(str(segmenter.device), used.steps if method != NO_ADAPTATION else 0)
        return _Run(segmenter, frames, how, used).execute(which, center, body_surface_area_m2)

    return segmenter.run(frames[0], run)


NO_SCAR = 0.0
"""A cine is not late enhancement, and all its frames are to be segmented alike (``confuda.inference.scar_weights``)."""


class _Run:
    """One cine in progress: its stages, in order."""

    def __init__(
        self, segmenter: Segmenter, frames: Sequence[Volume], how: Dict[str, Any], settings: AdaptationSettings
    ) -> None:
        self.segmenter = segmenter
        self.frames = frames
        self.how = how
        self.settings = settings

    def execute(
        self, which: str, center: Optional[Tuple[float, float]], body_surface_area_m2: Optional[float]
    ) -> CineResult:
        segmenter = self.segmenter
        center = center if center is not None else self._find_heart()
        ed = es = 0
        looks: Dict[int, Look] = {}
        adapted: Optional[Adapted] = None
        verdicts: Dict[int, Verdict] = {}
        if center is None:
            segmenter.warn(NO_HEART)
        else:
            ed, es = self._find_extremes(center)
            looks = {number: segmenter.look(self.frames[number], center, NO_SCAR) for number in sorted({ed, es})}
            if self.how["method"] != NO_ADAPTATION:
                adapted = segmenter.adapt(list(looks.values()), **self.how)
        if adapted is not None:
            verdicts = self._judge(looks, adapted)
        chosen = sorted(looks) if which == ED_AND_ES and looks else list(range(len(self.frames)))
        opinions = self._segment(chosen, center, looks, adapted, verdicts)
        largest = opinions.get(ed)
        if largest is not None and largest.crop is not None and largest.opinion is not None:
            for message in find_cautions(largest.crop, largest.opinion):
                segmenter.warn(message)
        if center is not None and len(chosen) == 1:
            segmenter.warn(ONE_FRAME)
        label_maps = [self._restore(look, number) for number, look in opinions.items()]
        heard = [look.opinion for look in opinions.values() if look is not None and look.opinion is not None]
        agreements = [opinion.agreement for opinion in heard]
        function = measure_function([compute_volumes_ml(labels) for labels in label_maps], chosen, body_surface_area_m2)
        if function.lv.ed_frame is not None:
            largest_map = label_maps[chosen.index(function.lv.ed_frame)]
            axis = find_slice_axis(largest_map.GetSize(), largest_map.GetSpacing())
            if measure_narrow_end(largest_map, axis) > LARGEST_NARROW_END:
                segmenter.warn(CUT_OFF)
        return CineResult(
            frames=chosen,
            label_maps=label_maps,
            function=function,
            ed=ed,
            es=es,
            looks=looks,
            adapted=adapted,
            verdicts=verdicts,
            agreement=float(np.mean(agreements)) if agreements else None,
            options={name: self.how[name] for name in ("mode", "method", "preset", "seed")},
            settings=adapted.settings if adapted is not None else self.settings,
            device=str(segmenter.device),
        )

    def _judge(self, looks: Dict[int, Look], adapted: Adapted) -> Dict[int, Verdict]:
        verdicts = {number: self.segmenter.judge(look, adapted) for number, look in looks.items()}
        if not adapted.need.must_gain or not all(verdict.accepted for verdict in verdicts.values()):
            return verdicts
        opinions = [verdict.opinion for verdict in verdicts.values()]
        missing = judge_gain([look.need_opinion() for look in looks.values()], opinions)
        return {number: replace(one, accepted=not missing, reason=missing) for number, one in verdicts.items()}

    def _segment(
        self,
        chosen: Sequence[int],
        center: Optional[Tuple[float, float]],
        looks: Dict[int, Look],
        adapted: Optional[Adapted],
        verdicts: Dict[int, Verdict],
    ) -> Dict[int, Optional[Look]]:
        """What the network that is kept sees in each of the chosen frames; None where there is no heart."""
        if center is None:
            return dict.fromkeys(chosen)
        refused = [verdict.reason for verdict in verdicts.values() if not verdict.accepted]
        kept, known = self.segmenter, dict(looks)
        if refused:
            kept.warn(f"Adaptation was not kept, since {refused[0]}: the source network's segmentation is given.")
        elif adapted is not None and adapted.took_steps:
            kept = Segmenter(kept.make_bundle(adapted), str(kept.device), kept.observer)
            known = {number: replace(look, opinion=verdicts[number].opinion) for number, look in looks.items()}
        began = time.monotonic()
        for done, number in enumerate(chosen, start=1):
            if number not in known:
                known[number] = look = kept.look(self.frames[number], center, NO_SCAR)
                if kept is not self.segmenter and self.settings.plain_prediction:
                    look.opinion = kept.answer_plainly(look.need_crop(), look.need_opinion(), kept.network)
            left = (time.monotonic() - began) / done * (len(chosen) - done)
            kept.observer.progress("predict", done, len(chosen), left)
        if kept is not self.segmenter:
            for stage, seconds in kept.timings.items():
                self.segmenter.timings[stage] = self.segmenter.timings.get(stage, 0.0) + seconds
        return {number: known[number] for number in chosen}

    def _find_heart(self) -> Optional[Tuple[float, float]]:
        """Its middle in in-plane voxels (i, j), in the first frame that shows it, of three over the cycle."""
        for number in dict.fromkeys((0, len(self.frames) // 3, 2 * len(self.frames) // 3)):
            look = self.segmenter.look(self.frames[number], scar=NO_SCAR)
            if look.crop is not None:
                return find_crop_center(look)
        return None

    def _find_extremes(self, center: Tuple[float, float]) -> Tuple[int, int]:
        """Frames near end-diastole and end-systole, from one view of each."""
        counts = []
        for number, frame in enumerate(self.frames):
            self.segmenter.observer.progress("find", number, len(self.frames), None)
            stack = ShortAxisStack(frame.image, self.segmenter.bundle.spacing_mm)
            crop = stack.crop(stack.locate(*center), self.segmenter.bundle.crop)
            predictor = self.segmenter.make_predictor(stack)
            labels = clean_up(predictor.weigh(predictor.predict(crop.slices, NO_FLIP))).argmax(axis=0)
            counts.append(int((labels == LV.label).sum()))
        # A frame in which the network sees no LV at all is one that it fails on.
        shown = [count or max(counts) + 1 for count in counts]
        return int(np.argmax(counts)), int(np.argmin(shown))

    def _restore(self, look: Optional[Look], number: int) -> sitk.Image:
        image = self.frames[number].image
        if look is not None and look.crop is not None and look.opinion is not None:
            return look.crop.restore(look.opinion.probabilities)
        empty = sitk.Image(image.GetSize(), sitk.sitkUInt8)
        empty.CopyInformation(image)
        return empty


def find_crop_center(look: Look) -> Tuple[float, float]:
    """The middle of the window around the heart as in-plane voxel indices (i, j) of the volume: the inverse of
    :meth:`ShortAxisStack.locate`."""
    if look.crop is None:
        raise ValueError("no heart was found, so there is no window around it")
    stack, grid = look.stack, look.crop.grid
    by_axis = {}
    for place, axis in enumerate(stack.frame.axes[1:]):
        mm = grid.origin_mm[place] + grid.size[place] // 2 * grid.spacing_mm[place]
        index = (mm - stack.native_grid.origin_mm[place]) / stack.native_grid.spacing_mm[place]
        count = stack.native_grid.size[place]
        by_axis[axis] = min(max(count - 1 - index if stack.frame.flipped[place + 1] else index, 0.0), count - 1.0)
    first, second = sorted(by_axis)
    return by_axis[first], by_axis[second]
