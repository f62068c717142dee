"""Toy hearts in the layouts of MS-CMRSeg: three contrasts of one anatomy, with the data set's label values."""

from pathlib import Path
from typing import Sequence

import numpy as np
import SimpleITK as sitk
from Testing.conftest import make_heart

LEVELS = {"C0": (60.0, 95.0, 210.0, 145.0), "T2": (70.0, 120.0, 40.0, 50.0), "LGE": (90.0, 20.0, 170.0, 150.0)}
"""Mean intensity of background, MYO, LV and RV in each sequence."""

VALUES = np.array([0, 200, 500, 600], np.int16)


def write_patient(folder: Path, number: int, registered: bool = True, labelled: Sequence[str] = tuple(LEVELS)) -> None:
    """Write one patient; ``labelled`` names the sequences that get labels in the official layout."""
    _, truth = make_heart(slices=3, seed=number)
    labels = sitk.GetArrayFromImage(truth)
    noise = np.random.default_rng(number)
    manual = sitk.GetImageFromArray(VALUES[labels])
    manual.CopyInformation(truth)
    for sequence, levels in LEVELS.items():
        image = sitk.GetImageFromArray((np.array(levels)[labels] + noise.normal(0, 8, labels.shape)).astype(np.int16))
        image.CopyInformation(truth)
        sitk.WriteImage(image, str(folder / f"patient{number}_{sequence}.nii.gz"))
        if not registered and sequence in labelled:
            sitk.WriteImage(manual, str(folder / f"patient{number}_{sequence}_manual.nii.gz"))
    if registered:
        sitk.WriteImage(manual, str(folder / f"patient{number}_manual.nii.gz"))
