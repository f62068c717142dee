"""What ``confuda train pack`` and ``train segmenter --packed`` do."""

import dataclasses
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

import torch

from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.format import load_bundle
from confuda.device import choose_device
from confuda.errors import InputError, UsageError
from confuda.networks.drunet import DOWNSAMPLING, LEVELS, DRUNet
from confuda.training.command import make_training_settings
from confuda.training.packed_segmenter import RUN_NAME, PackedSettings, PackedTraining, load_averaged
from confuda.training.packed_slices import PackSource, pack_sources, read_pack, write_pack
from confuda.training.run import check_new_run

PACK_SPACING_MM = 1.25
PACK_WINDOW = 208


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
    settings = make_training_settings(PackedSettings, values)
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
        check_new_run(output, RUN_NAME)
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
