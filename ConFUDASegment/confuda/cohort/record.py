"""The result record of a case: written last, so that a case with a fitting record is complete."""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional

from confuda import __version__
from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.format import verify_bundle
from confuda.cohort.volumes import CohortVolume, list_files
from confuda.io.atomic import write_text

RECORD_FORMAT = 1
DONE, FAILED = "done", "failed"


class CaseFiles(NamedTuple):
    """Where the results of a case lie."""

    segmentation: Path
    picture: Path
    record: Path

    @property
    def dicom_seg(self) -> Path:
        """Of a DICOM volume, where it is asked for."""
        return self.segmentation.with_name(f"{self.record.stem}.dcm")

    @property
    def cine(self) -> Path:
        """The labels of all frames of a cine, where they are asked for."""
        return self.segmentation.with_name(f"{self.record.stem}.seq.nrrd")


def name_case_files(output: Path, name: str) -> CaseFiles:
    """The files of the case ``name`` in the cohort's output folder."""
    cases = output / "cases"
    return CaseFiles(output / "segmentations" / f"{name}.seg.nrrd", cases / f"{name}.png", cases / f"{name}.json")


def hash_bundle(folder: Path) -> str:
    """SHA-256 of what a bundle is: its description, which holds the hashes of its other files.

    Raises:
        BundleError: if the folder holds no bundle, or a damaged one.
    """
    verify_bundle(folder)
    return hashlib.sha256((folder / DESCRIPTION_NAME).read_bytes()).hexdigest()


def fingerprint(volume: CohortVolume) -> Any:
    """What changes when the volume's files do: their names, sizes and times of change."""
    stats = [(path.name, path.stat()) for path in list_files(volume)]
    number = [] if volume.number is None else [volume.number]
    return [volume.relative, [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats], *number]


def make_key(volume: CohortVolume, bundle_hash: str, settings: Mapping[str, Any]) -> str:
    """SHA-256 of all that decides the result: the volume, the bundle, the settings and the version of ConFUDA.

    Not the device, the number of threads or the number of tries: a run may go on elsewhere.
    """
    parts = [RECORD_FORMAT, __version__, fingerprint(volume), bundle_hash, dict(settings)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_record(path: Path) -> Optional[Dict[str, Any]]:
    """The record at ``path``, or None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == RECORD_FORMAT else None


def is_complete(record: Optional[Dict[str, Any]], key: str, files: CaseFiles) -> bool:
    """Whether the case was done with ``key`` and its files are there, as long as they were."""
    if record is None or record.get("key") != key or record.get("status") != DONE:
        return False
    try:
        whole = files.segmentation.stat().st_size == record["segmentation_bytes"]
    except (OSError, KeyError):
        return False
    whole = whole and (not record.get("has_dicom_seg") or files.dicom_seg.is_file())
    whole = whole and (not record["summary"].get("function") or files.cine.is_file())
    return whole and (not record.get("has_picture") or files.picture.is_file())


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``record`` to ``path``."""
    write_text(path, json.dumps({"format": RECORD_FORMAT, **record}, indent=1, ensure_ascii=False) + "\n")


def make_failure(volume: CohortVolume, key: str, reason: str) -> Dict[str, Any]:
    """The record of a case that has no result."""
    return {
        "key": key,
        "name": volume.name,
        "volume": volume.relative,
        "status": FAILED,
        "reason": reason,
        "summary": {},
        "seconds": 0.0,
    }
