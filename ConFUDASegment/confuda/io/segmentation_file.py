"""Writing and reading segmentations: 3D Slicer's ``.seg.nrrd`` with names, colours and codes, or plain label maps."""

import errno
import os
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError, UsageError
from confuda.imaging.label_anatomy import guess_label_values
from confuda.imaging.stack import find_slice_axis
from confuda.io.atomic import replace_file
from confuda.io.file_name import (
    CINE_ENDINGS,
    DICOM_ENDING,
    LABEL_ENDINGS,
    SLICER_ENDING,
    explain_name,
    find_ending,
    is_text,
)
from confuda.io.image_file import is_slicer_segmentation
from confuda.io.itk_names import any_letters
from confuda.io.slicer_segments import SegmentPlace, describe_segments
from confuda.io.volume_file import read_image
from confuda.labels import (
    CLASS_NAMES,
    DATASET_VALUES,
    OWN_DATASET,
    SCAR,
    STRUCTURES,
    Structure,
    find_structure,
    map_labels,
    renumber_labels,
)


def write_segmentation(
    labelmap: sitk.Image,
    path: Union[str, Path],
    values: Optional[Mapping[str, int]] = None,
    scar: Optional[sitk.Image] = None,
) -> Path:
    """Write ``labelmap`` to ``path``, compressed; the file appears complete or not at all, replacing an older one.

    labelmap: 3-D, whole numbers 0 background, 1 MYO, 2 LV, 3 RV; its geometry is kept and its metadata is not.
    ``.seg.nrrd`` gives 3D Slicer three segments with names, colours and terminology, an absent structure as an empty
    one; the other endings give a plain label map.

    Args:
        values: the label value of each structure in the file, where they are not ours.
        scar: 1 where scar is, on the same grid: a fourth segment in a layer of its own, since it overlaps MYO; beside a
            plain label map a second one, ``NAME-scar``.

    Raises:
        UsageError: if the ending is none of ``LABEL_ENDINGS``.
        InputError: if the labels are not ours, or the place cannot be written to (missing, read-only, full).
    """
    path = Path(path)
    ending = check_label_path(path)
    values = DATASET_VALUES[OWN_DATASET] if values is None else values
    image = _cast_labels(labelmap, values)
    if ending == SLICER_ENDING:
        layers, places = [image], [SegmentPlace(structure, 0, values[structure.name]) for structure in STRUCTURES]
        if scar is not None:
            layers.append(sitk.Cast(_strip(scar), image.GetPixelID()))
            places.append(SegmentPlace(SCAR, 1, SCAR.label))
        return _write(describe_segments(layers, places), path, ending)
    _write(image, path, ending)
    if scar is not None:
        _write(_strip(scar), name_beside(path, "scar", ending), ending)
    return path


def write_segments(labelmap: sitk.Image, path: Union[str, Path], segments: Sequence[Structure]) -> Path:
    """Write a label map whose values are those of ``segments``, as :func:`write_segmentation` writes ours.

    Raises: as :func:`write_segmentation`.
    """
    path = Path(path)
    ending = check_label_path(path)
    image = _strip(labelmap)
    if ending == SLICER_ENDING:
        image = describe_segments([image], [SegmentPlace(segment, 0, segment.label) for segment in segments])
    return _write(image, path, ending)


def name_beside(path: Path, what: str, ending: str) -> Path:
    """``NAME-what`` and ``ending``, beside the file ``NAME`` with any ending that can be written."""
    known = find_ending(path.name, (*CINE_ENDINGS, DICOM_ENDING, *LABEL_ENDINGS))
    return path.with_name(f"{path.name[: len(path.name) - len(known)]}-{what}{ending}")


def _write(image: sitk.Image, path: Path, ending: str) -> Path:
    if not os.path.isdir(path.parent):
        raise InputError(f"Cannot write {path}: the folder {path.parent} does not exist.")
    if os.path.isdir(path):
        raise InputError(f"Cannot write {path}: it is a folder.")
    try:
        with replace_file(path, ending) as draft:
            _write_checked(image, draft)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {_explain(error, path)}.") from error
    return path


def check_label_path(path: Path) -> str:
    """The ending of ``path`` that decides on the format.

    Raises:
        UsageError: naming the endings that can be written; or if the name is no text.
    """
    if not is_text(path):
        raise UsageError(f"Cannot write {path}, which is {explain_name(path)}.")
    ending = find_ending(path.name, LABEL_ENDINGS)
    if not ending:
        *first, last = LABEL_ENDINGS
        raise UsageError(f"Cannot write {path}: the name has to end in {', '.join(first)} or {last}.")
    return ending


def read_segmentation(path: Union[str, Path], dataset: Optional[str] = None) -> sitk.Image:
    """Read a segmentation as a label map of ours: uint8, 0 background, 1 MYO, 2 LV, 3 RV.

    A Slicer segmentation is read by its segments' names (or IDs), whatever their label values and layers; segments
    of other names are left out. In a label map ``dataset`` (see ``labels.DATASET_VALUES``) says what the values mean;
    without it 200, 500, 600 are MS-CMRSeg's and 1, 2, 3 our own (and NOT those of ACDC, which look the same).

    Raises:
        UsageError: for an unknown ``dataset``.
        InputError: if the file cannot be read, holds other values, or its segments are none of ours or overlap.
    """
    return _make_ours(read_image(path), dataset, Path(path))


def read_foreign_segmentation(
    path: Union[str, Path], values: Union[str, Mapping[str, int], None] = None
) -> Tuple[sitk.Image, str]:
    """Read a segmentation as :func:`read_segmentation` does, and say how its labels were read, in a clause.

    values: what the values of a label map mean, by the name of a data set or by structure; without it they are told by
    themselves and by anatomy (see :func:`confuda.imaging.label_anatomy.guess_label_values`).

    Raises: as :func:`read_segmentation`.
    """
    path = Path(path)
    image = read_image(path)
    if is_slicer_segmentation(image):
        return _make_ours(image, None, path), "by the names of its segments"
    if values is not None:
        meaning = DATASET_VALUES.get(values, {}) if isinstance(values, str) else values
        return _make_ours(image, values, path), f"as told, {_list_values(meaning)}"
    if image.GetNumberOfComponentsPerPixel() > 1:
        return _make_ours(image, None, path), ""
    slice_axis = find_slice_axis(image.GetSize(), image.GetSpacing())
    plane_axes = [2 - axis for axis in range(3) if axis != slice_axis]
    found = guess_label_values(sitk.GetArrayViewFromImage(image), plane_axes)
    if found is None:
        return _make_ours(image, OWN_DATASET, path), ""
    said = f"as {found.dataset}'s, {_list_values(DATASET_VALUES[found.dataset])}"
    return _make_ours(image, found.dataset, path), said if found.is_sure else f"{said}, which nothing in it confirms"


def _list_values(values: Mapping[str, int]) -> str:
    return ", ".join(f"{value} {name}" for name, value in sorted(values.items(), key=lambda pair: pair[1]))


def _make_ours(image: sitk.Image, dataset: Union[str, Mapping[str, int], None], path: Path) -> sitk.Image:
    if is_slicer_segmentation(image):
        labels = _collect_segments(image, path)
    elif image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{path} has several values per voxel: export it as a label map or as a .seg.nrrd file.")
    else:
        values = sitk.GetArrayViewFromImage(image)
        try:
            labels = map_labels(values, dataset or _guess_dataset(values))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    result = sitk.GetImageFromArray(labels)
    result.SetOrigin(image.GetOrigin())
    result.SetSpacing(image.GetSpacing())
    result.SetDirection(image.GetDirection())
    return result


def _cast_labels(labelmap: sitk.Image, values: Mapping[str, int]) -> sitk.Image:
    """A copy with the given label values, checked."""
    if labelmap.GetDimension() != 3 or labelmap.GetNumberOfComponentsPerPixel() != 1:
        raise InputError("A segmentation is a 3-D image with one label per voxel.")
    ours = map_labels(sitk.GetArrayViewFromImage(labelmap), OWN_DATASET)
    image = sitk.GetImageFromArray(renumber_labels(ours, values))
    image.CopyInformation(labelmap)
    return image


def _strip(labelmap: sitk.Image) -> sitk.Image:
    """A copy with the geometry alone: metadata of the volume (a patient's name) must not reach the file."""
    image = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(labelmap))
    image.CopyInformation(labelmap)
    return image


def _write_checked(image: sitk.Image, path: Path) -> None:
    """Write, bring it to the disk, and read it back: on a full disk some of ITK's writers stop silently.

    Raises:
        OSError: with the system's reason where it is known.
    """
    # ITK hides the system's reason, so ask for it by opening the file first.
    with open(path, "wb"):
        pass
    try:
        with any_letters():
            sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError("the file could not be written, the disk may be full") from error
    try:
        written = read_image(path)
    except InputError as error:
        raise OSError("the file could not be written completely, the disk may be full") from error
    if not np.array_equal(sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)):
        raise OSError("the file could not be written completely, the disk may be full")


def _explain(error: OSError, path: Path) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder {path.parent} or the file is read-only"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long"
    return error.strerror or str(error)


def _guess_dataset(values: np.ndarray) -> str:
    return "ms-cmrseg" if values.max() >= 200 else OWN_DATASET


def _collect_segments(image: sitk.Image, path: Path) -> np.ndarray:
    """Label map (slices, rows, columns) uint8 from a Slicer segmentation, whose layers are the values of a voxel."""
    voxels = sitk.GetArrayViewFromImage(image)
    layers = voxels[..., np.newaxis] if image.GetNumberOfComponentsPerPixel() == 1 else voxels
    labels = np.zeros(layers.shape[:3], dtype=np.uint8)
    found: Dict[str, str] = {}
    number = 0
    while image.HasMetaDataKey(f"Segment{number}_ID"):
        structure = _identify_segment(image, number)
        if structure is not None:
            if structure.name in found:
                raise InputError(f"{path} has two segments for {structure.name}: remove or rename one of them.")
            found[structure.name] = structure.display_name
            # Files from before Slicer 5.0 state neither: a layer for each segment, filled with ones.
            layer = int(_get_field(image, number, "Layer", str(number)))
            mask = layers[..., layer] == int(_get_field(image, number, "LabelValue", "1"))
            taken = np.unique(labels[mask & (labels > 0)])
            if len(taken):
                other = CLASS_NAMES[taken[0]]
                raise InputError(f"{path}: the segments {structure.name} and {other} overlap: let no voxel be in both.")
            labels[mask] = structure.label
        number += 1
    if not found:
        names = ", ".join(f"{structure.name} or {structure.display_name}" for structure in STRUCTURES)
        raise InputError(f"{path} has no segment of a known name ({names}): rename its segments.")
    return labels


def _identify_segment(image: sitk.Image, number: int) -> Optional[Structure]:
    return find_structure(_get_field(image, number, "Name", "")) or find_structure(_get_field(image, number, "ID", ""))


def _get_field(image: sitk.Image, number: int, key: str, default: str) -> str:
    name = f"Segment{number}_{key}"
    return image.GetMetaData(name) if image.HasMetaDataKey(name) else default
