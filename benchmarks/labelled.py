"""Finding labelled volumes in a folder, and keeping pictures of them out of the repository."""

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from confuda.errors import InputError, UsageError
from confuda.io.file_name import LABEL_ENDINGS, find_ending

REPOSITORY = Path(__file__).resolve().parent.parent
TRUTH_ENDINGS = ("_manual", "_gt", "-truth")


def name_case(path: Path) -> Optional[str]:
    """The file's name without its ending; None for what is no volume."""
    ending = find_ending(path.name, LABEL_ENDINGS)
    return path.name[: -len(ending)] if ending else None


def find_labelled(folder: Path, sequence: Optional[str] = None) -> List[Tuple[Path, Path]]:
    """Volumes below ``folder`` that have labels beside them, with those labels, by name.

    The labels of ``NAME`` are called ``NAME_manual``, ``NAME_gt`` (ACDC) or ``NAME-truth``; those of ``PATIENT_SEQ``
    may also be called ``PATIENT_manual`` (MS-CMRSeg's registered volumes, one label file for three sequences).
    With ``sequence`` only volumes called ``..._SEQUENCE`` count.
    """
    files: Dict[Tuple[Path, str], Path] = {}
    for path in sorted(folder.rglob("*")):
        case = name_case(path)
        if case is not None and path.is_file():
            files[path.parent, case] = path
    pairs = []
    for (parent, case), volume in files.items():
        if case.endswith(TRUTH_ENDINGS) or (sequence is not None and not case.endswith(f"_{sequence}")):
            continue
        names = [case + ending for ending in TRUTH_ENDINGS] + [f"{case.rpartition('_')[0]}_manual"]
        truths = [files[parent, name] for name in names if (parent, name) in files]
        if truths:
            pairs.append((volume, truths[0]))
    return pairs


def choose_cases(folder: Path, sequence: Optional[str], cases: Optional[Sequence[str]]) -> List[Tuple[Path, Path]]:
    """As :func:`find_labelled`, of those only the ones that ``cases`` names (whole names, or the part before ``_``).

    Raises:
        InputError: if there is nothing to measure, or two volumes have one name.
    """
    pairs = find_labelled(folder, sequence) if folder.is_dir() else []
    if cases:
        pairs = [pair for pair in pairs if {name_case(pair[0]), pair[0].name.split("_")[0]} & set(cases)]
    if not pairs:
        raise InputError(f"No labelled {sequence or ''} volumes in {folder}: nothing to measure.".replace("  ", " "))
    names = [name_case(volume) for volume, _ in pairs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"Several volumes are called {doubled[0]}: measure their folders one at a time.")
    return pairs


def check_outside_repository(folder: Path, option: str) -> Path:
    """``folder``, absolute, if it lies outside this checkout: pictures of patients must not get near a commit.

    Raises:
        UsageError: if it lies inside.
    """
    folder = folder.resolve()
    if REPOSITORY in (folder, *folder.parents):
        raise UsageError(f"{option} must lie outside the repository {REPOSITORY}: nothing of the data may enter it.")
    return folder
