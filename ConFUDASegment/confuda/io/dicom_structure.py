"""Whether the elements of a DICOM file fit into it: GDCM takes as much memory as a damaged length says, and is slow."""

import os
import struct
from pathlib import Path
from typing import BinaryIO, Optional, Tuple

PREAMBLE_BYTES = 128
MAGIC = b"DICM"

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")
"""Value representations whose length has four bytes (DICOM PS3.5, 7.1.2)."""
_UNDEFINED = 0xFFFFFFFF
_META_GROUP = 0x0002
_ITEM_GROUP = 0xFFFE
_ITEM = 0xE000
_PIXEL_DATA = (0x7FE0, 0x0010)
_TRANSFER_SYNTAX = (0x0002, 0x0010)


def starts_as_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark behind the preamble; False where it cannot be opened."""
    try:
        with open(path, "rb") as file:
            return file.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC
    except OSError:
        return False


def is_dicom_whole(path: Path) -> bool:
    """Whether each element of a DICOM file ends before the file does, sequences included. Values are not looked at.

    True as well for a file without DICOM's mark, and for a deflated one, which are GDCM's to judge.
    """
    if not starts_as_dicom(path):
        return True
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(PREAMBLE_BYTES + len(MAGIC))
        syntax = _read_meta_group(file, end)
        if syntax is None:
            return False
        return syntax == _DEFLATED or _is_data_set_whole(file, end, syntax)


def _read_meta_group(file: BinaryIO, end: int) -> Optional[str]:
    """The transfer syntax, with ``file`` left at the data set; None where the group is damaged."""
    syntax = ""
    while True:
        start = file.tell()
        element = _read_element(file, "<", explicit=True)
        if element is None or element[0][0] != _META_GROUP:
            file.seek(start)
            return syntax or None
        tag, _, length = element
        if file.tell() + length > end:
            return None
        value = file.read(length)
        if tag == _TRANSFER_SYNTAX:
            syntax = value.rstrip(b"\0 ").decode("ascii", "replace")


def _is_data_set_whole(file: BinaryIO, end: int, syntax: str) -> bool:
    order = ">" if syntax == _BIG_ENDIAN else "<"
    in_pixel_data = False
    while file.tell() < end:
        element = _read_element(file, order, explicit=syntax != _IMPLICIT)
        if element is None:
            return False
        tag, representation, length = element
        if tag[0] == _ITEM_GROUP and not in_pixel_data:
            # What lies in an item is looked at as what lies outside: its elements follow one another all the same.
            if length != _UNDEFINED and file.tell() + length > end:
                return False
        elif length == _UNDEFINED:
            in_pixel_data = tag == _PIXEL_DATA
            if representation == b"UN":
                return True  # What follows is written in another way (PS3.5, 6.2.2), which GDCM knows.
        elif file.tell() + length > end:
            return False
        elif representation != b"SQ":
            file.seek(length, os.SEEK_CUR)
    return True


def _read_element(file: BinaryIO, order: str, explicit: bool) -> Optional[Tuple[Tuple[int, int], bytes, int]]:
    """Tag, value representation (b"" if implicit) and length, with ``file`` left at the value; None if damaged."""
    head = file.read(8)
    if len(head) < 8:
        return None
    tag = struct.unpack(order + "HH", head[:4])
    if not explicit or tag[0] == _ITEM_GROUP:
        return tag, b"", struct.unpack(order + "I", head[4:])[0]
    representation = head[4:6]
    if not (representation.isalpha() and representation.isupper()):
        return None
    if representation not in _LONG:
        return tag, representation, struct.unpack(order + "H", head[6:])[0]
    length = file.read(4)
    return (tag, representation, struct.unpack(order + "I", length)[0]) if len(length) == 4 else None
