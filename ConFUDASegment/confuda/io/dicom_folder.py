"""A DICOM folder, file set or file as one volume: which stack is meant, and its voxels with their geometry."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.imaging.parallel_slices import find_normal
from confuda.io.dicom_file import DamagedDicom, import_pydicom, is_unreadable, starts_as_dicom
from confuda.io.dicom_join import find_stacks
from confuda.io.dicom_pixels import read_pixels
from confuda.io.dicom_plane import FRAME_ORDER, PIXEL_SPACING, Plane, read_planes
from confuda.io.dicom_stacks import DicomStack
from confuda.io.file_name import explain_name, is_text
from confuda.io.folder_walk import walk_folders
from confuda.io.memory import check_memory

DIRECTORY_NAME = "DICOMDIR"
LONGEST_LIST = 20
"""So many series are listed in a refusal."""


class DicomFiles(NamedTuple):
    """What lies in a folder: image planes, damaged files, and how many files are no images (reports, segmentations)."""

    planes: List[Plane]
    damaged: List[DamagedDicom]
    without_image: int


@dataclass(frozen=True)
class DicomSource:
    """The stack that was chosen; ``notes`` says how, and what else the user should know."""

    stack: DicomStack
    notes: Tuple[str, ...]


def index_files(paths: Sequence[Path]) -> DicomFiles:
    """The image planes in ``paths``, files of any kind."""
    planes: List[Plane] = []
    damaged: List[DamagedDicom] = []
    without = 0
    for path in paths:
        if not starts_as_dicom(path):
            if is_unreadable(path):
                # It may be a slice, which must not be missing without a word.
                damaged.append(DamagedDicom(path))
            continue
        import_pydicom()
        try:
            found = read_planes(path)
        except DamagedDicom as error:
            damaged.append(error)
            continue
        planes += found
        without += not found
    return DicomFiles(planes, damaged, without)


def list_files_below(folder: Path) -> List[Path]:
    """All files in ``folder`` and its subfolders, in order.

    Raises:
        InputError: for a name that is no text, or a folder that cannot be opened.
    """

    def complain(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be opened: {error.strerror}.") from error

    paths = []
    for here, _, files in walk_folders(folder, complain):
        for name in files:
            if not is_text(name):
                raise InputError(f"{folder} holds a file with {explain_name(name)}.")
            if name.upper() != DIRECTORY_NAME and os.path.isfile(here / name):
                paths.append(here / name)
    return paths


def find_source(path: Path, series: Optional[int] = None, prefer_cine: bool = False) -> DicomSource:
    """The stack that a DICOM folder, a DICOMDIR (for its folder) or a DICOM file holds.

    series: its number in the list of stacks, from 1; needed where more than one may be meant.

    Raises:
        InputError: if there is none, or several, listing them; or if what it is made of cannot be one volume.
        UsageError: if pydicom is not installed.
    """
    folder = path.parent if path.name.upper() == DIRECTORY_NAME and path.is_file() else path
    alone = folder.is_file()
    files = index_files([folder] if alone else list_files_below(folder))
    if not files.planes:
        _refuse_damaged(len(files.damaged), path, alone)
        raise InputError(_explain_absence(path, files, alone))
    stacks = find_stacks(files.planes)
    if series is not None:
        if not 1 <= series <= len(stacks):
            raise InputError(f"{path} has no series {series}: give one of {list_stacks(stacks)}.")
        stack = stacks[series - 1]
        notes: List[str] = []
    else:
        stack, notes = _choose(stacks, path, prefer_cine)
    _refuse_damaged(sum(may_belong(file, stack) for file in files.damaged), path, alone)
    if files.damaged:
        notes.append(f"{len(files.damaged)} damaged DICOM files of other series were left out.")
    if stack.problem:
        raise InputError(f"{path} cannot be read as one volume: {stack.problem}.")
    if alone and stack.slices == 1 and stack.first.frames == 1:
        notes.append("A single DICOM file is a single slice: give the folder to segment the whole series.")
    return DicomSource(stack, (*notes, *stack.notes))


def may_belong(file: DamagedDicom, stack: DicomStack) -> bool:
    """Whether a damaged file is, or may be, one of the stack's."""
    return not file.series or file.series in stack.series


def list_stacks(stacks: Sequence[DicomStack]) -> str:
    """Numbers from 1 with descriptions, in one line."""
    listed = [f"{number}: {stack.describe()}" for number, stack in enumerate(stacks, start=1)]
    return "; ".join(listed[:LONGEST_LIST]) + ("; ..." if len(listed) > LONGEST_LIST else "")


def choose_phase(stack: DicomStack, frame: Optional[int], path: Path) -> Tuple[Plane, ...]:
    """The planes of phase ``frame``, from 0; of a stack that is no cine its only ones.

    Raises:
        InputError: if it is a cine and no frame was chosen, or there is no such frame.
    """
    count = len(stack.phases)
    if frame is None and count > 1:
        slices = f"{stack.slices} slices" if stack.slices > 1 else "one slice"
        choose = f"choose one with --frames N (0 to {count - 1})"
        if stack.is_cine:
            raise InputError(
                f"{path} is a cine of {count} phases of {slices}, sorted by {stack.sorted_by}: {choose}, or all with "
                "--frames all."
            )
        raise InputError(f"{path} holds {count} images each of {slices}, which differ in {stack.sorted_by}: {choose}.")
    if not 0 <= (frame or 0) < count:
        raise InputError(explain_frame(path, frame, count))
    return stack.phases[frame or 0]


def explain_frame(path: Path, frame: Optional[int], count: int) -> str:
    """Why there is no such frame among ``count``."""
    if count == 1:
        return f"{path} has no frame {frame}: it is a single volume, so leave --frames out."
    return f"{path} has no frame {frame}: its frames are 0 to {count - 1}."


def read_planes_as_volume(
    planes: Sequence[Plane], path: Path, spacing_mm: Optional[Sequence[float]] = None
) -> Tuple[sitk.Image, List[str]]:
    """The volume of sorted planes, and warnings. ``spacing_mm`` (columns, rows, slices) replaces what is stated.

    Raises:
        InputError: if there is no pixel spacing, or the pixels cannot be decoded.
    """
    spacing, warnings = find_spacing(planes, path, spacing_mm)
    check_memory(4.0 * len(planes) * planes[0].rows * planes[0].columns, path)
    try:
        image = sitk.GetImageFromArray(read_pixels(planes))
    except DamagedDicom as error:
        raise InputError(f"{error.path} is damaged or incomplete: copy or export it again.") from error
    first = planes[0]
    assert first.orientation is not None and first.position is not None
    row, column = (np.array(half) / np.linalg.norm(half) for half in (first.orientation[:3], first.orientation[3:]))
    normal = find_normal(row, column)
    image.SetDirection(np.stack([row, column, normal], axis=1).ravel().tolist())
    image.SetOrigin(first.position)
    image.SetSpacing(spacing)
    if any(plane.placed_by == FRAME_ORDER for plane in planes):
        warnings.append(
            "The frames of the DICOM file were taken for slices: if they are a cine, give one frame of each slice."
        )
    return image, warnings


def find_spacing(
    planes: Sequence[Plane], path: Path, given: Optional[Sequence[float]]
) -> Tuple[Tuple[float, float, float], List[str]]:
    """Spacing between columns, rows and slices in mm, the given one or the stated one, and warnings.

    Raises:
        InputError: where there is none.
    """
    first, warnings = planes[0], []
    if len(planes) > 1:
        ends = np.subtract(planes[-1].place, planes[0].place)
        between: Optional[float] = float(np.linalg.norm(ends)) / (len(planes) - 1)
    else:
        between = first.thickness or first.gap
    if first.spacing is not None and given is None and first.spacing_from != PIXEL_SPACING:
        warnings.append(
            f"The DICOM images state no pixel spacing: their {first.spacing_from} is used, "
            f"{first.spacing[1]:g} x {first.spacing[0]:g} mm."
        )
    if given is not None:
        return (float(given[0]), float(given[1]), float(given[2])), warnings + _compare(first, between, given)
    if first.spacing is None:
        raise InputError(
            f"{path} states no pixel spacing: give it with --spacing, in mm between columns, rows and slices "
            f"(--spacing 1.4,1.4,{between or 8:g} for example)."
        )
    if between is None:
        warnings.append(
            "The DICOM image states no slice thickness: 1 mm is taken, and volumes in mL depend on it (--spacing)."
        )
    return (first.spacing[1], first.spacing[0], between or 1.0), warnings


def _compare(first: Plane, between: Optional[float], given: Sequence[float]) -> List[str]:
    rows, columns = first.spacing or (given[1], given[0])
    stated = (columns, rows, between or given[2])
    if all(abs(a - b) <= 0.01 * b for a, b in zip(given, stated)):
        return []
    texts = [" x ".join(f"{mm:.4g}" for mm in three) for three in (stated, given)]
    return [f"The file states a spacing of {texts[0]} mm; {texts[1]} mm is used, as given."]


def _choose(stacks: Sequence[DicomStack], path: Path, prefer_cine: bool) -> Tuple[DicomStack, List[str]]:
    """The stack that is meant, where that is plain; the rule is in docs/what-is-read.md."""
    if len(stacks) == 1:
        return stacks[0], []
    candidates = [stack for stack in stacks if stack.is_candidate]
    spoilt = [stack for stack in stacks if stack.is_spoilt]
    if prefer_cine and any(len(stack.phases) > 1 for stack in candidates):
        candidates = [stack for stack in candidates if len(stack.phases) > 1]
    if len(candidates) > 1 or spoilt:
        named = [stack for stack in (*candidates, *spoilt) if stack.names_short_axis]
        if len(named) == 1:
            candidates, spoilt = [stack for stack in named if stack in candidates], [s for s in named if s in spoilt]
    if len(candidates) == 1 and not spoilt:
        others = len(stacks) - 1
        note = f"Beside {others} other DICOM series, the stack {candidates[0].describe()} was taken."
        return candidates[0], [note]
    if len(spoilt) == 1 and not candidates:
        return spoilt[0], []
    raise InputError(
        f"{path} holds {len(stacks)} DICOM series or stacks: choose one with --series N. {list_stacks(stacks)}."
    )


def _refuse_damaged(count: int, path: Path, alone: bool) -> None:
    if count and alone:
        raise InputError(f"{path} is damaged or incomplete: copy or export it again.")
    if count:
        raise InputError(f"{path} holds damaged or incomplete DICOM files ({count}): copy or export them again.")


def _explain_absence(path: Path, files: DicomFiles, alone: bool) -> str:
    if alone:
        return f"{path} holds no DICOM image (a segmentation or a report, perhaps): give the images of a series."
    if files.without_image:
        return f"{path} holds no DICOM image, only {files.without_image} files of other kinds: give a series' folder."
    return f"{path} holds no DICOM image: give a folder with a series, or an image file."
