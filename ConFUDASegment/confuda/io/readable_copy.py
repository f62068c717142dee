"""Files that SimpleITK misreads because of how they are named or packed, as a copy that it reads rightly."""

import bz2
import gzip
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Optional

from confuda.errors import InputError
from confuda.io.completeness import is_packed

_BZIP2 = re.compile(rb"^encoding:[ \t]*(bzip2|bz2)[ \t]*\r?$", re.MULTILINE)
_DETACHED = re.compile(rb"^data ?file:", re.MULTILINE | re.IGNORECASE)


@contextmanager
def make_readable(path: Path) -> Iterator[Path]:
    """``path``, or a copy in a folder of its own that lasts as long as the context.

    Raises:
        InputError: if the file cannot be opened or unpacked.
    """
    convert = _find_conversion(path)
    if convert is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="confuda-") as folder:
        try:
            copied = convert(path, Path(folder))
        except (EOFError, ValueError) as error:
            raise InputError(f"{path} is damaged or incomplete: copy or export it again.") from error
        except OSError as error:
            if error.strerror is None:  # What bz2 and gzip raise for bytes that are not in their format.
                raise InputError(f"{path} is damaged or incomplete: copy or export it again.") from error
            raise InputError(f"{path} cannot be opened: {error.strerror}.") from error
        yield copied


def _find_conversion(path: Path) -> Optional[Callable[[Path, Path], Path]]:
    name = path.name.lower()
    if name.endswith(".nii.gz") and os.path.exists(path.with_name(path.name[:-3])):
        # Where NAME.nii lies beside NAME.nii.gz, ITK takes the header of the second and the voxels of the first.
        return _copy_packed
    if name.endswith(".nii") and is_packed(path):
        return _copy_packed
    if name.endswith((".nrrd", ".nhdr")) and _BZIP2.search(_read_nrrd_header(path)):
        return _unpack_bzip2
    return None


def _copy_packed(path: Path, folder: Path) -> Path:
    return Path(shutil.copyfile(path, folder / "volume.nii.gz"))


def _read_nrrd_header(path: Path) -> bytes:
    """Up to the empty line, which is left out; nothing where the file is no NRRD with its voxels in it."""
    try:
        with open(path, "rb") as file:
            start = file.read(1 << 16)
    except OSError:
        return b""
    header, end, _ = start.partition(b"\n\n")
    return header if start.startswith(b"NRRD") and end and not _DETACHED.search(header) else b""


def _unpack_bzip2(path: Path, folder: Path) -> Path:
    """The same NRRD with gzip, which ITK's reader has while it lacks bzip2."""
    header = _read_nrrd_header(path)
    copied = folder / "volume.nrrd"
    with open(path, "rb") as file, open(copied, "wb") as target:
        file.seek(len(header) + 2)
        target.write(_BZIP2.sub(b"encoding: gzip", header) + b"\n\n")
        with bz2.open(file) as packed, gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1) as renewed:
            shutil.copyfileobj(packed, renewed)
    return copied
