"""Which volumes lie below a folder: image files and DICOM series, without labels and without what a cohort wrote."""

import fnmatch
import glob
import hashlib
import os
import re
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import SimpleITK as sitk

from confuda.errors import InputError
from confuda.io.itk_silence import keep_itk_quiet

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
SLICER_SEGMENTATION = ".seg.nrrd"
LABEL_NAME = re.compile(
    r"(^|[-_. ])(manual|gt|seg|segmentation|labels?|labelmap|mask|truth)([-_. ]?\d+)?$", re.IGNORECASE
)
"""How the names of label files end: patient1_LGE_manual, patient001_frame01_gt, heart-label, ..."""

MARKER_NAME = "confuda-cohort.json"
"""In each folder that a cohort wrote to; no volume is looked for in there."""

MODALITY_TAG = "0008|0060"
NO_IMAGE_MODALITIES = ("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "DOC", "REG")
LONGEST_NAME = 100
_PREAMBLE_BYTES = 128


class CohortVolume(NamedTuple):
    """A volume of a cohort.

    name: unique, made of the path below the cohort's folder; path: a file or a DICOM folder; relative: the path below
    the cohort's folder with forward slashes; series: the files of one series where its folder holds several, else none.
    """

    name: str
    path: Path
    relative: str
    series: Tuple[Path, ...] = ()


def find_volumes(
    folder: Path, pattern: str = "*", warn: Callable[[str], None] = lambda message: None
) -> List[CohortVolume]:
    """All volumes below ``folder`` whose relative path fits ``pattern`` (``*LGE*``), in the order of their paths.

    Files that are hidden, that are named like labels, or that lie in the output folder of a cohort are left out, and so
    are DICOM series without images.

    Raises:
        InputError: if the folder is none, or holds no volume.
    """
    if not os.path.isdir(folder):
        raise InputError(f"No such folder: {folder}")
    found: List[Tuple[str, Path, Tuple[Path, ...]]] = []

    def complain(error: OSError) -> None:
        warn(f"A folder could not be looked into and was left out ({error.strerror}): {error.filename}")

    for here, folders, files in os.walk(folder, onerror=complain):
        if MARKER_NAME in files:
            folders.clear()
            continue
        folders[:] = _keep_usable(folders, warn)
        place = Path(here)
        names = _keep_usable(files, warn)
        volumes = [name for name in names if name.lower().endswith(ENDINGS)]
        for name in volumes:
            if not is_label_file(name):
                path = place / name
                found.append((path.relative_to(folder).as_posix(), path, ()))
        rest = [name for name in names if name not in volumes]
        if any(_is_dicom(place / name) for name in rest):
            found += _find_series(folder, place, warn)
    chosen = [entry for entry in found if fnmatch.fnmatchcase(entry[0], pattern)]
    if not chosen:
        reason = f"none of its {len(found)} volumes fits '{pattern}'" if found else "no NIfTI, NRRD, MetaImage or DICOM"
        raise InputError(f"There is no volume in {folder}: {reason}.")
    chosen.sort(key=lambda entry: _sort_naturally(entry[0]))
    names = make_names([relative or folder.resolve().name for relative, _, _ in chosen])
    return [CohortVolume(name, path, relative, series) for name, (relative, path, series) in zip(names, chosen)]


def _keep_usable(names: Sequence[str], warn: Callable[[str], None]) -> List[str]:
    """Names in order, without hidden ones and without those that are no text, at which SimpleITK ends the process."""
    kept = []
    for name in sorted(names):
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            warn("A file or folder whose name is no valid text was left out: rename it.")
            continue
        if not name.startswith("."):
            kept.append(name)
    return kept


def is_label_file(name: str) -> bool:
    """Whether a file's name says that it holds labels and no image."""
    return name.lower().endswith(SLICER_SEGMENTATION) or LABEL_NAME.search(strip_ending(name)) is not None


def strip_ending(name: str) -> str:
    """A file's name without .nii.gz, .nrrd and the like."""
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def make_names(relatives: Sequence[str]) -> List[str]:
    """A name for each relative path that is unique, safe as a file's name everywhere, and the same in every run.

    ``a/scan.nii.gz`` becomes ``a-scan``; where that is too long, or two come out alike, a part of the path's hash
    tells them apart.
    """
    plain = [
        re.sub(r"[^\w.+-]+", "_", strip_ending(text).replace("/", "-")).strip(".-") or "volume" for text in relatives
    ]
    count: Dict[str, int] = {}
    for name in plain:
        # Some file systems do not tell a from A.
        count[name.casefold()] = count.get(name.casefold(), 0) + 1
    names = []
    for name, relative in zip(plain, relatives):
        if count[name.casefold()] > 1 or len(name.encode()) > LONGEST_NAME:
            shortened = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
            name = f"{shortened}-{hashlib.sha256(relative.encode()).hexdigest()[:8]}"
        names.append(name)
    return names


def list_files(volume: CohortVolume) -> List[Path]:
    """The files that the volume consists of."""
    if volume.series:
        return sorted(volume.series)
    if volume.path.is_dir():
        return sorted(path for path in volume.path.iterdir() if path.is_file())
    if volume.path.name.lower().endswith((".mhd", ".nhdr")):
        stem = volume.path.name.rsplit(".", 1)[0]
        return sorted(path for path in volume.path.parent.glob(f"{glob.escape(stem)}.*") if path.is_file())
    return [volume.path]


def _find_series(folder: Path, place: Path, warn: Callable[[str], None]) -> List[Tuple[str, Path, Tuple[Path, ...]]]:
    """The image series of a DICOM folder; each with its files where there are several."""
    relative = place.relative_to(folder).as_posix()
    relative = "" if relative == "." else relative
    with keep_itk_quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(place))
        files = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid) for uid in series]
        images = [names for names in files if names and _holds_images(names[0])]
    if len(images) < len(files):
        where = relative or "the folder itself"
        warn(f"{len(files) - len(images)} DICOM series without images were left out in {where}.")
    if len(files) == 1 and images:
        return [(relative, place, ())]
    images.sort(key=lambda names: sorted(names))
    return [
        (f"{relative}/series{number}".lstrip("/"), place, tuple(Path(name) for name in names))
        for number, names in enumerate(images, start=1)
    ]


def _holds_images(path: str) -> bool:
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return False
    modality = reader.GetMetaData(MODALITY_TAG).strip() if reader.HasMetaDataKey(MODALITY_TAG) else ""
    return modality not in NO_IMAGE_MODALITIES


def _is_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        with open(path, "rb") as file:
            return file.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == b"DICM"
    except OSError:
        return False


def _sort_naturally(text: str) -> List[Tuple[int, str]]:
    """patient2 before patient10."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]
