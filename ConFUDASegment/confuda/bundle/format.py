"""A bundle: network weights, style transfer, source exemplars and what is known about them, in one folder.

``bundle.json`` describes it (format, classes, spacing, network settings, SHA-256 of each file, training data, licence,
scores); ``segmenter.safetensors``, ``rain.safetensors`` and ``source.safetensors`` hold the tensors. Nothing else
is read and nothing is ever unpickled. A bundle may come from anywhere: sizes are checked before memory is asked for,
and no file outside its folder is opened.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from confuda.bundle.description import (
    DESCRIPTION_NAME,
    FILE_NAMES,
    FORMAT,
    FORMAT_VERSION,
    MOST_VIEWS,
    SEGMENTER_KEYS,
    read_description,
    read_inside,
)
from confuda.bundle.model_card import format_model_card
from confuda.device import Network
from confuda.errors import BundleError, InputError
from confuda.io.atomic import replace_folder
from confuda.labels import CLASS_NAMES
from confuda.losses.centroids import SourceBank
from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN

LARGEST_FILE_BYTES = 200_000_000
LARGEST_HEADER_BYTES = 1_000_000
"""Of a safetensors file; the shipped bundle's largest has some 10,000."""
LABELS_PER_BYTE = 4
MODEL_CARD_NAME = "README.md"
_MAY_BE_LOST = {DESCRIPTION_NAME, MODEL_CARD_NAME, *FILE_NAMES, ".DS_Store", "Thumbs.db", "desktop.ini"}
"""All that may lie in a bundle's folder which another bundle replaces: what we write, and what file managers do."""

SHIPPED_NAME = "confuda-acdc"


def _find_shipped_bundle() -> Path:
    """Beside the package in a checkout and in Slicer's extension folder; inside it where pip has installed it."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "Resources" / "Models" / SHIPPED_NAME
    return beside if beside.is_dir() else package / "models" / SHIPPED_NAME


SHIPPED_BUNDLE = _find_shipped_bundle()


@dataclass
class Bundle:
    """A loaded bundle; weights in float32 on the CPU.

    Attributes:
        description: the content of ``bundle.json``.
        segmenter: the segmentation network in evaluation mode; rain: the style transfer, frozen.
        images: exemplar slices (N, 1, H, W) float32 in [0, 1]; labels: (N, H, W) int64.
        bank: source centroids and their norms.
        samples: (M, C) int64, the numbers of the slices that are the channels of each exemplar, itself in the middle;
            each slice alone by default.
    """

    description: Dict[str, Any]
    segmenter: DRUNet
    rain: RAIN
    images: Tensor
    labels: Tensor
    bank: SourceBank
    samples: Tensor = field(default_factory=lambda: torch.empty(0, 1, dtype=torch.long))

    def __post_init__(self) -> None:
        if not len(self.samples):
            self.samples = torch.arange(len(self.images))[:, None]

    def get_samples(self, chosen: Tensor) -> Tuple[Tensor, Tensor]:
        """Images and labels (B, C, H, W) of the exemplars with numbers ``chosen`` (B,)."""
        places = self.samples[chosen]
        return self.images[places, 0], self.labels[places]

    def move_exemplars(self, device: torch.device) -> "Bundle":
        """The same bundle whose exemplars lie on ``device``; its networks stay where they are."""
        return replace(
            self, images=self.images.to(device), labels=self.labels.to(device), samples=self.samples.to(device)
        )

    @property
    def spacing_mm(self) -> float:
        return float(self.description["spacing_mm"])

    @property
    def class_weights(self) -> List[float]:
        """What soft labels are multiplied by before the largest decides; all 1 where the description says nothing."""
        return [float(weight) for weight in self.description.get("class_weights", [1] * len(CLASS_NAMES))]

    @property
    def scar_weights(self) -> List[float]:
        """What comes on top where a volume shows bright scar; see ``confuda.inference.scar_weights``."""
        return [float(weight) for weight in self.description.get("scar_weights", [1] * len(CLASS_NAMES))]

    @property
    def views(self) -> int:
        """How many of a square's eight symmetries the answer about a volume is averaged over: 1, 4 (flips) or 8."""
        return int(self.description.get("views", MOST_VIEWS))

    @property
    def crop(self) -> int:
        return int(self.description["crop"])


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def verify_bundle(folder: Path) -> Dict[str, Any]:
    """Check description, sizes and hashes; returns the description.

    Raises:
        BundleError: naming what is wrong.
    """
    description = read_description(folder)
    for name in FILE_NAMES:
        _read_checked(folder, name, description)
    return description


def _read_checked(folder: Path, name: str, description: Dict[str, Any]) -> bytes:
    """A tensor file's content. It is used from memory, so that what was checked is what is used."""
    content = read_inside(folder, name, LARGEST_FILE_BYTES)
    if hashlib.sha256(content).hexdigest() != description["files"][name]:
        raise BundleError(f"{name} of the bundle {folder.name} is damaged (its SHA-256 differs): restore it.")
    return content


def _read_tensors(folder: Path, name: str, description: Dict[str, Any]) -> Dict[str, Tensor]:
    content = _read_checked(folder, name, description)
    # The first eight bytes say how long the header is, which the reader would take for granted up to 100 MB.
    if int.from_bytes(content[:8], "little") > LARGEST_HEADER_BYTES:
        raise BundleError(f"{name} of the bundle {folder.name} cannot be read: its header is too long.")
    try:
        return load(content)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{name} of the bundle {folder.name} cannot be read: restore it.") from error


def _fill(build: Callable[[], Network], tensors: Dict[str, Tensor], name: str) -> Network:
    try:
        # A description may name sizes of many gigabytes: nothing of that size is made before the tensors agree.
        with torch.device("meta"):
            wanted = {key: value.shape for key, value in build().state_dict().items()}
        if wanted != {key: value.shape for key, value in tensors.items()}:
            raise ValueError("The tensors differ in name or shape.")
        module = build()
        module.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"{name} does not fit the network that {DESCRIPTION_NAME} describes.") from error
    if not all(torch.isfinite(value).all() for value in module.state_dict().values()):
        raise BundleError(f"{name} holds values that are not finite: restore the bundle.")
    return module.eval().requires_grad_(False)


def load_bundle(folder: Optional[Path] = None) -> Bundle:
    """Load and check a bundle; the shipped one by default.

    Raises:
        BundleError: naming what is wrong: missing, damaged, foreign, newer, or of the wrong shape.
    """
    folder = Path(folder) if folder is not None else SHIPPED_BUNDLE
    description = read_description(folder)
    # The number of classes is not the bundle's to choose.
    segmenter_settings = {"channels": 1, **description["segmenter"], "classes": len(CLASS_NAMES)}
    rain_settings = description["rain"]
    segmenter_tensors, rain_tensors, source = (_read_tensors(folder, name, description) for name in FILE_NAMES)
    segmenter = _fill(lambda: DRUNet(**segmenter_settings), segmenter_tensors, FILE_NAMES[0])
    rain = _fill(lambda: RAIN(**rain_settings), rain_tensors, FILE_NAMES[1])
    bank = SourceBank(len(CLASS_NAMES), segmenter_settings["width"])
    try:
        images, labels = source["images"], source["labels"]
        if description["format_version"] > 1:
            labels = _unpack_labels(labels, images.shape)
        samples = source.get("samples", torch.arange(len(images))[:, None])
        bank.load_state_dict({"vectors": source["centroids"], "mass": source["mass"]})
    except (KeyError, RuntimeError, ValueError) as error:
        raise BundleError(f"{FILE_NAMES[2]} does not fit the network that {DESCRIPTION_NAME} describes.") from error
    usable = (
        images.dtype == labels.dtype == torch.uint8
        and images.dim() == 3
        and images.shape == labels.shape
        and min(images.shape) > 0
        and min(images.shape[1:]) >= description["crop"]
        and int(labels.max()) < len(CLASS_NAMES)
        and bool(torch.isfinite(bank.vectors).all() and torch.isfinite(bank.mass).all())
        and samples.dtype == torch.int64
        and samples.dim() == 2
        and samples.shape[1] == segmenter_settings["channels"]
        and len(samples) > 0
        and 0 <= int(samples.min())
        and int(samples.max()) < len(images)
    )
    if not usable:
        raise BundleError(f"{FILE_NAMES[2]} holds no usable exemplar slices: restore the bundle.")
    return Bundle(description, segmenter, rain, images[:, None].float() / 255, labels.long(), bank, samples)


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write ``bundle`` as a folder, complete or not at all; weights in float16.

    Raises:
        InputError: if ``folder`` exists and is no bundle, or more than one, or cannot be written.
    """
    # Of a link to a folder the folder is replaced.
    folder = Path(os.path.realpath(folder))
    check_bundle_place(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(folder) as draft:
            _write_files(bundle, draft)
    except (OSError, SafetensorError, ValueError) as error:
        # safetensors has an error of its own for a full disk, with the system's words in it.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"The bundle cannot be written to {folder}: {reason}.") from error


def check_bundle_place(folder: Path) -> None:
    """Whether a bundle may be written as ``folder``.

    Raises:
        InputError: if it exists and is no bundle, or holds something else as well, which would be lost; or if no
            system call takes such a path.
    """
    try:
        held = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(f"The bundle cannot be written to {folder}: {error.strerror}.") from error
    if not os.path.isfile(Path(folder) / DESCRIPTION_NAME):
        raise InputError(f"{folder} exists and is no bundle: choose another folder.")
    others = [name for name in held if name not in _MAY_BE_LOST]
    if others:
        raise InputError(f"{folder} holds more than a bundle, which would be lost ({others[0]}): choose another one.")


def _pack_labels(labels: Tensor) -> Tensor:
    """Labels (N, H, W) of 0 to 3, four in a byte: (bytes,) uint8."""
    flat = labels.to(torch.uint8).flatten()
    flat = torch.cat([flat, flat.new_zeros(-len(flat) % LABELS_PER_BYTE)]).reshape(-1, LABELS_PER_BYTE)
    return flat[:, 0] | flat[:, 1] << 2 | flat[:, 2] << 4 | flat[:, 3] << 6


def _unpack_labels(packed: Tensor, shape: torch.Size) -> Tensor:
    """What :func:`_pack_labels` packed, as uint8 of ``shape``.

    Raises:
        ValueError: if there are not as many labels as that.
    """
    flat = torch.stack([packed >> (2 * place) & 3 for place in range(LABELS_PER_BYTE)], dim=1).flatten()
    if packed.dim() != 1 or not 0 <= len(flat) - shape.numel() < LABELS_PER_BYTE:
        raise ValueError("The labels do not belong to the images.")
    return flat[: shape.numel()].reshape(shape)


def _write_files(bundle: Bundle, folder: Path) -> None:
    # Older versions of the program read what needs nothing of the new format.
    version = 1 if set(bundle.description["segmenter"]) <= SEGMENTER_KEYS[1] else FORMAT_VERSION
    new = {"labels": _pack_labels(bundle.labels), "samples": bundle.samples.long()} if version > 1 else {}
    contents = (
        {name: value.half() for name, value in bundle.segmenter.state_dict().items()},
        {name: value.half() for name, value in bundle.rain.state_dict().items()},
        {
            "images": torch.round(bundle.images[:, 0] * 255).to(torch.uint8),
            "labels": bundle.labels.to(torch.uint8),
            "centroids": bundle.bank.vectors.float(),
            "mass": bundle.bank.mass.float(),
            **new,
        },
    )
    hashes = {}
    for name, tensors in zip(FILE_NAMES, contents):
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, str(folder / name))
        (folder / name).chmod(0o644)
        hashes[name] = hash_file(folder / name)
    description = {**bundle.description, "format": FORMAT, "format_version": version, "files": hashes}
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_NAME).write_text(text, encoding="utf-8")
    (folder / MODEL_CARD_NAME).write_text(format_model_card(description), encoding="utf-8")
