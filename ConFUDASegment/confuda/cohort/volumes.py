"""Which volumes lie below a folder: image files and DICOM series, without labels and without what a cohort wrote."""

import fnmatch
import glob
import hashlib
import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from confuda.errors import InputError, UsageError
from confuda.io.dicom_file import DamagedDicom, is_unreadable, starts_as_dicom
from confuda.io.dicom_folder import DIRECTORY_NAME, index_files, may_belong
from confuda.io.dicom_join import find_stacks
from confuda.io.dicom_plane import Plane
from confuda.io.dicom_stacks import DicomStack
from confuda.io.file_name import SLICER_ENDING, VOLUME_ENDINGS, find_ending, fold_name, is_device
from confuda.io.folder_walk import walk_folders
from confuda.io.image_file import find_voxels

_ENDINGS = tuple(ending for ending in VOLUME_ENDINGS if ending != ".img")
"""Without that of voxels whose header lies beside them."""

LABEL_NAME = re.compile(
    r"(^|[-_. ])(manual|gt|gd|d?seg|segmentation|labels?|labelmap|mask|truth|contours?)([-_. ]?\d+)?$", re.IGNORECASE
)
"""How the names of label files end: patient1_LGE_manual, patient001_frame01_gt, sub-01_LGE_dseg, heart-label, ..."""

LABEL_FOLDER = re.compile(
    r"(labels?|masks?|segmentations?)(Tr|Ts|Val?)?|contours?|ground[-_ ]?truth|.*_(gd|gt|labels?)", re.IGNORECASE
)
"""How folders of labels are called: nnU-Net's labelsTr, EMIDEC's Contours, MyoPS's train25_myops_gd, ..."""

CINE_NAME = re.compile(r"(.+)_4d", re.IGNORECASE)
"""A 4-D file, of which ``STEM_frame01`` and the like beside it are frames (ACDC)."""

MARKER_NAME = "confuda-cohort.json"
"""In each folder that a cohort wrote to; no volume is looked for in there."""

LONGEST_NAME = 100


class CohortVolume(NamedTuple):
    """A volume of a cohort.

    name: unique, made of the path below the cohort's folder; path: a file or a DICOM folder; relative: the path below
    the cohort's folder with forward slashes; series: the files of one stack where its folder holds other DICOM as well,
    else none; number: that of the stack among those of these files, from 1, where other cases are in them as well (in
    one multi-frame file).
    """

    name: str
    path: Path
    relative: str
    series: Tuple[Path, ...] = ()
    number: Optional[int] = None


def find_volumes(
    folder: Path, pattern: str = "*", warn: Callable[[str], None] = lambda message: None
) -> List[CohortVolume]:
    """All volumes below ``folder`` whose relative path fits ``pattern`` (``*LGE*``), in the order of their paths.

    Files that are hidden, that are labels by their name or their folder's, or that lie in the output folder of a cohort
    are left out, and so is what is no stack of slices in a DICOM study: localizers, colour, reports, single views.
    DICOM series of one slice each become one volume where they belong together. ``warn`` hears what was left out.

    Raises:
        InputError: if the folder is none, or holds no volume.
    """
    if not os.path.isdir(folder):
        raise InputError(f"No such folder: {folder}")
    found: List[CohortVolume] = []
    dicom: List[Path] = []
    labels = 0

    def complain(error: OSError) -> None:
        warn(f"A folder could not be looked into and was left out ({error.strerror}): {error.filename}")

    for place, folders, files in walk_folders(folder, complain):
        if MARKER_NAME in files:
            folders.clear()
            continue
        folders[:] = _keep_usable(folders, warn)
        names = _keep_usable(files, warn)
        holds_labels = place != folder and LABEL_FOLDER.fullmatch(place.name) is not None
        for name in names:
            path = place / name
            if not name.lower().endswith(_ENDINGS):
                if name.upper() != DIRECTORY_NAME and (starts_as_dicom(path) or is_unreadable(path)):
                    dicom.append(path)
            elif holds_labels or is_label_file(name):
                labels += 1
            elif _is_cine_beside_frames(name, names):
                warn(f"A 4-D file was left out, since frames of it lie beside it: {path.relative_to(folder)}")
            elif not name.lower().endswith(".hdr") or _has_voxels_beside(name, names):
                found.append(CohortVolume("", path, path.relative_to(folder).as_posix()))
    if labels:
        warn(f"{labels} files that hold labels, by their name or their folder's, were left out.")
    if dicom:
        found += find_dicom_volumes(folder, dicom, warn)
    chosen = [volume for volume in found if fnmatch.fnmatchcase(volume.relative, pattern)]
    if not chosen:
        reason = f"none of its {len(found)} volumes fits '{pattern}'" if found else "no NIfTI, NRRD, MetaImage or DICOM"
        raise InputError(f"There is no volume in {folder}: {reason}.")
    chosen.sort(key=lambda volume: _sort_naturally(volume.relative))
    names = make_names([volume.relative or folder.resolve().name for volume in chosen])
    return [volume._replace(name=name) for name, volume in zip(names, chosen)]


def _is_cine_beside_frames(name: str, names: Sequence[str]) -> bool:
    cine = CINE_NAME.fullmatch(strip_ending(name))
    return cine is not None and any(other.startswith(f"{cine[1]}_frame") for other in names)


def _has_voxels_beside(name: str, names: Sequence[str]) -> bool:
    """Whether a header is one of a pair; there are other kinds of file of that ending."""
    return any(other.lower() in (f"{name[:-4]}.img".lower(), f"{name[:-4]}.img.gz".lower()) for other in names)


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
    return name.lower().endswith(SLICER_ENDING) or LABEL_NAME.search(strip_ending(name)) is not None


def strip_ending(name: str) -> str:
    """A file's name without .nii.gz, .nrrd and the like."""
    return name[: len(name) - len(find_ending(name, _ENDINGS))]


def make_names(relatives: Sequence[str]) -> List[str]:
    """A name for each relative path that is unique, safe as a file's name everywhere, and the same in every run.

    ``a/scan.nii.gz`` becomes ``a-scan``; where that is too long, or two come out alike, a part of the path's hash
    tells them apart. So it is with a name that Windows takes for a device.
    """
    plain = [
        re.sub(r"[^\w.+-]+", "_", strip_ending(text).replace("/", "-")).strip(".+-") or "volume" for text in relatives
    ]
    count: Dict[str, int] = {}
    for name in plain:
        count[fold_name(name)] = count.get(fold_name(name), 0) + 1
    names = []
    for name, relative in zip(plain, relatives):
        if count[fold_name(name)] > 1 or len(name.encode()) > LONGEST_NAME or is_device(name):
            shortened = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
            name = f"{shortened}-{hashlib.sha256(relative.encode()).hexdigest()[:8]}"
        names.append(name)
    return names


def name_outputs(volumes: Sequence[Path]) -> List[str]:
    """A name for each volume's output: that of the file or folder, or made of the path where two have the same.

    Raises:
        UsageError: if a volume is there twice.
    """
    places = [Path(os.path.abspath(volume)) for volume in volumes]
    if len({os.path.realpath(place) for place in places}) < len(places):
        raise UsageError("One of the volumes is given twice: give each once.")
    plain = [re.sub(r"\.(dcm|ima)$", "", strip_ending(place.name), flags=re.IGNORECASE) or "volume" for place in places]
    counted = Counter(fold_name(name) for name in plain)
    by_path = make_names(_name_below_common_folder(places))
    names = [long if counted[fold_name(name)] > 1 else name for name, long in zip(plain, by_path)]
    return by_path if len({fold_name(name) for name in names}) < len(names) else names


def _name_below_common_folder(places: Sequence[Path]) -> List[str]:
    try:
        above = os.path.commonpath([place.parent for place in places])
    except ValueError:  # On several drives of a Windows computer.
        return [place.as_posix() for place in places]
    return [place.relative_to(above).as_posix() for place in places]


def list_files(volume: CohortVolume) -> List[Path]:
    """The files that the volume consists of, as far as their names tell."""
    if volume.series:
        return sorted(volume.series)
    if volume.path.is_dir():
        return sorted(_list_below(volume.path))
    if volume.path.name.lower().endswith((".mhd", ".nhdr", ".hdr")):
        stem = volume.path.name.rsplit(".", 1)[0]
        beside = {path for path in volume.path.parent.glob(f"{glob.escape(stem)}.*") if path.is_file()}
        with suppress(InputError):  # It is refused when it is read.
            beside.add(find_voxels(volume.path))
        return sorted(beside)
    return [volume.path]


def _list_below(folder: Path) -> Iterator[Path]:
    """Without hidden files and what cohorts wrote: these change, and the volume does not."""
    for here, folders, files in walk_folders(folder, lambda error: None):
        if MARKER_NAME in files:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (here / name for name in files if not name.startswith(".") and os.path.isfile(here / name))


def find_dicom_volumes(folder: Path, paths: Sequence[Path], warn: Callable[[str], None]) -> List[CohortVolume]:
    """The stacks among DICOM files below ``folder``, without names; ``warn`` hears what was left out."""
    files = index_files(paths)
    stacks = find_stacks(files.planes)
    taken = [stack for stack in stacks if stack.is_candidate or stack.is_spoilt]
    studies: Set[str] = {stack.first.study for stack in taken}
    # A slice alone is a volume where the study has nothing better.
    taken += [
        stack
        for stack in stacks
        if stack.slices == 1 and not stack.problem and not stack.is_localizer and stack.first.study not in studies
    ]
    if len(stacks) > len(taken):
        warn(f"{len(stacks) - len(taken)} DICOM series that are no short-axis stack (localizers, views) were left out.")
    if files.without_image:
        warn(f"{files.without_image} DICOM files without images (reports, segmentations) were left out.")
    if files.damaged:
        warn(f"{len(files.damaged)} DICOM files are damaged; volumes that they may belong to cannot be segmented.")
    volumes = [_make_volume(stack, files.damaged, folder) for stack in taken]
    volumes = [
        volume._replace(number=_find_number(stack, volume, files.planes))
        if any(set(volume.series) & set(other.series) for other in volumes if other is not volume)
        else volume
        for stack, volume in zip(taken, volumes)
    ]
    places = [volume.path for volume in volumes]
    dicom_below = {place: [path for path in paths if place in path.parents] for place in set(places)}
    result, numbers = [], dict.fromkeys(places, 0)
    known = set(paths)
    for volume in volumes:
        is_alone = volume.number is None and set(volume.series) == set(dicom_below[volume.path])
        if is_alone and not _leads_elsewhere(volume.path, known):
            result.append(volume._replace(series=()))
            continue
        numbers[volume.path] += 1
        if places.count(volume.path) > 1:
            relative = f"{volume.relative}/series{numbers[volume.path]}".lstrip("/")
            volume = volume._replace(relative=relative)
        result.append(volume)
    return result


def _leads_elsewhere(folder: Path, known: Set[Path]) -> bool:
    """Whether DICOM files lie below that are none of ``known``: a link may lead back to those of other volumes."""
    return any(path not in known and starts_as_dicom(path) for path in _list_below(folder))


def _make_volume(stack: DicomStack, damaged: Sequence[DamagedDicom], folder: Path) -> CohortVolume:
    """All files of the stack, the damaged ones too, so that reading it refuses them."""
    paths = {plane.path for phase in stack.phases for plane in phase}
    beside = {path.parent for path in paths}
    paths |= {file.path for file in damaged if may_belong(file, stack) and (file.series or file.path.parent in beside)}
    place = Path(os.path.commonpath([path.parent for path in paths]))
    relative = place.relative_to(folder).as_posix()
    return CohortVolume("", place, "" if relative == "." else relative, tuple(sorted(paths)))


def _find_number(stack: DicomStack, volume: CohortVolume, planes: Sequence[Plane]) -> Optional[int]:
    """The number of ``stack`` among those that the files of its volume, read alone, hold."""
    own = find_stacks([plane for plane in planes if plane.path in volume.series])
    return next((number for number, other in enumerate(own, 1) if other.phases == stack.phases), None)


def _sort_naturally(text: str) -> List[Tuple[int, str]]:
    """patient2 before patient10."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]
