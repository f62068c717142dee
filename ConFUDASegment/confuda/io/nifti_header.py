"""What a NIfTI or Analyze header says, as far as SimpleITK does not tell it or corrects it silently."""

import gzip
import os
import struct
import zlib
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from confuda.io.file_name import NIFTI_ENDINGS, PAIR_ENDINGS

_PAIR_ENDINGS = (*PAIR_ENDINGS, *(f"{ending}.gz" for ending in PAIR_ENDINGS))
_ENDINGS = (*NIFTI_ENDINGS, *_PAIR_ENDINGS)

HEADER_BYTES = 348
NIFTI_2_BYTES = 540

SCALE_DIFFERENCE = 0.01
"""Voxel sizes that differ by more than this share are two different ones."""

SAME_DIRECTION = 0.9
"""Two axes whose directions have a smaller dot product than this (25 degrees) are not the same."""


class NiftiHeader(NamedTuple):
    """shape: of the voxels, all axes; bits: of a voxel; offset: of the first voxel in its file, bytes; spacing_mm: the
    three pixdims; qform, sform: (3, 3) from voxel indices to mm (RAS), None where the header has none."""

    shape: Tuple[int, ...]
    bits: int
    offset: float
    spacing_mm: Tuple[float, float, float]
    qform: Optional[np.ndarray]
    sform: Optional[np.ndarray]

    @property
    def voxel_bytes(self) -> float:
        """How long the file of the voxels has to be."""
        start = int(self.offset) if np.isfinite(self.offset) else 0
        return start + float(np.prod(np.array(self.shape, dtype=float))) * self.bits / 8


def is_nifti_name(path: Path) -> bool:
    """Whether the name has an ending of NIfTI or Analyze."""
    return path.name.lower().endswith(_ENDINGS)


def is_nifti_2(path: Path) -> bool:
    """Whether the file is NIfTI-2, which SimpleITK does not read."""
    return _find_order(_read_start(path), NIFTI_2_BYTES) is not None


def find_pair(path: Path) -> Tuple[Path, Path]:
    """The files of header and voxels: one and the same, or the two of a pair."""
    for ending in _PAIR_ENDINGS:
        if path.name.lower().endswith(ending):
            stem = path.name[: -len(ending)]
            return _find_partner(path, stem, "hdr"), _find_partner(path, stem, "img")
    return path, path


def read_nifti_header(path: Path) -> Optional[NiftiHeader]:
    """The header of a NIfTI-1 or Analyze file, or of the pair that ``path`` is one of; None where there is none."""
    if not is_nifti_name(path):
        return None
    start = _read_start(find_pair(path)[0])
    order = _find_order(start, HEADER_BYTES)
    if order is None or len(start) < HEADER_BYTES:
        return None
    dimensions = struct.unpack_from(order + "8h", start, 40)
    pixdim = struct.unpack_from(order + "8f", start, 76)
    qform_code, sform_code = struct.unpack_from(order + "2h", start, 252)
    is_nifti = start[344:347] in (b"n+1", b"ni1")
    qform = sform = None
    if is_nifti and qform_code > 0 and np.isfinite(pixdim[:4]).all():
        qform = _rotate(struct.unpack_from(order + "3f", start, 256)) * np.abs(pixdim[1:4])
        qform[:, 2] *= -1 if pixdim[0] < 0 else 1
    if is_nifti and sform_code > 0:
        sform = np.array(struct.unpack_from(order + "12f", start, 280)).reshape(3, 4)[:, :3]
    return NiftiHeader(
        shape=tuple(max(1, size) for size in dimensions[1 : 1 + max(0, min(7, dimensions[0]))]),
        bits=struct.unpack_from(order + "h", start, 72)[0],
        offset=struct.unpack_from(order + "f", start, 108)[0],
        spacing_mm=pixdim[1:4],
        qform=qform,
        sform=sform,
    )


def measure_shear(matrix: np.ndarray) -> float:
    """The largest dot product of two different axes' directions; infinite where an axis has none."""
    lengths = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(matrix).all() or lengths.min() <= 0:
        return float("inf")
    unit = matrix / lengths
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def compare_forms(header: NiftiHeader) -> List[str]:
    """Warnings where the header contradicts itself: SimpleITK takes one of its statements, and says nothing.

    A sform of unit scale is how some data sets (ACDC) are distributed; the pixdims are right there.
    """
    warnings = []
    stated = np.abs(header.spacing_mm)
    if header.sform is not None and np.isfinite(header.sform).all():
        scale = np.linalg.norm(header.sform, axis=0)
        is_unit = bool((np.abs(scale - 1) < 1e-3).all())
        if not is_unit and (np.abs(scale - stated) > SCALE_DIFFERENCE * stated).any():
            warnings.append(
                f"The header states voxels of {_format(stated)} mm and, in its sform, of {_format(scale)} mm: the "
                "first is taken, and volumes in mL depend on it."
            )
        if header.qform is not None and scale.min() > 0 and stated.min() > 0:
            along = ((header.sform / scale) * (header.qform / np.linalg.norm(header.qform, axis=0))).sum(axis=0)
            if along.min() < SAME_DIRECTION:
                warnings.append(
                    "The header's sform and qform disagree in direction (flipped or turned): look whether the "
                    "segmentation lies on the image in your other programs."
                )
    return warnings


def _find_partner(path: Path, stem: str, kind: str) -> Path:
    """NAME.hdr or NAME.img, packed or not, with the letters' case as it is there."""
    wanted = {f"{stem}.{kind}".lower(), f"{stem}.{kind}.gz".lower()}
    if path.name.lower() in wanted:
        return path
    try:
        names = sorted(name for name in os.listdir(path.parent) if name.lower() in wanted)
    except OSError:
        names = []
    return path.with_name(names[0] if names else f"{stem}.{kind}")


def _read_start(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            return file.read(NIFTI_2_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _find_order(start: bytes, size: int) -> Optional[str]:
    """The byte order in which the header states its own ``size``, None where it does not."""
    for order in "<>":
        if len(start) >= 4 and struct.unpack_from(order + "i", start)[0] == size:
            return order
    return None


def _rotate(quaternion: Tuple[float, ...]) -> np.ndarray:
    """The rotation of NIfTI's (b, c, d); a is what makes its length one."""
    b, c, d = quaternion
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _format(lengths: np.ndarray) -> str:
    return " x ".join(f"{length:.4g}" for length in lengths)
