"""A job whose result is a DICOM SEG file: the pipeline's labels, written as DICOM."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional

import SimpleITK as sitk

from confuda.app.pipeline import Job, Observer, run_job
from confuda.io.dicom_segmentation import ENDING, check_dicom_output, write_dicom_segmentation


def wants_dicom(output: Path) -> bool:
    """Whether a name asks for a DICOM SEG."""
    return output.name.lower().endswith(ENDING) and len(output.name) > len(ENDING)


def run_dicom_job(job: Job, observer: Optional[Observer] = None) -> Dict[str, Any]:
    """Do ``job``, whose output ends in .dcm and whose volume is DICOM; returns the pipeline's summary.

    Raises:
        ConfudaError: as :func:`confuda.app.pipeline.run_job`, and for what a SEG cannot be written of; nothing is
            written then.
    """
    warnings = check_dicom_output(job.volume, job.output, job.frame, job.series, job.spacing_mm)
    if observer is not None:
        for message in warnings:
            observer.warning(message)
    with tempfile.TemporaryDirectory(prefix="confuda-") as folder:
        labels = Path(folder) / "labels.nrrd"
        summary = run_job(dataclasses.replace(job, output=labels), observer)
        write_dicom_segmentation(sitk.ReadImage(str(labels)), job.volume, job.output, job.frame, job.series)
    return {**summary, "output": str(job.output), "warnings": warnings + summary["warnings"]}
