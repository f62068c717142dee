"""Toy hearts in ACDC's layout and with its label values."""

from pathlib import Path
from typing import Sequence

import numpy as np
import SimpleITK as sitk
from Testing.conftest import make_heart

VALUES = np.array([0, 2, 3, 1], np.uint8)
"""What stands in ACDC's files for background, MYO, LV and RV."""


def write_patients(folder: Path, numbers: Sequence[int], thickness_mm: float = 8.0, slices: int = 3) -> Path:
    """Write end-diastole and end-systole of patients with these numbers; returns ``folder``."""
    for number in numbers:
        patient = folder / f"patient{number:03d}"
        patient.mkdir(parents=True)
        image, truth = make_heart(slices=slices, seed=number, thickness_mm=thickness_mm)
        labels = sitk.GetImageFromArray(VALUES[sitk.GetArrayFromImage(truth)])
        labels.CopyInformation(truth)
        for frame in ("frame01", "frame12"):
            sitk.WriteImage(image, str(patient / f"{patient.name}_{frame}.nii.gz"))
            sitk.WriteImage(labels, str(patient / f"{patient.name}_{frame}_gt.nii.gz"))
    return folder
