"""Lengths inside a DICOM file are checked before GDCM believes them."""

import struct

import pytest

from confuda.io.dicom_structure import is_dicom_whole

EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"
UNDEFINED = 0xFFFFFFFF


def element(group, number, kind, value, length=None):
    """An element in explicit little endian; ``length`` claims another length than the value's."""
    length = len(value) if length is None else length
    head = struct.pack("<HH", group, number) + kind
    long = kind in (b"OW", b"OB", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HI", 0, length) if long else struct.pack("<H", length)) + value


def item(value, length=None, number=0xE000):
    return struct.pack("<HHI", 0xFFFE, number, len(value) if length is None else length) + value


def plain(group, number, value, length=None):
    """An element in implicit little endian."""
    return struct.pack("<HHI", group, number, len(value) if length is None else length) + value


def write(path, data_set, syntax=EXPLICIT):
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    path.write_bytes(bytes(128) + b"DICM" + element(2, 0x10, b"UI", uid) + data_set)
    return path


NAME = element(0x10, 0x10, b"PN", b"Doe^Jane")
NESTED = element(0x8, 0x1140, b"SQ", item(NAME, UNDEFINED) + item(b"", 0, 0xE00D) + item(b"", 0, 0xE0DD), UNDEFINED)
SIZED = element(0x8, 0x1140, b"SQ", item(NAME))
PIXELS = element(0x7FE0, 0x10, b"OW", bytes(64))
PACKED = element(0x7FE0, 0x10, b"OB", item(b"") + item(bytes(30)) + item(b"", 0, 0xE0DD), UNDEFINED)


@pytest.mark.parametrize(
    "data_set, syntax",
    [
        (NAME + PIXELS, EXPLICIT),
        (NESTED + NAME + PIXELS, EXPLICIT),
        (SIZED + PIXELS, EXPLICIT),
        (NAME + PACKED, JPEG),
        (plain(0x10, 0x10, b"Doe^Jane") + plain(0x7FE0, 0x10, bytes(64)), IMPLICIT),
    ],
)
def test_whole_files_are_whole_and_cut_ones_are_not(tmp_path, data_set, syntax) -> None:
    path = write(tmp_path / "a.dcm", data_set, syntax)
    assert is_dicom_whole(path)
    path.write_bytes(path.read_bytes()[:-5])
    assert not is_dicom_whole(path)


@pytest.mark.parametrize(
    "data_set",
    [
        element(0x10, 0x10, b"PN", b"Doe^Jane", 60000) + PIXELS,
        element(0x7FE0, 0x10, b"OW", bytes(64), 0xFFFFFFF0),
        element(0x8, 0x1140, b"SQ", item(element(0x10, 0x10, b"UT", b"", 0x7FFFFFFF))) + PIXELS,
        NAME + struct.pack("<HH", 0x10, 0x20) + b"p?" + PIXELS,
    ],
)
def test_lengths_beyond_the_file_are_noticed_at_every_depth(tmp_path, data_set) -> None:
    assert not is_dicom_whole(write(tmp_path / "a.dcm", data_set))


def test_other_files_are_not_judged(tmp_path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all")
    assert is_dicom_whole(tmp_path / "letter.txt")
    assert is_dicom_whole(write(tmp_path / "deflated.dcm", b"\x01\x02\x03", "1.2.840.10008.1.2.1.99"))
