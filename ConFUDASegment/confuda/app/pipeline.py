"""The whole way once: volume -> slices -> adapt -> labels -> file. Command line and worker both go through here."""

import dataclasses
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import SimpleITK as sitk
import torch

from confuda.adaptation.loop import AdaptationResult, adapt
from confuda.adaptation.settings import DEFAULT_PRESET, METHODS, MODES, make_settings
from confuda.adaptation.target import choose_target_slices
from confuda.bundle.exemplars import compute_source_bank
from confuda.bundle.format import SHIPPED_BUNDLE, Bundle, check_bundle_place, load_bundle, save_bundle
from confuda.device import CPU, choose_device, release_memory
from confuda.errors import InputError, MemoryExhausted, UsageError, is_out_of_memory
from confuda.imaging.stack import HeartCrop, ShortAxisStack
from confuda.inference.acceptance import Opinion, form_opinion, judge_adaptation, measure_voxel_ml
from confuda.inference.heart import find_heart
from confuda.inference.plausibility import find_doubt
from confuda.inference.prediction import NO_FLIP, predict_probabilities, weigh_classes
from confuda.io.atomic import TargetFolder
from confuda.io.segmentation_file import find_ending, write_segmentation
from confuda.io.volume_file import read_volume
from confuda.labels import STRUCTURES
from confuda.measure.metrics import compute_volumes_ml
from confuda.networks.drunet import DRUNet
from confuda.report.case import Case
from confuda.report.documents import Documents, describe_bundle
from confuda.report.place import check_places
from confuda.report.uncertainty import measure_uncertainty

PREVIEW_EVERY_S = 5.0
NO_HEART = "No heart was found: the segmentation is empty. Give its centre if there is one."


@dataclass
class Job:
    """What to do with one volume; the fields are those of DESIGN.md's command line and worker.

    report: folder for ``report.html``, with ``uncertainty.nrrd`` beside it unless ``uncertainty`` names another file.
    Both are written after the segmentation: what goes wrong with them does not cost it. frame, series, spacing_mm: see
    :func:`confuda.io.volume_file.read_volume`.
    """

    volume: Path
    output: Path
    mode: str = "few-shot"
    slice: Optional[int] = None
    method: str = "confuda"
    preset: str = DEFAULT_PRESET
    bundle: Optional[Path] = None
    device: str = "auto"
    seed: int = 0
    center: Optional[Tuple[float, float]] = None
    settings: Dict[str, Any] = field(default_factory=dict)
    preview_folder: Optional[Path] = None
    save_bundle: Optional[Path] = None
    report: Optional[Path] = None
    uncertainty: Optional[Path] = None
    frame: Optional[int] = None
    series: Optional[int] = None
    spacing_mm: Optional[Tuple[float, float, float]] = None

    def check(self) -> None:
        """Find what is wrong before any work is done.

        Raises:
            UsageError: naming the option and what it takes.
            InputError: where the output could not be written.
        """
        output = Path(self.output)
        find_ending(output)
        if output.resolve() == Path(self.volume).resolve():
            raise UsageError("The output would overwrite the volume: give it another name.")
        if not os.path.isdir(output.parent):
            raise InputError(f"Cannot write {output}: the folder {output.parent} does not exist.")
        if self.mode not in MODES:
            raise UsageError(f"Unknown mode '{self.mode}': choose one of {', '.join(MODES)}.")
        if self.method not in METHODS:
            raise UsageError(f"Unknown method '{self.method}': choose one of {', '.join(METHODS)}.")
        if self.slice is not None and self.mode != "one-shot":
            raise UsageError("A slice goes with the one-shot mode only.")
        make_settings(self.preset, self.settings)
        check_places(self.volume, output, self.report, self.uncertainty)
        if self.save_bundle is not None:
            check_bundle_place(self.save_bundle)


class Observer:
    """Hears what a job does. The base class is silent; :meth:`check_cancelled` raises Cancelled to end the job."""

    def started(self, device: str, total: int) -> None:
        """The job runs on ``device`` and will take ``total`` adaptation steps."""

    def progress(
        self, stage: str, step: int, total: int, eta_s: Optional[float], losses: Optional[Dict[str, float]] = None
    ) -> None:
        """``stage`` is load, find, adapt, predict or write; ``eta_s`` the seconds left to the job's end, if known."""

    def preview(self, path: Path) -> None:
        """An early labelmap was written to ``path``."""

    def warning(self, message: str) -> None:
        """Something the user should know."""

    def check_cancelled(self) -> None:
        """Called often."""


@contextmanager
def _memory_errors_explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # A reader's "the file is damaged" may have been memory that ran out while it was read.
        if is_out_of_memory(error):
            raise MemoryExhausted("Not enough memory, even for small portions: close other programs.") from error
        raise


def measure_peak_memory_mb() -> Optional[float]:
    """The largest resident size of this process so far, in MB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def run_job(job: Job, observer: Optional[Observer] = None) -> Dict[str, Any]:
    """Adapt to one volume and write its segmentation; returns the summary of DESIGN.md.

    Where memory runs out, smaller portions are tried first (in ``adapt`` and ``predict``), then the CPU.

    Raises:
        ConfudaError: of the kind that says what is wrong; nothing is written then, except that a map or report that
            cannot be written leaves the finished segmentation where it is.
    """
    observer = observer or Observer()
    job.check()
    with _memory_errors_explained():
        run = _Run(job, observer)
        try:
            return run.execute()
        except Exception as error:
            if run.device == CPU or not is_out_of_memory(error):
                raise
        # Beyond the except clause, whose error holds on to what the attempt had allocated.
        began, warnings = run.began, run.warnings
        del run
        release_memory()
        run = _Run(dataclasses.replace(job, device="cpu"), observer)
        run.began, run.warnings = began, warnings
        run.warn("The GPU's memory does not suffice: the CPU is used.")
        return run.execute()


class _Run:
    """One job in progress: its stages, in order, and what they hand on."""

    def __init__(self, job: Job, observer: Observer) -> None:
        self.job = job
        self.observer = observer
        self.settings = make_settings(job.preset, job.settings)
        self.warnings: List[str] = []
        self.began = time.monotonic()
        self.seconds: Dict[str, float] = {}
        self.device = CPU
        self.target = TargetFolder(Path(job.output).parent)
        self.documents = Documents(job.report, job.uncertainty)
        # What the report tells of the way to the result.
        self.source: Optional[Opinion] = None
        self.adapted: Optional[Opinion] = None
        self.reason = ""

    def execute(self) -> Dict[str, Any]:
        job, observer = self.job, self.observer
        with self._timed("load"):
            observer.progress("load", 0, 1, None)
            bundle = load_bundle(job.bundle)
            volume = read_volume(job.volume, job.frame, job.series, job.spacing_mm)
            for message in volume.warnings:
                self.warn(message)
            device, message = choose_device(job.device)
            if message:
                self.warn(message)
            self.device = device
            network = bundle.segmenter.to(device, memory_format=torch.channels_last)
            stack = ShortAxisStack(volume.image, bundle.spacing_mm)
            self._check_slice(len(stack))
            steps = 0 if job.method == "none" else self.settings.steps
            observer.started(str(device), steps)
            crop = self._crop_on_heart(bundle, network, stack)

        accepted, adapted, uncertainty, chosen = True, None, None, np.array([], dtype=int)
        if crop is not None:
            with self._timed("predict"):
                opinion = self.source = form_opinion(
                    network,
                    crop.slices,
                    bundle.class_weights,
                    observer.check_cancelled,
                    slice_distance_mm=stack.slice_distance_mm,
                    voxel_ml=measure_voxel_ml(crop),
                )
            if not self._shows_heart(opinion, bundle):
                crop = self.source = None
        if crop is not None:
            chosen = self._choose_target_slices(opinion, stack)
            if job.method != "none" and len(chosen):
                with self._timed("adapt"):
                    adapted = self._adapt(bundle, crop, chosen, device)
            with self._timed("predict"):
                observer.progress("predict", 0, 1, None)
                if adapted is not None:
                    accepted, opinion = self._judge(bundle, opinion, adapted, crop)
                    if job.save_bundle is not None:
                        self._save_bundle(bundle, adapted.network if accepted else network)
                labels = crop.restore(opinion.probabilities)
                if self.documents.need_uncertainty:
                    uncertainty = measure_uncertainty(opinion)
        else:
            labels = self._make_empty(volume.image)
        self._warn_of_absent(labels, crop is not None)
        observer.check_cancelled()
        observer.progress("write", 0, 1, None)
        with self.target.hold():
            write_segmentation(labels, job.output)
        if self.documents.need_uncertainty:
            self.documents.write_map(uncertainty, crop, volume.image)
        self.seconds["total"] = round(time.monotonic() - self.began, 2)
        summary = {
            "output": str(job.output),
            "mode": job.mode,
            "method": job.method,
            "preset": job.preset,
            "device": str(device),
            "steps": steps if adapted is not None else 0,
            "seconds": {name: self.seconds.get(name, 0.0) for name in ("load", "adapt", "predict", "total")},
            "peak_memory_mb": measure_peak_memory_mb(),
            "volumes_ml": {name: round(value, 2) for name, value in compute_volumes_ml(labels).items()},
            "accepted": accepted,
            "agreement": round(opinion.agreement, 4) if crop is not None else None,
            "uncertainty": self.documents.summarise(uncertainty),
            "report": str(job.report) if job.report is not None else None,
            "warnings": self.warnings,
        }
        if job.report is not None:
            case = Case(
                stack=stack,
                settings=self.settings,
                given=labels,
                summary=summary,
                crop=crop,
                changed=tuple(job.settings),
                options=self._describe_options(),
                bundle=describe_bundle(bundle, Path(job.bundle or SHIPPED_BUNDLE)),
                source=self.source,
                adapted=self.adapted,
                adapted_to=chosen if adapted is not None else (),
                losses=adapted.losses if adapted is not None else [],
                accepted=accepted,
                reason=self.reason,
                uncertainty=uncertainty,
                names=[
                    path
                    for path in (job.volume, job.output, job.bundle, job.save_bundle, job.report, job.uncertainty)
                    if path
                ],
            )
            self.documents.write_page(case)
        return summary

    def _describe_options(self) -> Dict[str, str]:
        job = self.job
        center = "found by the network" if job.center is None else f"given, {job.center[0]:g},{job.center[1]:g}"
        options = {"mode": job.mode, "method": job.method, "preset": job.preset, "seed": str(job.seed)}
        if job.mode == "one-shot":
            options["slice asked for"] = "auto" if job.slice is None else str(job.slice)
        return {**options, "device asked for": job.device, "centre of the heart": center}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 2)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.observer.warning(message)

    def _check_slice(self, slices: int) -> None:
        if self.job.slice is not None and not 0 <= self.job.slice < slices:
            raise InputError(f"There is no slice {self.job.slice}: the volume has slices 0 to {slices - 1}.")

    def _crop_on_heart(self, bundle: Bundle, network: DRUNet, stack: ShortAxisStack) -> Optional[HeartCrop]:
        self.observer.progress("find", 0, 1, None)
        if self.job.center is not None:
            center = stack.locate(*self.job.center)
            inside = all(-0.5 <= c <= count - 0.5 for c, count in zip(center, stack.grid.size))
            if not inside:
                raise InputError("The centre lies outside the volume: give in-plane voxel indices I,J inside it.")
        else:
            center = find_heart(network, stack, bundle.crop, self.observer.check_cancelled)
            if center is None:
                self.warn(NO_HEART)
                return None
        return stack.crop(center, bundle.crop)

    def _shows_heart(self, opinion: Opinion, bundle: Bundle) -> bool:
        """Whether what the source network marked is to be taken for a heart: always, where the user said it is one."""
        doubt = find_doubt(opinion.probabilities.argmax(axis=0), opinion.agreement, bundle.spacing_mm)
        if doubt and self.job.center is None:
            self.warn(NO_HEART)
            return False
        if doubt:
            self.warn(f"What lies at the given centre does not look like a heart: {doubt}.")
        return True

    def _choose_target_slices(self, opinion: Opinion, stack: ShortAxisStack) -> np.ndarray:
        """Positions in the stack of the slices to adapt to."""
        if self.job.mode == "one-shot" and self.job.slice is not None:
            return np.array([stack.frame.slice_position(self.job.slice, len(stack))])
        chosen = choose_target_slices(opinion.probabilities.argmax(axis=0), self.job.mode)
        if not len(chosen):
            self.warn("The network sees no heart in this volume: it was not adapted.")
        return chosen

    def _adapt(self, bundle: Bundle, crop: HeartCrop, chosen: np.ndarray, device: torch.device) -> AdaptationResult:
        began = last_preview = time.monotonic()

        def report(step: int, total: int, losses: Dict[str, float], network: DRUNet) -> None:
            nonlocal last_preview
            self.observer.check_cancelled()
            now = time.monotonic()
            self.observer.progress("adapt", step, total, (now - began) / step * (total - step), losses)
            if self.job.preview_folder is not None and now - last_preview > PREVIEW_EVERY_S and step < total:
                self._write_preview(bundle, network, crop, step)
                last_preview = time.monotonic()

        slices, job = crop.slices[chosen], self.job
        return adapt(bundle, slices, job.method, self.settings, device, job.seed, report, self.warn)

    def _write_preview(self, bundle: Bundle, network: DRUNet, crop: HeartCrop, step: int) -> None:
        probabilities = predict_probabilities(network, crop.slices, NO_FLIP, self.observer.check_cancelled)
        path = Path(self.job.preview_folder) / f"preview-{step}.nrrd"
        try:
            write_segmentation(crop.restore(weigh_classes(probabilities, bundle.class_weights)), path)
        except InputError:
            # A full disk, say. An early look is no reason to stop; the result is written elsewhere, and says its own.
            return
        self.observer.preview(path)

    def _judge(
        self, bundle: Bundle, source: Opinion, adapted: AdaptationResult, crop: HeartCrop
    ) -> Tuple[bool, Opinion]:
        opinion = form_opinion(
            adapted.network,
            crop.slices,
            bundle.class_weights,
            self.observer.check_cancelled,
            slice_distance_mm=crop.stack.slice_distance_mm,
            voxel_ml=measure_voxel_ml(crop),
        )
        accepted, reason = judge_adaptation(source, opinion, adapted.losses)
        self.adapted, self.reason = opinion, reason
        if not accepted:
            self.warn(f"Adaptation was not kept, since {reason}: the source network's segmentation is given.")
        return accepted, opinion if accepted else source

    def _save_bundle(self, bundle: Bundle, network: DRUNet) -> None:
        network = network.to("cpu").eval()
        description = {
            **bundle.description,
            "name": f"{bundle.description.get('name', 'bundle')}-adapted",
            "scores": {},
            "adapted": {"method": self.job.method, "mode": self.job.mode, **dataclasses.asdict(self.settings)},
        }
        bank = compute_source_bank(network, bundle.images, bundle.labels)
        save_bundle(
            dataclasses.replace(bundle, description=description, segmenter=network, bank=bank), self.job.save_bundle
        )

    def _make_empty(self, image: sitk.Image) -> sitk.Image:
        empty = sitk.Image(image.GetSize(), sitk.sitkUInt8)
        empty.CopyInformation(image)
        return empty

    def _warn_of_absent(self, labels: sitk.Image, heart_found: bool) -> None:
        present = set(np.unique(sitk.GetArrayViewFromImage(labels)).tolist())
        absent = [structure.name for structure in STRUCTURES if structure.label not in present]
        if heart_found and absent:
            self.warn(f"Not found in this volume: {', '.join(absent)}.")
