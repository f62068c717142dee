"""Volumes as files: the distorted sample, odd and damaged files, edited headers. What writes one gives its path."""

import gzip
import os
import re
import struct
from pathlib import Path
from typing import Callable, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
from Testing.torture.distortions import Geometry, Paint, copy_grid, leave, read_sample
from Testing.torture.non_hearts import make_non_heart

Write = Callable[[Path], Path]
"""Writes a volume into a folder and gives its path."""


def write_distorted(name: str, geometry: Geometry = leave, paint: Optional[Paint] = None) -> Write:
    """Writes the distorted sample as the file ``name``."""

    def write(folder: Path) -> Path:
        image = read_sample()
        if paint is not None:
            image = copy_grid(paint(sitk.GetArrayFromImage(image)), image)
        return write_image(geometry(image), folder / name)

    return write


def write_image(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # By way of a plain name: what is tested is reading.
    endings = [ending for ending in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm") if path.name.endswith(ending)]
    plain = path.parent / f"plain{endings[0]}"
    sitk.WriteImage(image, str(plain))
    if plain != path:
        os.replace(plain, path)
    return path


def write_array(name: str, voxels: np.ndarray, spacing_mm: Sequence[float] = (1.4, 1.4, 8.0)) -> Write:
    def write(folder: Path) -> Path:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(list(spacing_mm)[: image.GetDimension()])
        return write_image(image, folder / name)

    return write


def write_bytes(name: str, content: bytes) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def write_vector(name: str, kind: str) -> Write:
    """Colour ("rgb", "rgba"), complex numbers ("complex") or frames of a cine ("cine", "single")."""

    def write(folder: Path) -> Path:
        grey = sitk.Cast(read_sample(), sitk.sitkFloat32)
        images = {
            "rgb": lambda: sitk.Cast(sitk.Compose([grey] * 3), sitk.sitkVectorUInt8),
            "rgba": lambda: sitk.Cast(sitk.Compose([grey] * 4), sitk.sitkVectorUInt8),
            "complex": lambda: sitk.RealAndImaginaryToComplex(grey, grey),
            "cine": lambda: sitk.JoinSeries([grey] * 3),
            "single": lambda: sitk.JoinSeries([grey]),
        }
        return write_image(images[kind](), folder / name)

    return write


def write_non_heart(name: str, seed: int = 100) -> Write:
    return lambda folder: write_image(make_non_heart(name, seed), folder / f"{name}.nrrd")


def cut_off(write: Write, share: float) -> Write:
    """Only the first ``share`` of the file."""

    def cut(folder: Path) -> Path:
        path = write(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return cut


def flip_bits(write: Write, count: int = 5, begin: float = 0.5) -> Write:
    """``count`` flipped bits in the part of the file behind the share ``begin``."""

    def flip(folder: Path) -> Path:
        path = write(folder)
        content = bytearray(path.read_bytes())
        for place in np.random.default_rng(0).integers(int(begin * len(content)), len(content), count):
            content[place] ^= 1 << int(place % 8)
        path.write_bytes(content)
        return path

    return flip


def edit_nifti(*edits: Tuple[str, int, Tuple[float, ...]]) -> Write:
    """The sample as .nii with header fields overwritten: struct format, offset, values."""

    def write(folder: Path) -> Path:
        path = write_image(read_sample(), folder / "header.nii")
        content = bytearray(path.read_bytes())
        for kind, offset, values in edits:
            struct.pack_into("<" + kind, content, offset, *values)
        path.write_bytes(content)
        return path

    return write


def edit_text_header(name: str, *replacements: Tuple[str, str]) -> Write:
    """The sample, uncompressed, as .nrrd or .mha, with lines of the header replaced (by regular expression)."""

    def write(folder: Path) -> Path:
        path = folder / name
        sitk.WriteImage(read_sample(), str(path), False)
        content = path.read_bytes()
        end = content.index(b"\n\n") if name.endswith("nrrd") else content.index(b"LOCAL") + 5
        header = content[:end].decode("latin-1")
        for pattern, replacement in replacements:
            header, count = re.subn(pattern, replacement, header, flags=re.MULTILINE)
            if not count:
                raise ValueError(f"The header of {name} has no {pattern}.")
        path.write_bytes(header.encode("latin-1") + content[end:])
        return path

    return write


def write_gzip_bomb(folder: Path) -> Path:
    """40 GB of zeros that a header promises and 4 MB unpack to."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 4096, 4096, 1200, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<4f", header, 76, 1.0, 0.1, 0.1, 8.0)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    path = folder / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes(header))
        for _ in range(1000):
            file.write(bytes(1 << 20))
    # As large as gzip could make the file that holds it all: its length gives nothing away.
    with open(path, "ab") as file:
        file.truncate(40_500_000)
    return path


def make_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.nii.gz")
    return folder / "pipe.nii.gz"


def write_packed(name: str) -> Write:
    def write(folder: Path) -> Path:
        sitk.WriteImage(read_sample(), str(folder / name), not name.endswith(".nii"))
        return folder / name

    return write
