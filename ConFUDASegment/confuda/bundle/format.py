"""A bundle: network weights, style transfer, source exemplars and what is known about them, in one folder.

``bundle.json`` describes it (format, classes, spacing, network settings, SHA-256 of each file, training data, licence,
scores); ``segmenter.safetensors``, ``rain.safetensors`` and ``source.safetensors`` hold the tensors. Nothing else
is read and nothing is ever unpickled. A bundle may come from anywhere: sizes are checked before memory is asked for,
and no file outside its folder is opened.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from confuda.bundle.model_card import format_model_card
from confuda.errors import BundleError, InputError
from confuda.io.atomic import replace_folder
from confuda.labels import CLASS_NAMES
from confuda.losses.centroids import SourceBank
from confuda.networks.drunet import DOWNSAMPLING, DRUNet
from confuda.networks.rain import RAIN

FORMAT = "confuda-bundle"
FORMAT_VERSION = 1
DESCRIPTION_NAME = "bundle.json"
MODEL_CARD_NAME = "README.md"
FILE_NAMES = ("segmenter.safetensors", "rain.safetensors", "source.safetensors")
LARGEST_DESCRIPTION_BYTES = 1_000_000
LARGEST_FILE_BYTES = 200_000_000
LARGEST_HEADER_BYTES = 1_000_000
"""Of a safetensors file; the shipped bundle's largest has some 10,000."""
MOST_RAIN_DEPTHS = 5
"""Each halves the image, of which ``crop`` allows as many halvings as the segmenter makes."""
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
    """

    description: Dict[str, Any]
    segmenter: DRUNet
    rain: RAIN
    images: Tensor
    labels: Tensor
    bank: SourceBank

    @property
    def spacing_mm(self) -> float:
        return float(self.description["spacing_mm"])

    @property
    def class_weights(self) -> List[float]:
        """What soft labels are multiplied by before the largest decides; all 1 where the description says nothing."""
        return [float(weight) for weight in self.description.get("class_weights", [1] * len(CLASS_NAMES))]

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


def read_description(folder: Path) -> Dict[str, Any]:
    """The checked content of ``bundle.json``.

    Raises:
        BundleError: if it is missing, unreadable, foreign, or of a newer format.
    """
    path = folder / DESCRIPTION_NAME
    # os.path answers where pathlib raises: in folders that may not be looked into.
    if not os.path.isfile(path):
        raise BundleError(f"No bundle in {folder}: {DESCRIPTION_NAME} is missing.")
    content = _read_inside(folder, DESCRIPTION_NAME, LARGEST_DESCRIPTION_BYTES)
    try:
        description = json.loads(content.decode("utf-8"))
        # Text that UTF-8 does not know (half a surrogate pair) could be neither printed nor written again.
        json.dumps(description, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read as JSON: restore the bundle.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise BundleError(f"{path} does not describe a ConFUDA bundle.")
    version = description.get("format_version")
    if not _is_whole(version) or version < 1:
        raise BundleError(f"{path} states no usable format version.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"The bundle {folder.name} has format {version}, newer than {FORMAT_VERSION}: update ConFUDA."
        )
    files = description.get("files")
    if not isinstance(files, dict) or set(files) != set(FILE_NAMES):
        raise BundleError(f"{path} must list exactly the files {', '.join(FILE_NAMES)}.")
    if description.get("classes") != list(CLASS_NAMES):
        raise BundleError(f"The bundle {folder.name} is not for the classes {', '.join(CLASS_NAMES)}.")
    _check_numbers(description, path)
    return description


def _check_numbers(description: Dict[str, Any], path: Path) -> None:
    spacing, crop = description.get("spacing_mm"), description.get("crop")
    if not (_is_whole(spacing) or isinstance(spacing, float)) or not 0.3 <= spacing <= 5.0:
        raise BundleError(f"{path}: spacing_mm must lie between 0.3 and 5.")
    if not _is_whole(crop) or not 32 <= crop <= 1024 or crop % DOWNSAMPLING:
        raise BundleError(f"{path}: crop must be a multiple of {DOWNSAMPLING} between 32 and 1024.")
    weights = description.get("class_weights", [1] * len(CLASS_NAMES))
    if not isinstance(weights, list) or len(weights) != len(CLASS_NAMES) or not all(map(_is_weight, weights)):
        raise BundleError(f"{path}: class_weights must be {len(CLASS_NAMES)} numbers between 0.01 and 100.")
    segmenter, rain = description.get("segmenter"), description.get("rain")
    if not isinstance(segmenter, dict) or not isinstance(rain, dict):
        raise BundleError(f"{path}: the settings of the networks are missing.")
    widths = rain.get("widths")
    sizes = [segmenter.get("width"), rain.get("latent"), *(widths if isinstance(widths, list) else [None])]
    if not 3 <= len(sizes) <= 2 + MOST_RAIN_DEPTHS or not all(_is_whole(size) and 1 <= size <= 1024 for size in sizes):
        raise BundleError(f"{path}: the sizes of the networks are out of range.")
    if not isinstance(description.get("training", {}), dict) or not isinstance(description.get("scores", {}), dict):
        raise BundleError(f"{path}: training and scores must be JSON objects.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.01 <= value <= 100


def verify_bundle(folder: Path) -> Dict[str, Any]:
    """Check description, sizes and hashes; returns the description.

    Raises:
        BundleError: naming what is wrong.
    """
    description = read_description(folder)
    for name in FILE_NAMES:
        _read_checked(folder, name, description)
    return description


def _read_inside(folder: Path, name: str, most_bytes: int) -> bytes:
    """The whole content of a bundle's file; a link that leads out of the folder is not followed."""
    path = folder / name
    if not os.path.isfile(path):
        raise BundleError(f"The bundle {folder.name} lacks {name}: restore it.")
    if os.path.realpath(folder) != os.path.dirname(os.path.realpath(path)):
        raise BundleError(f"{name} of the bundle {folder.name} is a link out of its folder: put the file itself there.")
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size > most_bytes:
                raise BundleError(f"{name} of the bundle {folder.name} is larger than {most_bytes} bytes.")
            return stream.read(most_bytes)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BundleError(f"{name} of the bundle {folder.name} cannot be read: {reason}.") from error


def _read_checked(folder: Path, name: str, description: Dict[str, Any]) -> bytes:
    """A tensor file's content. It is used from memory, so that what was checked is what is used."""
    content = _read_inside(folder, name, LARGEST_FILE_BYTES)
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


def _fill(build: Callable[[], nn.Module], tensors: Dict[str, Tensor], name: str) -> nn.Module:
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
    # The number of channels and classes is not the bundle's to choose.
    segmenter_settings = {**description["segmenter"], "channels": 1, "classes": len(CLASS_NAMES)}
    rain_settings = description["rain"]
    segmenter_tensors, rain_tensors, source = (_read_tensors(folder, name, description) for name in FILE_NAMES)
    segmenter = _fill(lambda: DRUNet(**segmenter_settings), segmenter_tensors, FILE_NAMES[0])
    rain = _fill(lambda: RAIN(**rain_settings), rain_tensors, FILE_NAMES[1])
    bank = SourceBank(len(CLASS_NAMES), segmenter_settings["width"])
    try:
        images, labels = source["images"], source["labels"]
        bank.load_state_dict({"vectors": source["centroids"], "mass": source["mass"]})
    except (KeyError, RuntimeError) as error:
        raise BundleError(f"{FILE_NAMES[2]} does not fit the network that {DESCRIPTION_NAME} describes.") from error
    usable = (
        images.dtype == labels.dtype == torch.uint8
        and images.dim() == 3
        and images.shape == labels.shape
        and min(images.shape) > 0
        and min(images.shape[1:]) >= description["crop"]
        and int(labels.max()) < len(CLASS_NAMES)
        and bool(torch.isfinite(bank.vectors).all() and torch.isfinite(bank.mass).all())
    )
    if not usable:
        raise BundleError(f"{FILE_NAMES[2]} holds no usable exemplar slices: restore the bundle.")
    return Bundle(description, segmenter, rain, images[:, None].float() / 255, labels.long(), bank)


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write ``bundle`` as a folder, complete or not at all; weights in float16.

    Raises:
        InputError: if ``folder`` exists and is no bundle, or cannot be written.
    """
    folder = Path(folder).absolute()
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
        InputError: if it exists and is no bundle, which would be lost; or if no system call takes such a path.
    """
    try:
        os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(f"The bundle cannot be written to {folder}: {error.strerror}.") from error
    if not os.path.isfile(Path(folder) / DESCRIPTION_NAME):
        raise InputError(f"{folder} exists and is no bundle: choose another folder.")


def _write_files(bundle: Bundle, folder: Path) -> None:
    contents = (
        {name: value.half() for name, value in bundle.segmenter.state_dict().items()},
        {name: value.half() for name, value in bundle.rain.state_dict().items()},
        {
            "images": torch.round(bundle.images[:, 0] * 255).to(torch.uint8),
            "labels": bundle.labels.to(torch.uint8),
            "centroids": bundle.bank.vectors.float(),
            "mass": bundle.bank.mass.float(),
        },
    )
    hashes = {}
    for name, tensors in zip(FILE_NAMES, contents):
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, str(folder / name))
        (folder / name).chmod(0o644)
        hashes[name] = hash_file(folder / name)
    description = {**bundle.description, "format": FORMAT, "format_version": FORMAT_VERSION, "files": hashes}
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_NAME).write_text(text, encoding="utf-8")
    (folder / MODEL_CARD_NAME).write_text(format_model_card(description), encoding="utf-8")
