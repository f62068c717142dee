"""``bundle.json``, which describes a bundle: what it may say. A bundle may come from anywhere: everything in it is
checked before anything is made of it, and no file outside its folder is opened."""

import json
import os
from pathlib import Path
from typing import Any, Dict

from confuda.errors import BundleError
from confuda.labels import CLASS_NAMES
from confuda.networks.drunet import DOWNSAMPLING

FORMAT = "confuda-bundle"
FORMAT_VERSION = 2
"""1: a network of one channel whose levels double. 2 adds neighbouring slices as channels, widths of each level, a grid
of the exemplars in stacks, and labels packed by four."""
DESCRIPTION_NAME = "bundle.json"
FILE_NAMES = ("segmenter.safetensors", "rain.safetensors", "source.safetensors")
LARGEST_DESCRIPTION_BYTES = 1_000_000
MOST_RAIN_DEPTHS = 5
"""Each halves the image, of which ``crop`` allows as many halvings as the segmenter makes."""
SEGMENTER_KEYS = {1: {"width", "normalisation", "standardise"}}
SEGMENTER_KEYS[2] = SEGMENTER_KEYS[1] | {"channels", "widths", "bottleneck"}
CHANNELS = (1, 3)
"""A slice alone, or between its neighbours."""
VIEWS = (1, 4, 8)
MOST_VIEWS = 8


def read_description(folder: Path) -> Dict[str, Any]:
    """The checked content of ``bundle.json``.

    Raises:
        BundleError: if it is missing, unreadable, foreign, or of a newer format.
    """
    path = folder / DESCRIPTION_NAME
    # os.path answers where pathlib raises: in folders that may not be looked into.
    if not os.path.isfile(path):
        raise BundleError(f"No bundle in {folder}: {DESCRIPTION_NAME} is missing.")
    content = read_inside(folder, DESCRIPTION_NAME, LARGEST_DESCRIPTION_BYTES)
    try:
        description = json.loads(content.decode("utf-8"))
        # Text that UTF-8 does not know (half a surrogate pair) could be neither printed nor written again.
        json.dumps(description, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read as JSON: restore the bundle.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise BundleError(f"{path} does not describe a ConFUDA bundle.")
    version: Any = description.get("format_version")
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
    _check_segmenter(description["segmenter"], description.get("views", MOST_VIEWS), version, path)
    return description


def _check_numbers(description: Dict[str, Any], path: Path) -> None:
    spacing: Any = description.get("spacing_mm")
    crop: Any = description.get("crop")
    if not (_is_whole(spacing) or isinstance(spacing, float)) or not 0.3 <= spacing <= 5.0:
        raise BundleError(f"{path}: spacing_mm must lie between 0.3 and 5.")
    if not _is_whole(crop) or not 32 <= crop <= 1024 or crop % DOWNSAMPLING:
        raise BundleError(f"{path}: crop must be a multiple of {DOWNSAMPLING} between 32 and 1024.")
    for name in ("class_weights", "scar_weights"):
        weights = description.get(name, [1] * len(CLASS_NAMES))
        if not isinstance(weights, list) or len(weights) != len(CLASS_NAMES) or not all(map(_is_weight, weights)):
            raise BundleError(f"{path}: {name} must be {len(CLASS_NAMES)} numbers between 0.01 and 100.")
    segmenter, rain = description.get("segmenter"), description.get("rain")
    if not isinstance(segmenter, dict) or not isinstance(rain, dict):
        raise BundleError(f"{path}: the settings of the networks are missing.")
    widths = rain.get("widths")
    sizes = [segmenter.get("width"), rain.get("latent"), *(widths if isinstance(widths, list) else [None])]
    if not 3 <= len(sizes) <= 2 + MOST_RAIN_DEPTHS or not all(_is_whole(size) and 1 <= size <= 1024 for size in sizes):
        raise BundleError(f"{path}: the sizes of the networks are out of range.")
    if not isinstance(description.get("training", {}), dict) or not isinstance(description.get("scores", {}), dict):
        raise BundleError(f"{path}: training and scores must be JSON objects.")


def _check_segmenter(settings: Dict[str, Any], views: Any, version: int, path: Path) -> None:
    """What may be said of the network, the sizes in it, and how many views it is asked for."""
    if set(settings) - SEGMENTER_KEYS[version]:
        raise BundleError(f"{path}: unknown settings of the segmenter for format {version}.")
    widths, bottleneck = settings.get("widths", [1]), settings.get("bottleneck", 1)
    sizes = [*(widths if isinstance(widths, list) else [None]), bottleneck]
    if len(sizes) > 8 or not all(_is_whole(size) and 1 <= size <= 2048 for size in sizes):
        raise BundleError(f"{path}: the sizes of the networks are out of range.")
    if not _is_whole(views) or views not in VIEWS:
        raise BundleError(f"{path}: views must be one of {VIEWS}.")
    channels = settings.get("channels", 1)
    if not _is_whole(channels) or channels not in CHANNELS:
        raise BundleError(f"{path}: the segmenter must have one of {CHANNELS} channels.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.01 <= value <= 100


def read_inside(folder: Path, name: str, most_bytes: int) -> bytes:
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
