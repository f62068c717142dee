"""The whole way once: volume -> slices -> adapt -> labels -> file. Command line and worker both go through here."""

import dataclasses
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import SimpleITK as sitk
import torch

from confuda.acceptance import Opinion, form_opinion, judge_adaptation
from confuda.adapt import AdaptationResult, adapt
from confuda.bundle import Bundle, load_bundle, save_bundle
from confuda.data.heart import find_heart
from confuda.data.segmentation_file import find_ending, write_segmentation
from confuda.data.stack import HeartCrop, ShortAxisStack
from confuda.data.volume_file import read_volume
from confuda.device import choose_device
from confuda.errors import InputError, MemoryExhausted, UsageError
from confuda.evaluation.metrics import compute_volumes_ml
from confuda.exemplars import compute_source_bank
from confuda.labels import STRUCTURES
from confuda.networks.drunet import DRUNet
from confuda.predict import NO_FLIP, predict_probabilities, weigh_classes
from confuda.settings import DEFAULT_PRESET, METHODS, MODES, make_settings

PREVIEW_EVERY_S = 5.0


@dataclass
class Job:
    """What to do with one volume; the fields are those of DESIGN.md's command line and worker."""

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
        if not output.parent.is_dir():
            raise InputError(f"Cannot write {output}: the folder {output.parent} does not exist.")
        if self.mode not in MODES:
            raise UsageError(f"Unknown mode '{self.mode}': choose one of {', '.join(MODES)}.")
        if self.method not in METHODS:
            raise UsageError(f"Unknown method '{self.method}': choose one of {', '.join(METHODS)}.")
        if self.slice is not None and self.mode != "one-shot":
            raise UsageError("A slice goes with the one-shot mode only.")
        make_settings(self.preset, self.settings)


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
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise MemoryExhausted(
            "Not enough memory: close other programs, or choose the fast preset or the CPU."
        ) from error
    except RuntimeError as error:
        if "not enough memory" in str(error) or "bad_alloc" in str(error):
            raise MemoryExhausted("Not enough memory: close other programs, or choose the fast preset.") from error
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

    Raises:
        ConfudaError: of the kind that says what is wrong; nothing is written then.
    """
    observer = observer or Observer()
    job.check()
    with _memory_errors_explained():
        return _Run(job, observer).execute()


class _Run:
    """One job in progress: its stages, in order, and what they hand on."""

    def __init__(self, job: Job, observer: Observer) -> None:
        self.job = job
        self.observer = observer
        self.settings = make_settings(job.preset, job.settings)
        self.warnings: List[str] = []
        self.began = time.monotonic()
        self.seconds: Dict[str, float] = {}

    def execute(self) -> Dict[str, Any]:
        job, observer = self.job, self.observer
        with self._timed("load"):
            observer.progress("load", 0, 1, None)
            bundle = load_bundle(job.bundle)
            volume = read_volume(job.volume)
            for message in volume.warnings:
                self._warn(message)
            device, message = choose_device(job.device)
            if message:
                self._warn(message)
            network = bundle.segmenter.to(device, memory_format=torch.channels_last)
            stack = ShortAxisStack(volume.image, bundle.spacing_mm)
            self._check_slice(len(stack))
            steps = 0 if job.method == "none" else self.settings.steps
            observer.started(str(device), steps)
            crop = self._crop_on_heart(bundle, network, stack)

        accepted, adapted = True, None
        if crop is not None:
            with self._timed("predict"):
                opinion = form_opinion(network, crop.slices, bundle.class_weights, observer.check_cancelled)
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
        else:
            labels = self._make_empty(volume.image)
        self._warn_of_absent(labels, crop is not None)
        observer.check_cancelled()
        observer.progress("write", 0, 1, None)
        write_segmentation(labels, job.output)
        self.seconds["total"] = round(time.monotonic() - self.began, 2)
        return {
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
            "warnings": self.warnings,
        }

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 2)

    def _warn(self, message: str) -> None:
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
                self._warn("No heart was found: the segmentation is empty. Give its centre if there is one.")
                return None
        return stack.crop(center, bundle.crop)

    def _choose_target_slices(self, opinion: Opinion, stack: ShortAxisStack) -> np.ndarray:
        """Positions in the stack of the slices to adapt to."""
        labels = opinion.probabilities.argmax(axis=0)
        if self.job.mode == "one-shot" and self.job.slice is not None:
            return np.array([stack.frame.slice_position(self.job.slice, len(stack))])
        pixels = np.stack([(labels == structure.label).sum(axis=(1, 2)) for structure in STRUCTURES])
        heart = np.flatnonzero(pixels.any(axis=0))
        if not len(heart):
            self._warn("The network sees no heart in this volume: it was not adapted.")
            return heart
        if self.job.mode == "few-shot":
            return np.arange(max(0, heart[0] - 1), min(len(stack), heart[-1] + 2))
        # Mid-ventricular: the middle of the slices that show all three structures, or else of those that show any.
        complete = np.flatnonzero(pixels.all(axis=0))
        complete = complete if len(complete) else heart
        return complete[[len(complete) // 2]]

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

        return adapt(bundle, crop.slices[chosen], self.job.method, self.settings, device, self.job.seed, report)

    def _write_preview(self, bundle: Bundle, network: DRUNet, crop: HeartCrop, step: int) -> None:
        probabilities = predict_probabilities(network, crop.slices, NO_FLIP, self.observer.check_cancelled)
        path = Path(self.job.preview_folder) / f"preview-{step}.nrrd"
        write_segmentation(crop.restore(weigh_classes(probabilities, bundle.class_weights)), path)
        self.observer.preview(path)

    def _judge(
        self, bundle: Bundle, source: Opinion, adapted: AdaptationResult, crop: HeartCrop
    ) -> Tuple[bool, Opinion]:
        opinion = form_opinion(adapted.network, crop.slices, bundle.class_weights, self.observer.check_cancelled)
        accepted, reason = judge_adaptation(source, opinion, adapted.losses)
        if not accepted:
            self._warn(f"Adaptation was not kept, since {reason}: the source network's segmentation is given.")
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
            self._warn(f"Not found in this volume: {', '.join(absent)}.")
