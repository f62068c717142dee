"""A job on several frames of a cine, from its files to its files: one adaptation, labels of each frame, function."""

import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import SimpleITK as sitk

from confuda.app.job import ADAPT, READ, Job
from confuda.app.read_outs import write_read_outs
from confuda.bundle.format import SHIPPED_BUNDLE, Bundle, load_bundle, save_bundle
from confuda.cine import CineResult, segment_cine
from confuda.errors import ConfudaError
from confuda.imaging.stack import ShortAxisStack
from confuda.imaging.volume import Volume
from confuda.io.atomic import TargetFolder
from confuda.io.cine_file import write_cine_labels
from confuda.io.volume_file import is_dicom, read_cine
from confuda.labels import find_label_values
from confuda.measure.function import measure_body_surface_area_m2
from confuda.measure.read_outs import measure_read_outs
from confuda.observer import Observer
from confuda.report.case import Case
from confuda.report.documents import Documents, describe_bundle
from confuda.segmenter import Segmenter


def run_cine_job(job: Job, observer: Observer, began: float) -> Dict[str, Any]:
    """Do a job that was checked; returns the facts of ``--json``. ``began``: by ``time.monotonic``.

    Raises: as :func:`confuda.app.run.run_job`.
    """
    target = TargetFolder(Path(job.output).parent)
    documents = Documents(job.report, None)
    observer.progress("load", 0, 1, None)
    bundle = load_bundle(job.bundle)
    cine = read_cine(job.volume, **job.list_for(READ))
    # What there is to be said of the files is said once.
    frames = [Volume.from_checked(image, () if number else cine.warnings) for number, image in enumerate(cine.frames)]
    told: List[str] = []
    area = _find_body_surface_area(job, told)
    for message in told:
        observer.warning(message)
    segmenter = Segmenter(bundle, job.device, observer)
    loaded = time.monotonic()
    how = job.list_for(ADAPT)
    del how["slice"]
    result = segment_cine(segmenter, frames, str(job.frames), body_surface_area_m2=area, **how)
    if job.save_bundle is not None and result.adapted is not None:
        save_bundle(segmenter.make_bundle(result.adapted, result.accepted), job.save_bundle)
    ed_image = cine.frames[result.ed_frame]
    found = measure_read_outs(ed_image, result.ed_label_map, job.wall, None)
    for message in found.warnings:
        observer.warning(message)
    observer.check_cancelled()
    observer.progress("write", 0, 1, None)
    times_ms = [cine.times_ms[number] for number in result.frames] if cine.times_ms is not None else None
    values = find_label_values(job.output_labels) if job.output_labels is not None else None
    with target.hold():
        write_cine_labels(result.label_maps, job.output, times_ms, values)
    summary = {"output": str(job.output), **result.summarise(), "frame_times_ms": times_ms}
    summary["seconds"]["load"] = round(summary["seconds"]["load"] + loaded - began, 2)
    summary["seconds"]["total"] = round(time.monotonic() - began, 2)
    summary["uncertainty"] = None
    summary["report"] = str(job.report) if job.report is not None else None
    summary["warnings"] = [*told, *summary.pop("warnings"), *found.warnings]
    with target.hold():
        write_read_outs(job, found, result.ed_label_map, summary)
    if job.report is not None:
        documents.write_page(_make_case(job, bundle, result, cine.frames[result.ed], summary))
    return summary


def _find_body_surface_area(job: Job, told: List[str]) -> Optional[float]:
    """In m2, from what the job or the files say of height and weight; None where they do not."""
    height_cm, weight_kg = job.height_cm, job.weight_kg
    if (height_cm is None or weight_kg is None) and (Path(job.volume).is_dir() or is_dicom(Path(job.volume))):
        from confuda.io.dicom_body import read_body_size

        body = read_body_size(job.volume, job.series)
        height_cm = body.height_cm if height_cm is None else height_cm
        weight_kg = body.weight_kg if weight_kg is None else weight_kg
    if height_cm is None or weight_kg is None:
        if job.height_cm is not None or job.weight_kg is not None:
            missing = "height" if height_cm is None else "weight"
            told.append(f"Nothing is given per body surface: the {missing} is not known.")
        return None
    try:
        return measure_body_surface_area_m2(height_cm, weight_kg)
    except ConfudaError as error:
        told.append(f"Nothing is given per body surface. {error}")
        return None


def _make_case(job: Job, bundle: Bundle, result: CineResult, image: sitk.Image, summary: Dict[str, Any]) -> Case:
    """What the report's page tells: the frame at end-diastole, and the function of all of them."""
    look, verdict = result.looks.get(result.ed), result.verdicts.get(result.ed)
    options = {"mode": job.mode, "method": job.method, "preset": job.preset, "seed": str(job.seed)}
    options["frames"] = f"{job.frames}; the slices shown are those of frame {result.ed}"
    adapted_to: List[int] = []
    took_steps = result.adapted is not None and result.adapted.took_steps
    if result.adapted is not None and took_steps:
        adapted_to = result.adapted.chosen[list(result.looks).index(result.ed)].tolist()
    return Case(
        stack=look.stack if look is not None else ShortAxisStack(image, bundle.spacing_mm),
        settings=result.settings,
        given=result.label_maps[result.frames.index(result.ed)],
        summary=summary,
        crop=look.crop if look is not None else None,
        changed=tuple(job.settings),
        options={**options, "device asked for": job.device},
        bundle=describe_bundle(bundle, Path(job.bundle or SHIPPED_BUNDLE)),
        source=look.opinion if look is not None else None,
        adapted=verdict.opinion if verdict is not None and took_steps else None,
        adapted_to=adapted_to,
        losses=result.adapted.losses if result.adapted is not None else [],
        accepted=result.accepted,
        reason=result.reason,
        names=job.list_paths(),
    )
