"""The ACDC training set in its official layout (Bernard et al., IEEE TMI 2018; CC BY-NC-SA 4.0).

Layout: ``patientNNN/patientNNN_frameFF.nii.gz`` with ``_gt.nii.gz`` beside it, 1 RV, 2 MYO, 3 LV.
"""

import re
from pathlib import Path
from typing import List, Sequence

from confuda.errors import InputError
from confuda.training.slices import LabelledCase, SliceSet, load_slices

__all__ = ["HELD_OUT_EVERY", "LabelledCase", "SliceSet", "find_acdc_cases", "load_slices", "split_acdc_cases"]

HELD_OUT_EVERY = 10
"""Patients whose number is a multiple of this are in no training: they validate, and the sample comes from them."""

HELD_OUT_REMAINDER = {"mnms": 5}
"""Of data sets that hold out others: the remainder that the numbers of these patients leave."""


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


def is_always_held_out(patient: str, dataset: str = "acdc") -> bool:
    """Whether a patient, such as "patient100", is in no training whoever else is there.

    Of M&Ms, whose numbers follow ACDC's, it is those that end in 5.
    """
    return int(re.sub(r"\D", "", patient)) % HELD_OUT_EVERY == HELD_OUT_REMAINDER.get(dataset, 0)


def split_acdc_cases(cases: Sequence[LabelledCase], held_out: bool) -> List[LabelledCase]:
    """The held-out cases (patients 10, 20, ..., 100), or all others.

    Where no patient has such a number, as may be in own data, the last one is held out.
    """
    patients = sorted({case.patient for case in cases})
    chosen = {patient for patient in patients if is_always_held_out(patient)}
    chosen = chosen or set(patients[-1:])
    return [case for case in cases if (case.patient in chosen) == held_out]


def check_split(cases: Sequence[LabelledCase]) -> None:
    """Make sure that there is somebody to train on beside those who are held out.

    Raises:
        InputError: saying how many patients it takes.
    """
    if not split_acdc_cases(cases, False):
        raise InputError(
            "Training takes two patients at least: those with numbers 10, 20, ... (or the last one) are held out."
        )
