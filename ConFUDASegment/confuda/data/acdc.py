"""The ACDC training set in its official layout as slices for training (Bernard et al., IEEE TMI 2018; CC BY-NC-SA 4.0).

Layout: ``patientNNN/patientNNN_frameFF.nii.gz`` with ``_gt.nii.gz`` beside it, 1 RV, 2 MYO, 3 LV.
"""

import re
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence

import numpy as np
import SimpleITK as sitk

from confuda.data.stack import ShortAxisStack
from confuda.errors import InputError
from confuda.labels import map_labels

HELD_OUT_EVERY = 10
"""Patients whose number is a multiple of this are in no training: they validate, and the sample comes from them."""


class LabelledCase(NamedTuple):
    """One labelled volume on disk."""

    patient: str
    name: str
    image_path: Path
    label_path: Path


class SliceSet(NamedTuple):
    """Slices of many volumes on one in-plane grid, centred on the heart.

    images (N, H, W) uint8; labels (N, H, W) uint8 0 background 1 MYO 2 LV 3 RV; volume (N,) number of the volume a
    slice belongs to, so that neighbours can be told from strangers; names: one a volume.
    """

    images: np.ndarray
    labels: np.ndarray
    volume: np.ndarray
    names: List[str]

    def neighbour(self, index: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Index of the slice ``offset`` further in the same volume, or ``index`` itself where there is none."""
        other = np.clip(index + offset, 0, len(self.volume) - 1)
        return np.where(self.volume[other] == self.volume[index], other, index)


def find_acdc_cases(folder: Path) -> List[LabelledCase]:
    """All labelled volumes below ``folder`` (the one that holds ``patient001``), sorted.

    Raises:
        InputError: naming the path that was expected.
    """
    cases = []
    for image_path in sorted(folder.glob("patient*/patient*_frame*.nii.gz")):
        match = re.fullmatch(r"(patient\d+)_(frame\d+)\.nii\.gz", image_path.name)
        if match is None:
            continue
        label_path = image_path.with_name(f"{match[1]}_{match[2]}_gt.nii.gz")
        if not label_path.exists():
            raise InputError(f"ACDC case {image_path.name} has no labels: expected {label_path}.")
        cases.append(LabelledCase(match[1], f"{match[1]}_{match[2]}", image_path, label_path))
    if not cases:
        expected = folder / "patient001" / "patient001_frame01.nii.gz"
        raise InputError(f"No ACDC volume found: expected files such as {expected} with _gt.nii.gz beside them.")
    return cases


def split_acdc_cases(cases: Sequence[LabelledCase], held_out: bool) -> List[LabelledCase]:
    """The held-out cases (patients 10, 20, ..., 100), or all others."""
    return [case for case in cases if (int(re.sub(r"\D", "", case.patient)) % HELD_OUT_EVERY == 0) == held_out]


def load_slices(
    cases: Sequence[LabelledCase],
    spacing_mm: float,
    size: int,
    dataset: str = "acdc",
    progress: Optional[Callable[[int, int], None]] = None,
) -> SliceSet:
    """Read ``cases`` as heart-centred windows of ``size`` pixels at ``spacing_mm``; see :class:`SliceSet`."""
    images, labels, volume, names = [], [], [], []
    for number, case in enumerate(cases):
        stack = ShortAxisStack(sitk.ReadImage(str(case.image_path), sitk.sitkFloat32), spacing_mm)
        truth = map_labels(stack.resample_labels(sitk.ReadImage(str(case.label_path))), dataset)
        heart = np.argwhere(truth.any(axis=0))
        center = heart.mean(axis=0) if len(heart) else None
        crop = stack.crop(center, size)
        images.append(np.rint(crop.slices * 255).astype(np.uint8))
        labels.append(crop.cut(truth).astype(np.uint8))
        volume.append(np.full(len(stack), number))
        names.append(case.name)
        if progress is not None:
            progress(number + 1, len(cases))
    return SliceSet(np.concatenate(images), np.concatenate(labels), np.concatenate(volume), names)
