"""Whether a file holds, undamaged, the voxels that its header promises: ITK does not ask in all formats."""

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Optional, Tuple

import numpy as np
import SimpleITK as sitk

_CHUNK_BYTES = 1 << 22
_HEADER_BYTES = 1 << 16
_NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")


def is_packed(path: Path) -> bool:
    """Whether a file is gzip-compressed, told by its first bytes and not by its name, as ITK does."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def has_all_voxels(path: Path, reader: sitk.ImageFileReader) -> bool:
    """Whether nothing is missing, and every check sum right, where the format lets one tell.

    A NIfTI file that was cut off ITK fills with what lies in memory; of compressed MetaImage and NRRD it does not look
    at the check sum. ``reader`` has read the file's information. Uncompressed files have no check sum.
    """
    try:
        if path.name.lower().endswith(_NIFTI_ENDINGS) and reader.HasMetaDataKey("bitpix"):
            return _has_nifti_voxels(path, reader)
        return _is_stream_whole(path)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError):
        return False


def find_nifti_spacing(path: Path) -> Optional[Tuple[float, ...]]:
    """The three voxel spacings as a NIfTI header states them, None in another format.

    What ITK cannot use (zero, NaN) it takes for 1 mm, and says nothing.
    """
    if not path.name.lower().endswith(_NIFTI_ENDINGS):
        return None
    try:
        with gzip.open(path) if is_packed(path) else open(path, "rb") as file:
            header = file.read(136)
    except (OSError, EOFError, zlib.error):
        return None
    for order in "<>":
        if len(header) == 136 and struct.unpack_from(order + "i", header)[0] == 348:
            return struct.unpack_from(order + "3f", header, 80)
        if len(header) == 136 and struct.unpack_from(order + "i", header)[0] == 540:
            return struct.unpack_from(order + "3d", header, 112)
    return None


def _has_nifti_voxels(path: Path, reader: sitk.ImageFileReader) -> bool:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return True  # The voxels of a pair of files are elsewhere.
    offset, bits = float(reader.GetMetaData("vox_offset")), int(reader.GetMetaData("bitpix"))
    needed = (int(offset) if math.isfinite(offset) else 0) + int(np.prod(reader.GetSize())) * bits // 8
    if not is_packed(path):
        return path.stat().st_size >= needed
    return _count_unpacked(path) >= needed


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
