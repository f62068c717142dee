"""Labelled volumes on disk as slices for training: heart-centred windows on one in-plane grid, for any data set."""

from pathlib import Path
from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.imaging.stack import ShortAxisStack
from confuda.io.volume_file import read_image
from confuda.labels import map_labels


class LabelledCase(NamedTuple):
    """One labelled volume on disk."""

    patient: str
    name: str
    image_path: Path
    label_path: Path


class SliceSet(NamedTuple):
    """Slices of many volumes on one in-plane grid, centred on the heart.

    images (N, H, W) uint8; labels (N, H, W) uint8 0 background 1 MYO 2 LV 3 RV; volume (N,) number of the volume a
    slice belongs to, so that neighbours can be told from strangers; names and distance_mm (between the middles of
    neighbouring slices): one a volume.
    """

    images: np.ndarray
    labels: np.ndarray
    volume: np.ndarray
    names: List[str]
    distance_mm: List[float]

    def neighbour(self, index: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Index of the slice ``offset`` further in the same volume, or ``index`` itself where there is none."""
        other = np.clip(index + offset, 0, len(self.volume) - 1)
        return np.where(self.volume[other] == self.volume[index], other, index)


def load_slices(
    cases: Sequence[LabelledCase],
    spacing_mm: float,
    size: int,
    dataset: Union[str, Mapping[str, int]] = "acdc",
    progress: Optional[Callable[[int, int], None]] = None,
) -> SliceSet:
    """Read ``cases`` as heart-centred windows of ``size`` pixels at ``spacing_mm``; see :class:`SliceSet`.

    ``dataset`` says what the label values mean, by name or by structure (see :func:`confuda.labels.map_labels`).

    Raises:
        InputError: if a file cannot be read, or labels do not fit their image, or are none of ``dataset``'s.
    """
    images, labels, volume, names, distances = [], [], [], [], []
    for number, case in enumerate(cases):
        image, label_image = read_image(case.image_path), read_image(case.label_path)
        if image.GetSize() != label_image.GetSize():
            raise InputError(f"{case.label_path} has another size than {case.image_path.name}, whose labels it holds.")
        stack = ShortAxisStack(sitk.Cast(image, sitk.sitkFloat32), spacing_mm)
        try:
            truth = map_labels(stack.resample_labels(label_image), dataset)
        except InputError as error:
            raise InputError(f"{case.label_path.name}: {error}") from error
        heart = np.argwhere(truth.any(axis=0))
        center = heart.mean(axis=0) if len(heart) else None
        crop = stack.crop(center, size)
        images.append(quantise(crop.slices))
        labels.append(crop.cut(truth).astype(np.uint8))
        volume.append(np.full(len(stack), number))
        names.append(case.name)
        distances.append(stack.slice_distance_mm)
        if progress is not None:
            progress(number + 1, len(cases))
    return SliceSet(np.concatenate(images), np.concatenate(labels), np.concatenate(volume), names, distances)


def quantise(slices: np.ndarray) -> np.ndarray:
    """Slices in [0, 1] as uint8, the form in which many of them are kept."""
    return np.rint(slices * 255).astype(np.uint8)
