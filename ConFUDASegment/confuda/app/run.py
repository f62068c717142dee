"""A job from its files to its files. Command line and worker both go through :func:`run_job`; what is in between is
:class:`confuda.segmenter.Segmenter`'s."""

import os
import time
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import SimpleITK as sitk

from confuda.app.job import ADAPT, READ, Job, is_cine
from confuda.app.read_outs import choose_ending_beside, write_read_outs
from confuda.app.run_cine import run_cine_job
from confuda.bundle.format import SHIPPED_BUNDLE, Bundle, check_bundle_place, load_bundle, save_bundle
from confuda.errors import InputError, UsageError, explain_memory_errors
from confuda.io.atomic import TargetFolder
from confuda.io.cine_file import check_cine_path
from confuda.io.file_name import DICOM_ENDING, SLICER_ENDING, VOLUME_ENDINGS, check_name_here, find_ending, is_same_file
from confuda.io.segmentation_file import check_label_path, name_beside, write_segmentation, write_segments
from confuda.io.volume_file import read_volume
from confuda.labels import SCAR, find_label_values
from confuda.measure.function import SCAR_OF_A_FRAME
from confuda.measure.read_outs import ReadOuts, measure_read_outs
from confuda.observer import Observer
from confuda.report.case import Case
from confuda.report.documents import Documents, describe_bundle
from confuda.report.place import check_places
from confuda.report.uncertainty import Uncertainty, measure_uncertainty
from confuda.result import Result
from confuda.segmenter import Segmenter

PREVIEW_EVERY_S = 5.0


class JobObserver(Observer):
    """Hears what a job does, too: the stages load and write, and the files of early label maps."""

    preview_folder: Optional[Path] = None
    """Where early label maps are written to, one every ``PREVIEW_EVERY_S``; None for none."""

    _last_preview: Optional[float] = None

    def preview(self, path: Path) -> None:
        """An early label map was written to ``path``."""

    def offer_preview(self, step: int, total: int, draw: Callable[[], sitk.Image]) -> None:
        if self.preview_folder is None or step == total:
            return
        if self._last_preview is None:
            self._last_preview = time.monotonic()
        elif time.monotonic() - self._last_preview > PREVIEW_EVERY_S:
            path = Path(self.preview_folder) / f"preview-{step}.nrrd"
            try:
                write_segmentation(draw(), path)
                self.preview(path)
            except InputError:
                # A full disk, say. An early look is no reason to stop; the result is written elsewhere, and says its
                # own.
                pass
            self._last_preview = time.monotonic()


def check_job(job: Job) -> List[str]:
    """Find what is wrong before any work is done; returns what the user should know.

    Raises:
        UsageError: naming the option and what it takes.
        InputError: where the output could not be written.
    """
    job.check()
    output = Path(job.output)
    warnings: List[str] = []
    if is_cine(job.frames):
        check_cine_path(output)
    elif _wants_dicom(output):
        if job.output_labels is not None:
            raise UsageError("A DICOM SEG names its structures by codes: label values go with other formats.")
        from confuda.io.dicom_segmentation import check_dicom_output

        warnings = check_dicom_output(job.volume, output, frame=_get_frame(job), **job.list_for(READ))
    else:
        check_label_path(output)
    if job.dicom_seg is not None:
        from confuda.io.dicom_segmentation import check_dicom_output

        if is_cine(job.frames):
            raise UsageError("A DICOM SEG holds one frame of a cine: give its number to --frames.")
        warnings += check_dicom_output(job.volume, job.dicom_seg, frame=_get_frame(job), **job.list_for(READ))
    for written in (job.output, job.dicom_seg, job.uncertainty, job.csv):
        if written is not None:
            check_name_here(written)
    for written in list_labels_written(job):
        if is_same_file(written, job.volume):
            what = "output" if written == output else f"{written.name} beside the output"
            raise UsageError(f"The {what} would overwrite the volume: give the output another name.")
    if not os.path.isdir(output.parent):
        raise InputError(f"Cannot write {output}: the folder {output.parent} does not exist.")
    if os.path.isdir(output):
        raise InputError(f"Cannot write {output}: it is a folder.")
    check_places(job.volume, output, job.report, job.uncertainty)
    named = [] if job.uncertainty is None else [Path(job.uncertainty)]
    for first, second in combinations([*list_labels_written(job), *named], 2):
        if is_same_file(first, second):
            raise UsageError(f"{first} would be written twice: give each output a name of its own.")
    if job.csv is not None:
        _check_table(job, Path(job.csv))
    if job.save_bundle is not None:
        check_bundle_place(job.save_bundle)
    return warnings


def list_labels_written(job: Job) -> List[Path]:
    """The segmentations and label maps that a job writes: such files may be volumes by their names."""
    output = Path(job.output)
    written = [output] if job.dicom_seg is None else [output, Path(job.dicom_seg)]
    for asked_for, what in ((job.wall, "wall"), (job.scar is not None, "scar")):
        if asked_for:
            written.append(name_beside(output, what, choose_ending_beside(output)))
    return written


def check_outputs_of_all(jobs: Sequence[Job]) -> None:
    """Make sure that no job writes over the volume of another one.

    Raises:
        UsageError: naming the volume.
    """
    volumes = {os.path.realpath(job.volume) for job in jobs}
    for job in jobs:
        for written in list_labels_written(job):
            if os.path.realpath(written) in volumes:
                raise UsageError(
                    f"{written} is one of the volumes, and the segmentation of {job.volume} would overwrite it: give "
                    "another folder for the output, or leave it out."
                )


def run_job(job: Job, observer: Optional[JobObserver] = None) -> Dict[str, Any]:
    """Adapt to one volume and write its segmentation; returns the facts of ``--json``.

    Raises:
        ConfudaError: of the kind that says what is wrong; nothing is written then, except that a map or report that
            cannot be written leaves the finished segmentation where it is.
    """
    observer = observer or JobObserver()
    began = time.monotonic()
    with explain_memory_errors():
        warnings = check_job(job)
        for message in warnings:
            observer.warning(message)
        if is_cine(job.frames):
            return run_cine_job(job, observer, began)
        target = TargetFolder(Path(job.output).parent)
        documents = Documents(job.report, job.uncertainty)
        observer.progress("load", 0, 1, None)
        bundle = load_bundle(job.bundle)
        volume = read_volume(job.volume, frame=_get_frame(job), **job.list_for(READ))
        observer.preview_folder = job.preview_folder
        segmenter = Segmenter(bundle, job.device, observer)
        loaded = time.monotonic()
        result = segmenter.adapt_and_segment(volume, **job.list_for(ADAPT))
        if job.save_bundle is not None and result.adapted is not None:
            save_bundle(segmenter.make_bundle(result.adapted, result.accepted), job.save_bundle)
        uncertainty = None
        if documents.need_uncertainty and result.opinion is not None:
            uncertainty = measure_uncertainty(result.opinion)
        found = measure_read_outs(volume.image, result.label_map, job.wall, job.scar)
        if job.scar is not None and job.frames is not None:
            found.warnings.append(SCAR_OF_A_FRAME)
        for message in found.warnings:
            observer.warning(message)
        observer.check_cancelled()
        observer.progress("write", 0, 1, None)
        with target.hold():
            _write_labels(result.label_map, found, job)
        if documents.need_uncertainty:
            documents.write_map(uncertainty, result.look.crop, volume.image)
        summary = {"output": str(job.output), **result.summarise()}
        summary["seconds"]["load"] = round(summary["seconds"]["load"] + loaded - began, 2)
        summary["seconds"]["total"] = round(time.monotonic() - began, 2)
        summary["uncertainty"] = documents.summarise(uncertainty)
        summary["report"] = str(job.report) if job.report is not None else None
        summary["warnings"] = [*warnings, *summary.pop("warnings"), *found.warnings]
        with target.hold():
            write_read_outs(job, found, result.label_map, summary)
        if job.report is not None:
            documents.write_page(_make_case(job, bundle, result, uncertainty, summary))
    return summary


def _wants_dicom(output: Path) -> bool:
    """Whether a name asks for a DICOM SEG, for which libraries are needed that Slicer does without."""
    return find_ending(output.name, [DICOM_ENDING]) != ""


def _write_labels(label_map: sitk.Image, found: ReadOuts, job: Job) -> None:
    scar = found.scar.make_labelmap(label_map) if found.scar is not None else None
    if _wants_dicom(job.output):
        from confuda.io.dicom_segmentation import write_dicom_segmentation

        write_dicom_segmentation(label_map, job.volume, job.output, _get_frame(job), job.series)
        if scar is not None:
            write_segments(scar, name_beside(Path(job.output), "scar", SLICER_ENDING), [SCAR])
    else:
        values = find_label_values(job.output_labels) if job.output_labels is not None else None
        write_segmentation(label_map, job.output, values, scar)
    if job.dicom_seg is not None:
        from confuda.io.dicom_segmentation import write_dicom_segmentation

        write_dicom_segmentation(label_map, job.volume, job.dicom_seg, _get_frame(job), job.series)


def _get_frame(job: Job) -> Optional[int]:
    """The one frame that is segmented; None where the volume has but one."""
    return job.frames if isinstance(job.frames, int) else None


def _check_table(job: Job, table: Path) -> None:
    """Make sure, as far as that is known beforehand, that the table of the case can be written."""
    if is_same_file(table, job.volume) or is_same_file(table, job.output):
        raise UsageError("The table would overwrite the volume or the segmentation: give it another name.")
    if find_ending(table.name, [*VOLUME_ENDINGS, DICOM_ENDING, ".png"]):
        # Of an image's name it might be one that this very job writes beside its output.
        raise UsageError(f"A table is no image: give {table} a name that ends in .csv.")
    if not os.path.isdir(table.parent):
        raise InputError(f"Cannot write {table}: the folder {table.parent} does not exist.")
    if os.path.isdir(table):
        raise InputError(f"Cannot write {table}: it is a folder.")


def _make_case(
    job: Job, bundle: Bundle, result: Result, uncertainty: Optional[Uncertainty], summary: Dict[str, Any]
) -> Case:
    """What the report's page tells."""
    center = "found by the network" if job.center is None else f"given, {job.center[0]:g},{job.center[1]:g}"
    options = {"mode": job.mode, "method": job.method, "preset": job.preset, "seed": str(job.seed)}
    if job.mode == "one-shot":
        options["slice asked for"] = "auto" if job.slice is None else str(job.slice)
    return Case(
        stack=result.look.stack,
        settings=result.settings,
        given=result.label_map,
        summary=summary,
        crop=result.look.crop,
        changed=tuple(job.settings),
        options={**options, "device asked for": job.device, "centre of the heart": center},
        bundle=describe_bundle(bundle, Path(job.bundle or SHIPPED_BUNDLE)),
        source=result.look.opinion,
        adapted=result.verdict.opinion if result.verdict is not None and result.losses else None,
        adapted_to=result.adapted.chosen[0].tolist() if result.adapted is not None and result.losses else [],
        losses=result.losses,
        accepted=result.accepted,
        reason=result.reason,
        uncertainty=uncertainty,
        names=job.list_paths(),
    )
