"""Labelled slices of many volumes in one small file, so that they travel easily to the machine that trains.

Images are JPEG (quality ``QUALITY``), labels and numbers are compressed arrays; the file is an ordinary ``.npz``
without pickled objects. Whole stacks are kept, in order, so that neighbouring slices can be had.
"""

import io
from pathlib import Path
from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np

from confuda.errors import InputError
from confuda.io.atomic import replace_file
from confuda.labels import CLASS_NAMES
from confuda.training.acdc import find_acdc_cases, is_always_held_out
from confuda.training.slices import load_slices

QUALITY = 90
LARGEST_PACK_BYTES = 50_000_000
FORMAT_VERSION = 1


class PackedSlices(NamedTuple):
    """Slices on one in-plane grid, centred on the heart, stack by stack.

    images, labels: (N, H, W) uint8, labels 0 background 1 MYO 2 LV 3 RV; volume: (N,) number of the volume a slice
    belongs to; distance_mm: (V,) between the middles of neighbouring slices; held_out: (V,) bool; names: one a volume,
    ``DATASET/CASE``; spacing_mm: side of a pixel.
    """

    images: np.ndarray
    labels: np.ndarray
    volume: np.ndarray
    distance_mm: np.ndarray
    held_out: np.ndarray
    names: List[str]
    spacing_mm: float

    def select(self, held_out: bool) -> "PackedSlices":
        """The volumes that are held out, or all others, numbered anew."""
        kept = np.flatnonzero(self.held_out == held_out)
        own = np.isin(self.volume, kept)
        return PackedSlices(
            self.images[own],
            self.labels[own],
            np.searchsorted(kept, self.volume[own]),
            self.distance_mm[kept],
            self.held_out[kept],
            [self.names[number] for number in kept],
            self.spacing_mm,
        )


class PackSource(NamedTuple):
    """Where slices come from. dataset: its name; values: as :func:`confuda.labels.map_labels` takes them."""

    dataset: str
    folder: Path
    values: Union[str, Mapping[str, int]]


def write_pack(packed: PackedSlices, path: Path) -> int:
    """Write ``packed`` to ``path`` (``.npz``), complete or not at all; returns its size in bytes.

    Raises:
        InputError: where it would be larger than ``LARGEST_PACK_BYTES``.
    """
    from PIL import Image

    streams = []
    for image in packed.images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=QUALITY)
        streams.append(stream.getvalue())
    content = io.BytesIO()
    np.savez_compressed(
        content,
        version=np.int64(FORMAT_VERSION),
        jpeg=np.frombuffer(b"".join(streams), np.uint8),
        ends=np.cumsum([len(stream) for stream in streams]),
        labels=packed.labels,
        volume=packed.volume,
        distance_mm=packed.distance_mm,
        held_out=packed.held_out,
        names=np.array(packed.names),
        spacing_mm=np.float64(packed.spacing_mm),
    )
    size = content.getbuffer().nbytes
    if size > LARGEST_PACK_BYTES:
        raise InputError(f"The pack would take {size / 1e6:.0f} MB: choose a smaller window or a larger spacing.")
    with replace_file(path) as draft:
        draft.write_bytes(content.getbuffer())
    return size


def read_pack(path: Path) -> PackedSlices:
    """What :func:`write_pack` wrote.

    Raises:
        InputError: if the file is missing, damaged, or no pack.
    """
    from PIL import Image

    try:
        with np.load(path, allow_pickle=False) as stored:
            if int(stored["version"]) != FORMAT_VERSION:
                raise ValueError("another version")
            jpeg, ends = stored["jpeg"].tobytes(), stored["ends"]
            starts = np.concatenate([[0], ends[:-1]])
            packed = PackedSlices(
                np.stack([np.asarray(Image.open(io.BytesIO(jpeg[a:b]))) for a, b in zip(starts, ends)]),
                stored["labels"],
                stored["volume"],
                stored["distance_mm"],
                stored["held_out"],
                [str(name) for name in stored["names"]],
                float(stored["spacing_mm"]),
            )
        _check(packed)
    except FileNotFoundError as error:
        raise InputError(f"There is no pack {path}: make it with 'confuda train pack'.") from error
    except MemoryError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and Pillow have errors of their own for what is damaged.
        raise InputError(f"{path} is damaged or no pack of slices: make it anew with 'confuda train pack'.") from error
    return packed


def _check(packed: PackedSlices) -> None:
    """Whether the parts of a pack belong together.

    Raises:
        ValueError: if they do not.
    """
    slices, volumes = len(packed.images), len(packed.names)
    fits = (
        packed.images.ndim == 3
        and packed.images.shape == packed.labels.shape
        and packed.images.dtype == packed.labels.dtype == np.uint8
        and int(packed.labels.max()) < len(CLASS_NAMES)
        and packed.volume.shape == (slices,)
        and bool((np.diff(packed.volume) >= 0).all())
        and np.array_equal(np.unique(packed.volume), np.arange(volumes))
        and packed.distance_mm.shape == packed.held_out.shape == (volumes,)
        and packed.held_out.dtype == bool
        and bool((np.isfinite(packed.distance_mm) & (packed.distance_mm > 0)).all())
        and 0 < packed.spacing_mm < np.inf
    )
    if not fits:
        raise ValueError("The parts do not belong together.")


def pack_sources(
    sources: Sequence[PackSource],
    spacing_mm: float,
    window: int,
    progress: Optional[Callable[[int, int], None]] = None,
) -> PackedSlices:
    """Read all volumes of ``sources`` as heart-centred windows of ``window`` pixels at ``spacing_mm``.

    Raises:
        InputError: if a file cannot be read, or labels do not fit their image, or are none of the data set's.
    """
    parts, names, distances, held_out, volumes = [], [], [], [], []
    todo = [(source, case) for source in sources for case in find_acdc_cases(source.folder)]
    for number, (source, case) in enumerate(todo):
        slices = load_slices([case], spacing_mm, window, source.values)
        parts.append(slices)
        volumes.append(np.full(len(slices.images), number))
        names.append(f"{source.dataset}/{case.name}")
        distances.append(slices.distance_mm[0])
        held_out.append(is_always_held_out(case.patient, source.dataset))
        if progress is not None:
            progress(number + 1, len(todo))
    return PackedSlices(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(volumes),
        np.array(distances, np.float32),
        np.array(held_out),
        names,
        spacing_mm,
    )
