"""One case of a cohort: adapt and segment, draw its picture, write its record. What a Dask worker runs."""

import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from confuda.cohort.failure import hide_parts, tell_no_names
from confuda.cohort.record import DONE, FAILED, CaseFiles, write_record
from confuda.cohort.volumes import CohortVolume, list_files
from confuda.errors import ConfudaError, MemoryExhausted, explain_memory_errors
from confuda.io.atomic import replace_file
from confuda.io.volume_file import may_be_dicom
from confuda.privacy import hide_paths

if TYPE_CHECKING:
    import SimpleITK as sitk

    from confuda.segmenter import Segmenter

STAGE_PREFIX = "confuda-series-"
PICTURE_SLICES = 6
PICTURE_WIDTH = 600
"""Pixels; a sheet of two hundred cases takes about 30 MB."""


@dataclass(repr=False)
class CaseTask:
    """What a worker needs to know of a case; it travels as a pickle between our own processes.

    number: of the case in the study, which is all that may be told of it: Dask writes a task's ``repr`` into its logs.
    threads: CPU threads to use. bundle: its folder, None for the shipped one. adaptation: arguments of
    :meth:`confuda.Segmenter.adapt_and_segment` by name. dicom_seg: whether a DICOM volume gets a DICOM SEG as well.
    frames: "all" or "ed,es" of cines, None for volumes; wall, scar: as :mod:`confuda.measure.read_outs` takes them.
    """

    volume: CohortVolume
    files: CaseFiles
    key: str
    threads: int
    bundle: Optional[Path] = None
    device: str = "auto"
    adaptation: Dict[str, Any] = field(default_factory=dict)
    dicom_seg: bool = False
    frames: Optional[str] = None
    wall: bool = False
    scar: Optional[str] = None
    number: int = 0

    def __repr__(self) -> str:
        return f"CaseTask(number={self.number})"

    @property
    def writes_dicom_seg(self) -> bool:
        return self.dicom_seg and (bool(self.volume.series) or may_be_dicom(self.volume.path))


def run_case(task: CaseTask) -> Dict[str, Any]:
    """Do the case and return its record, which is written to the disk last.

    A volume that cannot be used gives a record that says so. Errors that may not come again (memory, and all that is
    not foreseen, as CaseFailure) are raised without names, for Dask to try again.
    """
    with tell_no_names(lambda text: hide_parts(hide_names(text, task), task.volume.relative)):
        return _run(task)


def _run(task: CaseTask) -> Dict[str, Any]:
    began = time.monotonic()
    use_threads(task.threads)
    # What an earlier volume or setting left must not look like this run's result; the record goes first.
    files = task.files
    for path in (files.record, files.picture, files.segmentation, files.dicom_seg, files.cine):
        path.unlink(missing_ok=True)
    record: Dict[str, Any] = {"key": task.key, "name": task.volume.name, "volume": task.volume.relative}
    try:
        summary, pictured = _segment(task)
    except MemoryExhausted:
        raise
    except ConfudaError as error:
        record.update(status=FAILED, reason=hide_names(str(error), task), summary={})
    else:
        summary["warnings"] = [hide_names(text, task) for text in summary["warnings"]]
        record.update(
            status=DONE,
            reason="",
            summary=summary,
            has_picture=pictured,
            has_dicom_seg=task.writes_dicom_seg,
            segmentation_bytes=task.files.segmentation.stat().st_size,
        )
    record["seconds"] = round(time.monotonic() - began, 2)
    write_record(task.files.record, record)
    return record


def use_threads(threads: int) -> None:
    """Hold torch and SimpleITK to ``threads`` CPU threads in this thread of this process."""
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def hide_names(text: str, task: CaseTask) -> str:
    """``text`` without the names of the case's files and folders, which may be a patient's."""
    try:
        files = list_files(task.volume)
    except OSError:  # The volume is gone, which is what the text says.
        files = []
    staged = re.escape(os.path.join(tempfile.gettempdir(), STAGE_PREFIX)) + r"[^\s/\\]*([/\\]\d+\.dcm)?"
    text = re.sub(staged, "the volume", text)
    for path in [*files, task.volume.path]:
        text = text.replace(str(path), "the volume")
    text = text.replace(str(task.files.segmentation), "the segmentation")
    text = text.replace(str(task.files.dicom_seg), "the DICOM SEG")
    text = text.replace(str(task.files.segmentation.parent), "of the segmentations")
    text = hide_paths(text)
    return text[:1].upper() + text[1:]


def _segment(task: CaseTask) -> Tuple[Dict[str, Any], bool]:
    from confuda.bundle.format import load_bundle
    from confuda.io.dicom_segmentation import check_dicom_output, write_dicom_segmentation
    from confuda.io.segmentation_file import write_segmentation
    from confuda.io.volume_file import read_volume
    from confuda.measure.read_outs import measure_read_outs
    from confuda.segmenter import Segmenter

    with stage_volume(task.volume) as path, explain_memory_errors():
        series = task.volume.number
        mended = check_dicom_output(path, task.files.dicom_seg, series=series) if task.writes_dicom_seg else []
        segmenter = Segmenter(load_bundle(task.bundle), task.device)
        if task.frames is not None:
            summary, image, label_map = _segment_cine(task, segmenter, path)
        else:
            result = segmenter.adapt_and_segment(read_volume(path, series=series), **task.adaptation)
            summary, image, label_map = result.summarise(), result.look.volume.image, result.label_map
        found = measure_read_outs(image, label_map, task.wall, task.scar)
        scar = found.scar.make_labelmap(label_map) if found.scar is not None else None
        write_segmentation(label_map, task.files.segmentation, scar=scar)
        if task.writes_dicom_seg:
            write_dicom_segmentation(label_map, path, task.files.dicom_seg, series=series)
        pictured = _draw_picture(image, label_map, task.files)
    summary.update(found.describe(task.wall, task.scar))
    summary["warnings"] = [*mended, *summary["warnings"], *found.warnings]
    return summary, pictured


def _segment_cine(
    task: CaseTask, segmenter: "Segmenter", path: Path
) -> Tuple[Dict[str, Any], "sitk.Image", "sitk.Image"]:
    """Summary, image and labels at end-diastole; the labels of all frames are written beside those of this one."""
    from confuda.cine import segment_cine
    from confuda.imaging.volume import Volume
    from confuda.io.cine_file import write_cine_labels
    from confuda.io.volume_file import read_cine

    cine = read_cine(path, series=task.volume.number)
    frames = [Volume.from_checked(image, () if number else cine.warnings) for number, image in enumerate(cine.frames)]
    how = {name: value for name, value in task.adaptation.items() if name != "slice"}
    result = segment_cine(segmenter, frames, task.frames or "", **how)
    times_ms = [cine.times_ms[number] for number in result.frames] if cine.times_ms is not None else None
    write_cine_labels(result.label_maps, task.files.cine, times_ms)
    return result.summarise(), cine.frames[result.ed_frame], result.ed_label_map


@contextmanager
def stage_volume(volume: CohortVolume) -> Iterator[Path]:
    """The path to read the volume from, as its series ``volume.number``; one of several series in a folder gets a
    temporary folder of links."""
    if not volume.series:
        yield volume.path
        return
    folder = Path(tempfile.mkdtemp(prefix=STAGE_PREFIX))
    try:
        for number, path in enumerate(volume.series):
            _link(path.absolute(), folder / f"{number:05d}.dcm")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, place: Path) -> None:
    try:
        os.symlink(source, place)
    except OSError:  # Windows lets few users make links.
        shutil.copyfile(source, place)


def _draw_picture(image: "sitk.Image", label_map: "sitk.Image", files: CaseFiles) -> bool:
    """Draw slices with contours, small enough for a sheet of many; False where matplotlib is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return False
    import numpy as np
    import SimpleITK as sitk

    from confuda.errors import UsageError
    from confuda.imaging.stack import CanonicalFrame
    from confuda.report.contours import draw_contours

    frame = CanonicalFrame.from_image(image)
    slices = frame.apply(sitk.GetArrayViewFromImage(image))
    labels = frame.apply(sitk.GetArrayFromImage(label_map))
    spacing = image.GetSpacing()
    in_plane: List[float] = [spacing[axis] for axis in frame.axes[1:]]
    try:
        with replace_file(files.picture) as large:
            draw_contours(
                np.ascontiguousarray(slices), {"": np.ascontiguousarray(labels)}, large, (in_plane[0], in_plane[1]),
                max_slices=PICTURE_SLICES,
            )  # fmt: skip
            with Image.open(large) as picture:
                height = round(picture.height * PICTURE_WIDTH / picture.width)
                small = picture.convert("RGB").resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
            small.quantize(palette=_make_palette(), dither=Image.Dither.NONE).save(large, format="PNG", optimize=True)
    except UsageError:
        return False
    return True


def _make_palette() -> Any:
    """A PIL image whose palette has greys, the outlines' colours and mixtures of both: chosen from the picture alone,
    a palette would spend itself on greys and lose the thin outlines."""
    import numpy as np
    from PIL import Image

    from confuda.labels import STRUCTURES

    greys = np.repeat(np.linspace(0, 255, 52)[:, None], 3, axis=1)
    colors = [np.array(structure.color, dtype=np.float64) for structure in STRUCTURES]
    mixed = [share * color + (1 - share) * greys[::10] for color in colors for share in (0.4, 0.7)]
    table = np.concatenate([greys, np.array(colors), *mixed])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(table).astype(np.uint8).tobytes())
    return palette
