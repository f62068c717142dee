"""Where a report and an uncertainty map go: checked before any work is done, and written whole or not at all."""

import os
from pathlib import Path
from typing import Optional

from confuda.errors import InputError, UsageError
from confuda.io.atomic import write_text
from confuda.io.file_name import is_same_file
from confuda.report.rendering import GENERATOR, check_drawing_library
from confuda.report.uncertainty import MAP_NAME, check_map_path, is_own_map

PAGE_NAME = "report.html"
MARK = f'<meta name="generator" content="{GENERATOR}">'
"""Near the beginning of every page of ours: without it a file is someone else's and stays as it is."""

_MARK_WITHIN_BYTES = 1000


def choose_map_path(report: Optional[Path], uncertainty: Optional[Path]) -> Optional[Path]:
    """The uncertainty map's file: the one that was asked for, else the one in the report's folder, else None."""
    if uncertainty is not None:
        return Path(uncertainty)
    return Path(report) / MAP_NAME if report is not None else None


def check_places(volume: Path, output: Path, report: Optional[Path], uncertainty: Optional[Path]) -> None:
    """Find out whether report and map can be written, as far as that is known beforehand.

    Raises:
        UsageError: where two files would be one, the map's ending is unknown, or a library for reports is missing.
        InputError: where a folder is missing or read-only, or a file of someone else lies in the way.
    """
    if uncertainty is not None:
        uncertainty = Path(uncertainty)
        check_map_path(uncertainty)
        for other, name in ((volume, "volume"), (output, "segmentation")):
            if is_same_file(uncertainty, other):
                raise UsageError(f"The uncertainty would overwrite the {name}: give it another name.")
        if not os.path.isdir(uncertainty.parent):
            raise InputError(f"Cannot write {uncertainty}: the folder {uncertainty.parent} does not exist.")
        if os.path.isdir(uncertainty):
            raise InputError(f"Cannot write {uncertainty}: it is a folder.")
    if report is not None:
        check_drawing_library("A report")
        _check_folder(Path(report))
        _check_not_foreign(Path(report), with_map=uncertainty is None)
        if uncertainty is None and is_same_file(output, Path(report) / MAP_NAME):
            raise UsageError(f"The segmentation would be overwritten by the report's {MAP_NAME}: give it another name.")


def make_folder(folder: Path) -> None:
    """Make the report's folder where it does not exist yet.

    Raises:
        InputError: with the system's reason.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"The report's folder {folder} cannot be made: {error.strerror}.") from error


def write_page(page: str, folder: Path) -> Path:
    """Write a page into ``folder`` as ``report.html``, complete or not at all, replacing an older one of ours.

    Raises:
        InputError: if the file there is someone else's, or the place cannot be written to.
    """
    make_folder(folder)
    _check_not_foreign(folder, with_map=False)
    path = folder / PAGE_NAME
    try:
        write_text(path, page)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return path


def _check_folder(folder: Path) -> None:
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InputError(f"The report cannot go into {folder}: it is a file, give a folder.")
    if not os.path.exists(folder) and not os.path.isdir(folder.absolute().parent):
        raise InputError(f"The report cannot go into {folder}: the folder {folder.parent} does not exist.")
    if not os.access(folder if os.path.exists(folder) else folder.absolute().parent, os.W_OK):
        raise InputError(f"The report cannot go into {folder}: it is read-only.")


def _check_not_foreign(folder: Path, with_map: bool) -> None:
    page, field = folder / PAGE_NAME, folder / MAP_NAME
    if os.path.lexists(page) and not _is_own_page(page):
        raise InputError(f"{page} was not written by ConFUDA: move it away, or choose another folder.")
    if with_map and os.path.lexists(field) and not (os.path.isfile(field) and is_own_map(field)):
        raise InputError(f"{field} was not written by ConFUDA: move it away, or choose another folder.")


def _is_own_page(path: Path) -> bool:
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return MARK.encode("ascii") in file.read(_MARK_WITHIN_BYTES)
    except OSError:
        return False
