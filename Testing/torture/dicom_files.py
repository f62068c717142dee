"""DICOM series of the bundled sample, as a scanner's export is, and what goes wrong with such exports."""

from pathlib import Path
from typing import Callable, Dict, List, Optional

import numpy as np
import SimpleITK as sitk
from Testing.torture.distortions import Geometry, leave, read_sample
from Testing.torture.volume_files import Write

Edit = Callable[[int, sitk.Image, Dict[str, str]], Optional[sitk.Image]]
"""Changes a slice (number, image, DICOM tags) before it is written; may give another image in its place."""


def write_dicom(
    name: str = "series",
    edit: Optional[Edit] = None,
    spoil: Optional[Callable[[Path], None]] = None,
    geometry: Geometry = leave,
) -> Write:
    """Writes the sample as a DICOM series, file by file as a scanner's export is; ``spoil`` then harms the folder."""

    def write(folder: Path) -> Path:
        series = folder / name
        series.mkdir(parents=True)
        write_dicom_files(geometry(read_sample()), series, "1.2.826.0.1.3680043.9.1", edit)
        if spoil is not None:
            spoil(series)
        return series

    return write


def write_dicom_files(image: sitk.Image, folder: Path, uid: str, edit: Optional[Edit] = None) -> List[Path]:
    """One file a slice, named against the order of places, with a patient's name in it."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    count = image.GetDepth()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for number in range(count):
        plane: sitk.Image = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        tags = {
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0010|0020": "PATIENT-4711",
            "0018|0050": f"{image.GetSpacing()[2]:g}",
            "0020|000d": f"{uid}.0",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in place),
            "0020|0037": "\\".join(f"{direction[row, column]:.6f}" for column in (0, 1) for row in range(3)),
        }
        if edit is not None:
            plane = edit(number, plane, tags) or plane
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        path = folder / f"{uid}-{count - number:03d}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(plane)
        paths.append(path)
    return paths


def list_files(folder: Path) -> List[Path]:
    return sorted(folder.iterdir())


def remove_file(number: int) -> Callable[[Path], None]:
    return lambda folder: list_files(folder)[number].unlink()


def cut_file(number: int, share: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = list_files(folder)[number]
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return spoil


def claim_length(number: int) -> Callable[[Path], None]:
    """An element of one file is said to have 4 GB."""

    def spoil(folder: Path) -> None:
        path = list_files(folder)[number]
        content = path.read_bytes()
        place = content.rindex(b"\xe0\x7f\x10\x00") + 4
        # With a value representation of two letters, two reserved bytes stand before the length.
        place += 4 if content[place : place + 2].isalpha() else 0
        path.write_bytes(content[:place] + b"\xf0\xff\xff\xff" + content[place + 4 :])

    return spoil


def add_series(folder: Path) -> None:
    write_dicom_files(read_sample(), folder, "1.2.826.0.1.3680043.9.2")


def add_strangers(folder: Path) -> None:
    """A letter, a thumbnail and a sub-folder: what lies about in exports."""
    (folder / "letter.txt").write_text("no image")
    (folder / "Thumbs.db").write_bytes(bytes(500))
    (folder / "more").mkdir()


def widen_pixels(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    if number >= 4:
        plane.SetSpacing([2 * x for x in plane.GetSpacing()])


def turn_slice(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    if number == 3:
        tags["0020|0037"] = "0\\1\\0\\-1\\0\\0"


def halve_slice(number: int, plane: sitk.Image, tags: Dict[str, str]) -> Optional[sitk.Image]:
    return sitk.Shrink(plane, [2, 2]) if number == 3 else None


def lose_place(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    tags["0020|0032"] = "nan\\nan\\nan"


def space_unevenly(number: int, plane: sitk.Image, tags: Dict[str, str]) -> None:
    if number == 3:
        x, y, z = tags["0020|0032"].split("\\")
        tags["0020|0032"] = f"{x}\\{y}\\{float(z) + 0.4:.6f}"
