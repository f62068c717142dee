"""Who is source, who is target and who is test: the split of MS-CMRSeg's patients into folds."""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from confuda.errors import InputError, UsageError
from confuda.training.mscmrseg import BSSFP, LGE, MsCmrSegPatient

SOURCE_SHARE = 3 / 4
"""Share of a fold's training patients whose bSSFP is the source; the LGE of the others is the target. Of 23 patients
with bSSFP and 15 with LGE, 25 in all, 16 are source, 6 target and 3 test."""


class Fold(NamedTuple):
    """One fold; no patient has more than one of the three parts.

    source: their bSSFP and its labels train (and their bSSFP and T2 train RAIN); target: their LGE is adapted to,
    without labels; test: their LGE is segmented and scored, and seen by no training. number: from 1.
    """

    number: int
    source: Tuple[MsCmrSegPatient, ...]
    target: Tuple[MsCmrSegPatient, ...]
    test: Tuple[MsCmrSegPatient, ...]


def make_folds(patients: Sequence[MsCmrSegPatient], folds: int, seed: int) -> List[Fold]:
    """Split the patients at random into ``folds`` folds: each patient with a labelled LGE is tested once.

    Of a fold's other patients three quarters are source and one quarter target; who lacks labelled bSSFP can only be
    target, who lacks LGE only source, and who lacks both takes no part.

    Raises:
        UsageError: for fewer than two folds.
        InputError: if the patients are too few, or not labelled, naming the path that was expected.
    """
    if folds < 2:
        raise UsageError("Cross-validation takes at least 2 folds.")
    random = np.random.default_rng(seed)
    shuffled = [patients[k] for k in random.permutation(len(patients))]
    testable = [patient for patient in shuffled if patient.has_labelled(LGE)]
    for sequence in (BSSFP, LGE):
        if not any(patient.has_labelled(sequence) for patient in shuffled):
            patients[0].make_case(sequence)  # Raises: it says best what is missing, and where it should be.
    if len(testable) < folds:
        raise InputError(f"{len(testable)} patients with a labelled {LGE} are too few for {folds} folds.")
    result = []
    for number in range(1, folds + 1):
        test = testable[number - 1 :: folds]
        others = [patient for patient in shuffled if patient not in test]
        source, target = _divide_training(others)
        if not source or not target:
            raise InputError(f"Fold {number} of {folds} is left without source or target patients: give more patients.")
        result.append(Fold(number, *(_in_order(part) for part in (source, target, test))))
    return result


def _divide_training(patients: Sequence[MsCmrSegPatient]) -> Tuple[List[MsCmrSegPatient], List[MsCmrSegPatient]]:
    usable = [patient for patient in patients if patient.has_labelled(BSSFP) or LGE in patient.images]
    wanted = int(round(SOURCE_SHARE * len(usable)))
    # Those who can be source only come first, those who can be target only last; the draw decides between the others.
    ordered = sorted(usable, key=lambda patient: (LGE in patient.images) + (not patient.has_labelled(BSSFP)))
    most = sum(patient.has_labelled(BSSFP) for patient in ordered)
    least = sum(LGE not in patient.images for patient in ordered)
    cut = max(least, min(wanted, most))
    return ordered[:cut], ordered[cut:]


def _in_order(patients: Sequence[MsCmrSegPatient]) -> Tuple[MsCmrSegPatient, ...]:
    return tuple(sorted(patients, key=lambda patient: patient.number))
