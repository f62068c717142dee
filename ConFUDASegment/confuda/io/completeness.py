"""Whether a file holds, undamaged, the voxels that its header promises: ITK does not ask in all formats."""

import gzip
import re
import zlib
from pathlib import Path
from typing import BinaryIO

from confuda.io.nifti_header import find_pair, read_nifti_header

_CHUNK_BYTES = 1 << 22
_HEADER_BYTES = 1 << 16


def is_packed(path: Path) -> bool:
    """Whether a file is gzip-compressed, told by its first bytes and not by its name; False where it is missing."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError:
        return False


def has_all_voxels(path: Path) -> bool:
    """Whether nothing is missing, and every check sum right, where the format lets one tell.

    A NIfTI or Analyze file that was cut off ITK fills with what lies in memory; of compressed MetaImage and NRRD it
    does not look at the check sum. Uncompressed files have no check sum.
    """
    try:
        header = read_nifti_header(path)
        if header is None:
            return _is_stream_whole(path)
        voxels = find_pair(path)[1]
        return (_count_unpacked(voxels) if is_packed(voxels) else voxels.stat().st_size) >= header.voxel_bytes
    except (OSError, EOFError, zlib.error, ValueError, OverflowError):
        return False


def _count_unpacked(path: Path) -> int:
    """Length in bytes of what a gzip file holds; reading to its end compares the check sum as well."""
    total = 0
    with gzip.open(path) as stream:
        chunk = stream.read(_CHUNK_BYTES)
        while chunk:
            total += len(chunk)
            chunk = stream.read(_CHUNK_BYTES)
    return total


def _is_stream_whole(path: Path) -> bool:
    """Whether the voxels of a MetaImage or NRRD file, where they are compressed, can be unpacked and sum up."""
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
        if header.startswith(b"NRRD"):
            fields, end, _ = header.partition(b"\n\n")
            packed = re.search(rb"^encoding:\s*(gzip|gz)\s*$", fields, re.MULTILINE)
            elsewhere = re.search(rb"^(data ?file|line skip|byte skip)\s*:", fields, re.MULTILINE)
            if not end or not packed or elsewhere:
                return True
            return _is_deflated_whole(file, len(fields) + len(end), 31)
        packed = re.search(rb"^CompressedData\s*=\s*True", header, re.MULTILINE | re.IGNORECASE)
        local = re.search(rb"^ElementDataFile\s*=\s*LOCAL[ \t]*\r?\n", header, re.MULTILINE | re.IGNORECASE)
        if not packed or not local:
            return True
        return _is_deflated_whole(file, local.end(), 15)


def _is_deflated_whole(file: BinaryIO, start: int, window_bits: int) -> bool:
    """Unpack from ``start`` to the end of the stream; ``window_bits`` as for zlib, 31 for gzip and 15 for zlib."""
    file.seek(start)
    unpacker = zlib.decompressobj(window_bits)
    while not unpacker.eof:
        packed = unpacker.unconsumed_tail or file.read(_CHUNK_BYTES)
        if not packed:
            return False
        unpacker.decompress(packed, _CHUNK_BYTES)
    return True
