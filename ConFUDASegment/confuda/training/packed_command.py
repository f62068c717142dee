"""What ``confuda train pack``, ``train segmenter --packed`` and ``bundle build`` do with packed slices."""

import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from confuda import __version__
from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.exemplars import compute_source_bank, crop_exemplars
from confuda.bundle.format import Bundle, load_bundle, save_bundle
from confuda.device import choose_device
from confuda.errors import BundleError, InputError, UsageError
from confuda.imaging.neighbours import count_offset
from confuda.labels import CLASS_NAMES
from confuda.networks.drunet import DOWNSAMPLING, LEVELS, DRUNet
from confuda.training.acdc import find_acdc_cases, is_always_held_out
from confuda.training.packed_segmenter import PackedSettings, PackedTraining, load_averaged
from confuda.training.packed_slices import PackSource, pack_sources, read_pack, write_pack
from confuda.training.slices import load_slices

PACK_SPACING_MM = 1.25
PACK_WINDOW = 208
EXEMPLAR_STACKS = 9
EXEMPLAR_MARGIN = 16
"""Exemplars are this much larger than the crop, so that they can turn and move without black corners."""
LARGEST_CHANGE_OF_SPACING = 1.3
"""RAIN, which sees texture rather than sizes, serves a grid up to this much finer or coarser than its own."""

TERMS = {
    "data": "ACDC and M&Ms training sets, end-diastole and end-systole, bSSFP; held out: patients 10, 20, ..., 100 of "
    "ACDC, and of M&Ms those whose number ends in 5",
    "licence": "CC BY-NC-SA 4.0",
    "citation": "O. Bernard et al.: Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation "
    "and Diagnosis: Is the Problem Solved? IEEE Transactions on Medical Imaging 37(11), 2018; V. M. Campello et al.: "
    "Multi-Centre, Multi-Vendor and Multi-Disease Cardiac Segmentation: The M&Ms Challenge. IEEE Transactions on "
    "Medical Imaging 40(12), 2021",
}


def parse_source(text: str) -> Tuple[str, Path]:
    """``mnms=DIR`` or ``DIR`` (of ACDC) as data set and folder."""
    name, equals, folder = text.partition("=")
    return (name, Path(folder)) if equals and name.isidentifier() else ("acdc", Path(text))


def run_pack(
    sources: Sequence[Tuple[str, Path]],
    output: Path,
    values: Mapping[str, Any],
    labels: Optional[Mapping[str, int]],
    report: Callable[[str], None],
) -> None:
    """Pack the labelled volumes of ``sources``, all in ACDC's layout and, unless ``labels`` says else, its values.

    Raises:
        UsageError: for a setting other than spacing_mm and window, or one out of range. InputError: for data that
            cannot be used.
    """
    unknown = set(values) - {"spacing_mm", "window"}
    if unknown:
        raise UsageError(f"Unknown setting '{min(unknown)}': known are spacing_mm, window.")
    spacing, window = values.get("spacing_mm", PACK_SPACING_MM), values.get("window", PACK_WINDOW)
    if isinstance(spacing, bool) or not isinstance(spacing, (int, float)) or not 0.3 <= spacing <= 5:
        raise UsageError("The setting 'spacing_mm' takes a number between 0.3 and 5.")
    if isinstance(window, bool) or not isinstance(window, int) or not 32 <= window <= 1024:
        raise UsageError("The setting 'window' takes a whole number of pixels between 32 and 1024.")
    meaning: Union[str, Mapping[str, int]] = labels or "acdc"
    report(f"reading {', '.join(str(folder) for _, folder in sources)}")
    packed = pack_sources([PackSource(name, folder, meaning) for name, folder in sources], float(spacing), window)
    size = write_pack(packed, output)
    slices, volumes, held_out = len(packed.images), len(packed.names), int(packed.held_out.sum())
    report(f"{output}: {slices} slices of {volumes} volumes, {held_out} of them held out, {size / 1e6:.1f} MB")


def make_packed_settings(values: Mapping[str, Any]) -> PackedSettings:
    """Settings with ``values`` by name.

    Raises:
        UsageError: for an unknown name, a value of the wrong kind, or one that no training can have.
    """
    defaults, given = PackedSettings(), dict(values)
    known = [field.name for field in dataclasses.fields(PackedSettings)]
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"Unknown setting '{name}': known are {', '.join(known)}.")
        wanted = type(getattr(defaults, name))
        if wanted is tuple and isinstance(value, list):
            given[name] = tuple(value)
        elif not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise UsageError(f"The setting '{name}' takes a value of type {wanted.__name__}.")
    settings = dataclasses.replace(defaults, **given)
    for name in ("width", "bottleneck", "steps", "batch", "checkpoint_every", "spacing_mm"):
        if getattr(settings, name) <= 0:
            raise UsageError(f"The setting '{name}' must be above 0.")
    if settings.crop < DOWNSAMPLING or settings.crop % DOWNSAMPLING:
        raise UsageError(f"The setting 'crop' must be a multiple of {DOWNSAMPLING}.")
    if len(settings.deep_widths) != LEVELS - 1 or not all(isinstance(w, int) and w > 0 for w in settings.deep_widths):
        raise UsageError(f"The setting 'deep_widths' takes {LEVELS - 1} whole numbers above 0.")
    return settings


def run_packed_training(
    packed: Path,
    output: Path,
    values: Mapping[str, Any],
    resume: bool,
    device: str,
    report: Callable[[str], None],
    start: Optional[Path] = None,
    minutes: Optional[float] = None,
    compiled: bool = False,
) -> None:
    """Train the segmenter on a pack; checkpoint and log go to ``output``.

    With ``resume`` the settings are those of the checkpoint, with ``values`` on top. ``start``: a bundle, or the folder
    of another run on packed slices, whose weights a new run begins with. ``minutes``: after which it stops, with a
    checkpoint, to be resumed.

    Raises:
        InputError, UsageError: for a pack, settings or a network that cannot be used.
    """
    network = None
    if resume:
        _, settings, _ = load_averaged(output)
        settings = make_packed_settings({**dataclasses.asdict(settings), **values})
    else:
        settings = make_packed_settings(values)
    if start is not None and not resume:
        network = _load_start(start, settings)
    place, warning = choose_device(device)
    if warning:
        report(warning)
    if place.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
    slices = read_pack(packed)
    if slices.held_out.all() or not slices.held_out.any():
        raise InputError(f"{packed} needs volumes to train on and volumes that are held out.")
    run = PackedTraining(slices, output, settings, place, resume, report, compiled, network)
    run.run(limit_s=None if minutes is None else 60 * minutes)


def _load_start(start: Path, settings: PackedSettings) -> DRUNet:
    if (start / DESCRIPTION_NAME).is_file():
        network = load_bundle(start).segmenter
    else:
        network, _, _ = load_averaged(start)
    shapes = {name: value.shape for name, value in DRUNet(**settings.network).state_dict().items()}
    if {name: value.shape for name, value in network.state_dict().items()} != shapes:
        raise UsageError(f"The network in {start.name} has other sizes: set width, deep_widths and bottleneck alike.")
    return network


def choose_stacks(cases: Sequence[Any], seed: int) -> List[Any]:
    """Cases of ``EXEMPLAR_STACKS`` patients in training, spread over their numbers (ACDC's go by disease), one frame
    each, early and late ones in turn."""
    patients = sorted({case.patient for case in cases if not is_always_held_out(case.patient)})
    if not patients:
        raise InputError("There is no patient in training to take exemplars from.")
    parts = np.array_split(np.array(patients), min(EXEMPLAR_STACKS, len(patients)))
    random = np.random.default_rng(seed)
    chosen = []
    for turn, part in enumerate(parts):
        own = [case for case in cases if case.patient == random.choice(part)]
        own = own or [case for case in cases if case.patient == part[0]]
        chosen.append(own[turn % len(own)])
    return chosen


def gather_exemplars(data: Path, settings: PackedSettings, seed: int) -> Tuple[Tensor, Tensor, Tensor]:
    """Whole stacks of ACDC: images (N, 1, H, W), labels (N, H, W), and samples (M, C) of the slices that show a heart.

    Raises:
        InputError: if ``data`` is not ACDC in its official layout.
    """
    cases = choose_stacks(find_acdc_cases(data), seed)
    size = settings.crop + EXEMPLAR_MARGIN
    slices = load_slices(cases, settings.spacing_mm, size)
    images, labels = crop_exemplars(slices.images, slices.labels, size)
    samples = []
    reach = 1 if settings.neighbours else 0
    for number in np.flatnonzero(slices.labels.reshape(len(slices.labels), -1).any(axis=1)):
        offset = count_offset(slices.distance_mm[slices.volume[number]])
        steps = np.arange(-reach, reach + 1) * offset
        samples.append([int(slices.neighbour(np.array([number]), np.array([step]))[0]) for step in steps])
    return images, labels, torch.tensor(samples)


def build_packed_bundle(
    segmenter_folder: Path,
    rain: Path,
    data: Path,
    name: str,
    scores: Dict[str, Any],
    output: Path,
    class_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    terms: Optional[Mapping[str, Optional[str]]] = None,
) -> Bundle:
    """Make a bundle of the averaged network of a run on packed slices and of the RAIN of the bundle ``rain``, with
    exemplars from ACDC in ``data``.

    Raises:
        BundleError: if ``rain`` is no bundle, or one for another grid.
    """
    network, settings, steps = load_averaged(segmenter_folder)
    other = load_bundle(rain)
    change = max(other.spacing_mm / settings.spacing_mm, settings.spacing_mm / other.spacing_mm)
    if change > LARGEST_CHANGE_OF_SPACING:
        raise BundleError("RAIN and segmenter were trained at spacings too far apart: train them alike.")
    images, labels, samples = gather_exemplars(data, settings, settings.seed)
    told = {**dataclasses.asdict(settings), "deep_widths": list(settings.deep_widths), "steps_done": steps}
    description = {
        "name": name,
        "version": __version__,
        "classes": list(CLASS_NAMES),
        "spacing_mm": settings.spacing_mm,
        "crop": settings.crop,
        "class_weights": list(class_weights),
        "views": 4,
        "segmenter": dict(settings.network),
        "rain": other.description["rain"],
        "training": {
            **TERMS,
            **{key: text for key, text in (terms or {}).items() if text},
            "segmenter": told,
            "rain": other.description.get("training", {}).get("rain", other.description["rain"]),
        },
        "scores": scores,
    }
    bundle = Bundle(description, network, other.rain, images, labels, other.bank, samples)
    chosen_images, chosen_labels = bundle.get_samples(torch.arange(len(samples)))
    bundle.bank = compute_source_bank(network, chosen_images, chosen_labels[:, chosen_labels.shape[1] // 2])
    save_bundle(bundle, output)
    return bundle
