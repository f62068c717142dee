"""MS-CMRSeg in its official layout and as the registered set (Zhuang, TPAMI 2019; Zhuang et al., MedIA 2022).

Official: ``patientN_C0.nii.gz`` (bSSFP), ``_T2`` and ``_LGE``, each on its own grid with labels ``patientN_SEQ_manual``
beside it, where there are any. Registered: the three sequences on one grid and one ``patientN_manual.nii.gz`` for all.
Apart: whole stacks of bSSFP in ``bssfp/`` and of LGE in ``native/``, both as in the official layout, and T2 (without
its labels) from ``registered/``, where that folder is there.
Labels are 200 MYO, 500 LV, 600 RV. Research only, no redistribution: nothing of it may enter the repository.
"""

import re
from pathlib import Path
from typing import Dict, List, NamedTuple

from confuda.errors import InputError
from confuda.training.slices import LabelledCase

DATASET = "ms-cmrseg"
"""Its name in ``confuda.labels.DATASET_VALUES``."""

BSSFP, T2, LGE = "C0", "T2", "LGE"
SEQUENCES = (BSSFP, T2, LGE)

APART = {BSSFP: "bssfp", LGE: "native", T2: "registered"}
"""The folder of each sequence where they lie apart."""

_ENDING = ".nii.gz"


class MsCmrSegPatient(NamedTuple):
    """The files of one patient, by sequence; ``labels`` lacks a sequence that nobody has labelled. folders: where each
    sequence lies or would lie."""

    name: str
    folders: Dict[str, Path]
    images: Dict[str, Path]
    labels: Dict[str, Path]

    @property
    def number(self) -> int:
        return int(re.sub(r"\D", "", self.name))

    @property
    def is_registered(self) -> bool:
        """Whether one file labels all its sequences."""
        return bool(self.labels) and not any(self.expect_labels(sequence).exists() for sequence in self.labels)

    def has_labelled(self, sequence: str) -> bool:
        """Whether the sequence is there with its labels."""
        return sequence in self.images and sequence in self.labels

    def expect_image(self, sequence: str) -> Path:
        """Where the sequence has to lie, whether it is there or not."""
        return self.folders[sequence] / f"{self.name}_{sequence}{_ENDING}"

    def expect_labels(self, sequence: str) -> Path:
        """Where the labels of the sequence have to lie in the official layout."""
        return self.folders[sequence] / f"{self.name}_{sequence}_manual{_ENDING}"

    def make_case(self, sequence: str) -> LabelledCase:
        """The sequence with its labels, to be loaded by :func:`confuda.training.slices.load_slices`.

        Raises:
            InputError: naming the path that was expected.
        """
        if sequence not in self.images:
            raise InputError(f"{self.name} has no {sequence}: expected {self.expect_image(sequence)}.")
        if sequence not in self.labels:
            registered = f"{self.name}_manual{_ENDING}"
            expected = f"{self.expect_labels(sequence)} (or {registered}, if all sequences share one grid)"
            raise InputError(f"The {sequence} of {self.name} has no labels: expected {expected}.")
        return LabelledCase(self.name, f"{self.name}_{sequence}", self.images[sequence], self.labels[sequence])


def find_mscmrseg_patients(folder: Path) -> List[MsCmrSegPatient]:
    """All patients of ``folder`` in the order of their numbers, in any of the three layouts.

    Raises:
        InputError: if there is none, or labels have no image, naming the path that was expected.
    """
    if all((folder / APART[sequence]).is_dir() for sequence in (BSSFP, LGE)):
        patients = _join_apart(folder)
    else:
        patients = _find_together(folder)
    patients = sorted((patient for patient in patients if patient.images), key=lambda patient: patient.number)
    if not patients:
        expected = folder / f"patient1_{BSSFP}{_ENDING}"
        raise InputError(
            f"No MS-CMRSeg volume found: expected files such as {expected}, _{T2} and _{LGE} beside it, or the folders "
            f"{APART[BSSFP]} and {APART[LGE]}."
        )
    return patients


def _find_together(folder: Path) -> List[MsCmrSegPatient]:
    """The patients whose sequences all lie in ``folder`` itself."""
    names = {match[1] for match in (re.match(r"(patient\d+)_", path.name) for path in folder.glob("patient*")) if match}
    return [_look_for_files(folder, name) for name in names]


def _join_apart(folder: Path) -> List[MsCmrSegPatient]:
    """The patients of the three folders; T2 is for styles alone, and of those whose bSSFP or LGE is there."""
    folders = {sequence: folder / name for sequence, name in APART.items()}
    joined: Dict[str, MsCmrSegPatient] = {}
    for sequence in (BSSFP, LGE):
        for patient in _find_together(folders[sequence]):
            whole = joined.setdefault(patient.name, MsCmrSegPatient(patient.name, folders, {}, {}))
            if patient.has_labelled(sequence):
                whole.labels[sequence] = patient.labels[sequence]
            if sequence in patient.images:
                whole.images[sequence] = patient.images[sequence]
    for whole in joined.values():
        if whole.expect_image(T2).exists():
            whole.images[T2] = whole.expect_image(T2)
    return list(joined.values())


def _look_for_files(folder: Path, name: str) -> MsCmrSegPatient:
    patient = MsCmrSegPatient(name, dict.fromkeys(SEQUENCES, folder), {}, {})
    shared = folder / f"{name}_manual{_ENDING}"
    for sequence in SEQUENCES:
        image, own = patient.expect_image(sequence), patient.expect_labels(sequence)
        if own.exists() and not image.exists():
            raise InputError(f"{own.name} has no image: expected {image}.")
        if image.exists():
            patient.images[sequence] = image
            if own.exists() or shared.exists():
                patient.labels[sequence] = own if own.exists() else shared
    if shared.exists() and not patient.images:
        raise InputError(f"{shared.name} has no image: expected {patient.expect_image(BSSFP)}.")
    return patient
