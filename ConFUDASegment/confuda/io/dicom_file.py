"""Reading DICOM files with pydicom: whether they are whole, and the values of their headers.

What pydicom says on the way is kept off the console, since it quotes values that may be a patient's name.
"""

import logging
import math
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ContextManager, Iterator, List, Optional, Tuple

from confuda.errors import UsageError
from confuda.io.process_state import ProcessState

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
DEFER_BYTES = 1 << 20
"""Values longer than this, mostly the pixels, are read when they are asked for."""

STAND_IN_CLASS = "1.2.840.10008.5.1.4.1.1.4"
"""MR Image Storage: of an image that stands for a frame of another."""

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError, OSError)
"""What pydicom raises for a value that makes no sense, when it is asked for."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNDEFINED = 0xFFFFFFFF
_GROUP_STARTS = (b"\x02\x00", b"\x08\x00")
"""How a data set without preamble starts: group 2 or 8, little endian."""


class DamagedDicom(Exception):
    """A DICOM file that ends before its values do, or whose structure makes no sense.

    path: the file; series: the UID of the series that it belongs to, empty where that cannot be read either.
    """

    def __init__(self, path: Path, series: str = "") -> None:
        super().__init__(str(path))
        self.path = path
        self.series = series


def keep_pydicom_quiet() -> ContextManager[None]:
    """No warning and no log entry of pydicom or highdicom reaches the console meanwhile."""
    return _SILENCE.hold()


@contextmanager
def _silence() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before):
                logger.disabled = disabled


_SILENCE = ProcessState(_silence)


def import_pydicom() -> Any:
    """The library; not part of what 3D Slicer's side needs, so it is imported where DICOM is read.

    Raises:
        UsageError: where it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UsageError("Reading DICOM needs pydicom: install it with 'pip install pydicom'.") from error
    return pydicom


def starts_as_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark behind the preamble, or starts as a data set without one does.

    False where it cannot be opened, and of what is no ordinary file: reading a pipe never ends.
    """
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(PREAMBLE_BYTES + len(MAGIC))
    except OSError:
        return False
    return start[PREAMBLE_BYTES:] == MAGIC or _starts_without_preamble(start)


def is_unreadable(path: Path) -> bool:
    """Whether there is an ordinary file whose content cannot be had: a right is missing, or the disk is damaged."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return True
    return False


def _starts_without_preamble(start: bytes) -> bool:
    # The low byte of a small element number, then a value representation or a short length.
    return (
        start[:2] in _GROUP_STARTS
        and len(start) > 8
        and start[3] == 0
        and (start[4:6].isalpha() or start[6:8] == b"\0\0")
    )


def read_header(path: Path) -> Any:
    """The data set of a DICOM file up to its pixels, which are read when they are asked for.

    What follows the pixels (padding, say) is not looked at.

    Raises:
        DamagedDicom: if the file ends before its values do, or is no DICOM at all.
    """
    import_pydicom()
    from pydicom.filereader import read_partial

    pixels_end: Optional[int] = None
    stream: Any = None

    def is_behind_pixels(tag: Any, representation: Optional[str], length: int) -> bool:
        nonlocal pixels_end
        if pixels_end is not None:
            return True
        if int(tag) in _PIXEL_TAGS:
            # Undefined means packed, in portions whose end pydicom looks for.
            pixels_end = 0 if length == _UNDEFINED else stream.tell() + length
        return False

    try:
        with keep_pydicom_quiet(), open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            header = read_partial(stream, is_behind_pixels, defer_size=DEFER_BYTES, force=True)
            if str(header.file_meta.get("TransferSyntaxUID", "")) == _DEFLATED:
                # Unpacked values have no place in the file to be read from later.
                stream.seek(0)
                pixels_end = None
                header = read_partial(stream, is_behind_pixels, force=True)
                pixels_end = None if pixels_end is None else 0
            has_pixels = any(tag in header for tag in _PIXEL_TAGS)
            if has_pixels:
                whole = pixels_end is not None and pixels_end <= size
            else:
                whole = "Rows" not in header and ("SOPClassUID" in header or is_directory(header))
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedDicom(path) from error
    if not whole:
        raise DamagedDicom(path, _find_series(header))
    return header


def _find_series(damaged: Any) -> str:
    try:
        with keep_pydicom_quiet():
            return get_text(damaged, "SeriesInstanceUID")
    except UNREADABLE:
        return ""


def is_directory(header: Any) -> bool:
    """Whether the data set is a DICOMDIR, a table of contents."""
    return str(header.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY


def get_number(header: Any, keyword: str) -> Optional[float]:
    """A finite number, None where there is none that can be read."""
    numbers = get_numbers(header, keyword, 1)
    return numbers[0] if numbers else None


def get_numbers(header: Any, keyword: str, count: int) -> Optional[Tuple[float, ...]]:
    """Exactly ``count`` finite numbers, or None."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return None
        values = [value] if isinstance(value, (str, int, float)) else list(value)
        numbers = tuple(float(number) for number in values)
    except UNREADABLE:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def get_text(header: Any, keyword: str) -> str:
    """A value as text without blanks round it; empty where it is missing."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def get_items(header: Any, keyword: str) -> List[Any]:
    """The items of a sequence; none where it is missing."""
    value = header.get(keyword)
    return list(value) if value else []
