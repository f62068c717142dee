"""Reading a folder of DICOM files as one volume, and refusing what is not one evenly spaced stack of slices."""

import os
from pathlib import Path
from typing import List, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.io.dicom_structure import is_dicom_whole, starts_as_dicom
from confuda.io.file_name import is_text
from confuda.io.itk_silence import keep_itk_quiet

POSITION_TAG = "0020|0032"
ORIENTATION_TAG = "0020|0037"
PIXEL_SPACING_TAG = "0028|0030"
GAP_REFUSED = 0.1
"""A DICOM slice further than this share of the slice spacing from its place on the grid: a slice is missing."""
GAP_WARNED = 0.01
LARGEST_DIFFERENCE = 0.01
"""Pixel spacings (as a share) and direction cosines of one stack differ by no more than rounding."""


def list_dicom_files(folder: Path) -> List[str]:
    """The files of the one DICOM series in ``folder``, in the order of their places.

    Raises:
        InputError: if there is no series, or more than one, or a DICOM file that cannot be read.
    """
    candidates = [entry for entry in os.scandir(folder) if entry.is_file() and entry.name.upper() != "DICOMDIR"]
    for entry in candidates:
        if not is_text(entry.name):
            raise InputError(f"{folder} holds a file whose name is no valid text: rename it.")
    _refuse_damaged(sum(not is_dicom_whole(Path(entry.path)) for entry in candidates), folder)
    with keep_itk_quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        files = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid) for uid in series]
    if len(files) > 1:
        listed = ", ".join(f"{number}: {len(names)} files" for number, names in enumerate(files, start=1))
        raise InputError(
            f"{folder} holds {len(files)} DICOM series ({listed}): put the wanted one into a folder of its own."
        )
    names = list(files[0]) if files else []
    # GDCM leaves out what it cannot read, and says nothing.
    known = {os.path.basename(name) for name in names}
    left_out = [entry for entry in candidates if entry.name not in known]
    _refuse_damaged(sum(starts_as_dicom(Path(entry.path)) for entry in left_out), folder)
    if not names:
        raise InputError(f"{folder} holds no DICOM image: give a folder with one series, or an image file.")
    return names


def _refuse_damaged(count: int, folder: Path) -> None:
    if count:
        raise InputError(f"{folder} holds damaged or incomplete DICOM files ({count}): copy or export them again.")


def read_dicom_series(names: List[str], folder: Path) -> Tuple[sitk.Image, List[str]]:
    """The volume of several files of one series, with its metadata, and warnings.

    Raises:
        InputError: if the files cannot be read, or are not parallel slices of one pixel size at even distances.
    """
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    with keep_itk_quiet():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(_explain_series(error, folder)) from error
    count = len(names)
    positions = _collect_numbers(reader, count, POSITION_TAG, 3)
    if not np.isfinite(positions).all():
        raise InputError(f"{folder} holds DICOM files that do not say where their slices lie: export them again.")
    # ITK takes both from one file for all of them.
    spacings = _collect_numbers(reader, count, PIXEL_SPACING_TAG, 2)
    if _differ(spacings / np.maximum(np.abs(spacings[:1]), 1e-9)):
        raise InputError(f"The DICOM files in {folder} differ in pixel spacing: keep the slices of one stack only.")
    if _differ(_collect_numbers(reader, count, ORIENTATION_TAG, 6)):
        raise InputError(f"The DICOM files in {folder} differ in direction: keep the slices of one stack only.")
    return image, _check_positions(positions, image, folder)


def _collect_numbers(reader: sitk.ImageSeriesReader, count: int, tag: str, length: int) -> np.ndarray:
    """The ``length`` numbers of ``tag`` in each of ``count`` files, (count, length); NaN where there are none."""
    rows = np.full((count, length), np.nan)
    for number in range(count):
        try:
            rows[number] = [float(text) for text in reader.GetMetaData(number, tag).split("\\")]
        except (RuntimeError, ValueError):
            continue
    return rows


def _differ(rows: np.ndarray) -> bool:
    return bool(np.nanmax(np.abs(rows - rows[:1]), initial=0.0) > LARGEST_DIFFERENCE)


def _explain_series(error: RuntimeError, folder: Path) -> str:
    if "Size mismatch" in str(error) or "dimension" in str(error) or "size" in str(error):
        return f"The DICOM files in {folder} differ in size: keep the slices of one stack only."
    return f"The DICOM files in {folder} cannot be read as one volume: export the series again."


def _check_positions(positions: np.ndarray, image: sitk.Image, folder: Path) -> List[str]:
    """Compare where slices lie, positions (slices, 3) in mm, with the regular grid that ITK made of them."""
    distinct = len(np.unique(np.round(positions, 2), axis=0))
    if distinct < len(positions):
        raise InputError(
            f"{folder} holds {len(positions)} images at {distinct} positions (a cine): keep one frame of each slice."
        )
    grid = np.array([image.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(len(positions))])
    deviation = np.linalg.norm(positions - grid, axis=1).max() / image.GetSpacing()[2]
    if not deviation <= GAP_REFUSED:
        raise InputError(
            f"The slices in {folder} are not evenly spaced and parallel: "
            "a slice is missing, or several stacks are mixed."
        )
    if deviation > GAP_WARNED:
        return [f"The slices are not quite evenly spaced (off by {100 * deviation:.0f} % of their distance)."]
    return []
