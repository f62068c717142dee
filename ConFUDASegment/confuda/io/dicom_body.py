"""The patient's height and weight where DICOM tells them; nothing else about the patient is read."""

from pathlib import Path
from typing import NamedTuple, Optional, Union

from confuda.io.dicom_file import get_number, read_header
from confuda.io.dicom_folder import find_source


class BodySize(NamedTuple):
    """None where the files do not tell."""

    height_cm: Optional[float]
    weight_kg: Optional[float]


def read_body_size(path: Union[str, Path], series: Optional[int] = None) -> BodySize:
    """Patient's Size and Patient's Weight of the images in a DICOM folder, file or DICOMDIR.

    series: as for :func:`confuda.io.volume_file.read_volume`.

    Raises:
        UsageError: if pydicom is not installed. InputError: if ``path`` holds no usable images.
    """
    header = read_header(find_source(Path(path), series, prefer_cine=True).stack.first.path)
    metres, kilograms = (get_number(header, keyword) for keyword in ("PatientSize", "PatientWeight"))
    # Scanners write 0 where nobody entered anything.
    return BodySize(100 * metres if metres else None, kilograms if kilograms else None)
