"""Writing cines and their label maps: 4-D NIfTI, or the sequence of 3D Slicer (``.seq.nrrd``).

Slicer's sequence is a NRRD file whose first axis is the list of frames; a class of nodes in its header tells label maps
from images. SimpleITK cannot write such a list with a header of its own choice, so the header is written here.
"""

import gzip
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Union

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError, UsageError
from confuda.io.atomic import replace_file
from confuda.io.completeness import has_all_voxels
from confuda.io.file_name import CINE_ENDINGS, SEQUENCE_ENDING, explain_name, find_ending, is_text
from confuda.io.itk_names import any_letters
from confuda.labels import DATASET_VALUES, OWN_DATASET, map_labels, renumber_labels

IMAGE_NODE, LABEL_NODE = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode"

_TYPES = {
    "u1": "uint8",
    "i1": "int8",
    "u2": "uint16",
    "i2": "int16",
    "u4": "uint32",
    "i4": "int32",
    "f4": "float",
    "f8": "double",
}
"""NRRD's names of number types."""


def check_cine_path(path: Path) -> str:
    """The ending of ``path`` that decides on the format of a cine.

    Raises:
        UsageError: naming the endings that can be written; or if the name is no text.
    """
    if not is_text(path):
        raise UsageError(f"Cannot write {path}, which is {explain_name(path)}.")
    ending = find_ending(path.name, CINE_ENDINGS)
    if not ending:
        *first, last = CINE_ENDINGS
        raise UsageError(
            f"Cannot write {path}: all frames go into a file whose name ends in {', '.join(first)} or {last}."
        )
    return ending


def write_cine_labels(
    labelmaps: Sequence[sitk.Image],
    path: Union[str, Path],
    times_ms: Optional[Sequence[float]] = None,
    values: Optional[Mapping[str, int]] = None,
) -> Path:
    """Write the label maps of a cine's frames, whole numbers 0 background, 1 MYO, 2 LV, 3 RV, on one grid; the file
    appears complete or not at all, replacing an older one.

    times_ms: of each frame, kept in a ``.seq.nrrd``. values: the label value of each structure, where not ours.

    Raises:
        UsageError: if the ending is none of ``CINE_ENDINGS``.
        InputError: if the labels are not ours, the grids differ, or the place cannot be written to.
    """
    frames = []
    for labelmap in labelmaps:
        ours = map_labels(sitk.GetArrayViewFromImage(labelmap), OWN_DATASET)
        frame = sitk.GetImageFromArray(renumber_labels(ours, DATASET_VALUES[OWN_DATASET] if values is None else values))
        frame.CopyInformation(labelmap)
        frames.append(frame)
    return write_cine(frames, path, times_ms, LABEL_NODE)


def write_cine(
    frames: Sequence[sitk.Image],
    path: Union[str, Path],
    times_ms: Optional[Sequence[float]] = None,
    node: str = IMAGE_NODE,
) -> Path:
    """Write frames, scalar 3-D images of one type on one grid; ``node``: what Slicer makes of each.

    Raises: as :func:`write_cine_labels`.
    """
    path = Path(path)
    ending = check_cine_path(path)
    _check_frames(frames, times_ms)
    try:
        with replace_file(path, ending) as draft:
            if ending == SEQUENCE_ENDING:
                _write_sequence(frames, draft, times_ms, node)
            else:
                with any_letters():
                    sitk.WriteImage(sitk.JoinSeries(list(frames)), str(draft), useCompression=True)
                # On a full disk ITK's writer stops without a word.
                if not has_all_voxels(draft):
                    raise OSError("the file is not whole")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the file could not be written, the disk may be full"
        raise InputError(f"Cannot write {path}: {reason}.") from error
    return path


def _check_frames(frames: Sequence[sitk.Image], times_ms: Optional[Sequence[float]]) -> None:
    if not frames:
        raise InputError("A cine needs at least one frame.")
    first = frames[0]
    for frame in frames:
        if frame.GetPixelID() != first.GetPixelID() or not frame.IsSameImageGeometryAs(first):
            raise InputError("The frames of a cine have to lie on one grid and hold one type of number.")
    if times_ms is not None and len(times_ms) != len(frames):
        raise InputError(f"The cine has {len(frames)} frames and {len(times_ms)} times.")


def _write_sequence(frames: Sequence[sitk.Image], path: Path, times_ms: Optional[Sequence[float]], node: str) -> None:
    array = np.stack([sitk.GetArrayViewFromImage(frame) for frame in frames], axis=-1)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    header = _describe_sequence(frames[0], array, times_ms, node)
    with open(path, "wb") as file:
        file.write(header.encode("ascii"))
        # Without name and time of day: the same cine gives the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            packed.write(np.ascontiguousarray(array).data)


def _describe_sequence(frame: sitk.Image, array: np.ndarray, times_ms: Optional[Sequence[float]], node: str) -> str:
    steps = np.reshape(frame.GetDirection(), (3, 3)).T * np.reshape(frame.GetSpacing(), (3, 1))
    count = array.shape[-1]
    values: List[float] = list(range(count)) if times_ms is None else list(times_ms)
    name, unit = ("frame", "") if times_ms is None else ("time", "ms")
    lines = [
        "NRRD0005",
        f"type: {_TYPES[array.dtype.str[1:]]}",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {count} " + " ".join(str(voxels) for voxels in frame.GetSize()),
        "space directions: none " + " ".join(_write_vector(step) for step in steps),
        "kinds: list domain domain domain",
        f'labels: "{name}" "" "" ""',
        f'units: "{unit}" "" "" ""',
        "endian: little",
        "encoding: gzip",
        f"space origin: {_write_vector(frame.GetOrigin())}",
        "axis 0 index type:=numeric",
        "axis 0 index values:=" + " ".join(f"{value:g}" for value in values),
        f"DataNodeClassName:={node}",
    ]
    return "\n".join(lines) + "\n\n"


def _write_vector(numbers: Sequence[float]) -> str:
    return "(" + ",".join(f"{number:.17g}" for number in numbers) + ")"
