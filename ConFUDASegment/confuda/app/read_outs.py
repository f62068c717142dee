"""The files that tell what a job has measured in its segmentation: the wall, scar, and function.

They lie beside the segmentation ``NAME``: ``NAME-wall`` with AHA's segments, ``NAME-wall.png`` and ``NAME-scar.png``
with bull's eyes, ``NAME-function.png`` with the volumes of a cine. Pictures need matplotlib: without it, as in Slicer,
there are none.
"""

import colorsys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, Mapping

import SimpleITK as sitk

from confuda.app.job import Job
from confuda.errors import InputError
from confuda.io.atomic import replace_file, write_text
from confuda.io.file_name import LABEL_ENDINGS, SEQUENCE_ENDING, SLICER_ENDING, find_ending
from confuda.io.segmentation_file import name_beside, write_segments
from confuda.labels import MYO, Structure
from confuda.measure.aha_segments import SEGMENT_NAMES
from confuda.measure.read_outs import ReadOuts
from confuda.report.figures import render_figure
from confuda.report.read_outs import draw_figures
from confuda.report.tables import write_case_csv


def write_read_outs(job: Job, found: ReadOuts, label_map: sitk.Image, summary: Dict[str, Any]) -> None:
    """Put what was measured into ``summary``, and write its files, with the pictures and the table of the case.

    Raises:
        InputError: if one of them cannot be written.
    """
    output = Path(job.output)
    summary.update(found.describe(job.wall, job.scar))
    if found.wall is not None:
        place = name_beside(output, "wall", choose_ending_beside(output))
        write_segments(found.wall.make_labelmap(label_map), place, make_wall_segments())
        summary["wall"]["label_map"] = str(place)
    _write_figures(output, summary)
    if job.csv is not None:
        try:
            write_text(Path(job.csv), write_case_csv(summary))
        except OSError as error:
            raise InputError(f"Cannot write {job.csv}: {error.strerror or error}.") from error


def make_wall_segments() -> List[Structure]:
    """AHA's segments as files and Slicer show them: around the wall the hue changes, towards the apex they darken."""
    segments = []
    for number, name in SEGMENT_NAMES.items():
        level, place, count = (
            (0, number - 1, 6) if number <= 6 else (1, number - 7, 6) if number <= 12 else (2, number - 13, 4)
        )
        hue, saturation = (place / count, 0.65) if number < 17 else (0.0, 0.0)
        red, green, blue = (
            round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, 1.0 - 0.22 * level)
        )
        segments.append(
            Structure(
                f"AHA-{number}",
                number,
                f"{number} {name}",
                (red, green, blue),
                MYO.code,
                MYO.terminology,
                MYO.display_name,
            )
        )
    return segments


def choose_ending_beside(output: Path) -> str:
    """Of what lies beside the output: the output's own, or Slicer's beside DICOM; that of one frame beside a cine."""
    if find_ending(output.name, [SEQUENCE_ENDING]):
        return ".nrrd"
    return find_ending(output.name, LABEL_ENDINGS) or SLICER_ENDING


def _write_figures(output: Path, summary: Mapping[str, Any]) -> None:
    if find_spec("matplotlib") is None:
        return
    for name, figure in draw_figures(summary).items():
        path = name_beside(output, name, ".png")
        try:
            with replace_file(path) as draft:
                draft.write_bytes(render_figure(figure, ".png"))
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
        summary[name]["figure"] = str(path)
