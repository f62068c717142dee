"""source.json of a training folder: what the labels of the data meant, so that nothing after has to be told again."""

import json
from pathlib import Path
from typing import Dict, Mapping, NamedTuple, Optional, Union

from confuda.errors import InputError, UsageError
from confuda.io.atomic import write_text
from confuda.labels import DATASET_VALUES, STRUCTURES

RECORD_NAME = "source.json"


class SourceRecord(NamedTuple):
    """dataset: the layout of the data; labels: the values of own data by structure, None for those of the data set."""

    dataset: str
    labels: Optional[Dict[str, int]] = None

    @property
    def values(self) -> Union[str, Mapping[str, int]]:
        """What :func:`confuda.labels.map_labels` takes."""
        return self.labels or self.dataset


def write_source_record(folder: Path, record: SourceRecord) -> None:
    """Keep ``record`` in ``folder``, complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECORD_NAME, json.dumps(record._asdict(), indent=1) + "\n")


def read_source_record(folder: Path, dataset: str) -> SourceRecord:
    """What :func:`write_source_record` kept; ``dataset`` with its own values for a training from before there was one.

    Raises:
        InputError: if the file is damaged.
    """
    path = folder / RECORD_NAME
    if not path.exists():
        return SourceRecord(dataset)
    try:
        record = SourceRecord(**json.loads(path.read_text(encoding="utf-8")))
        names = {structure.name for structure in STRUCTURES}
        if record.dataset not in DATASET_VALUES or (record.labels is not None and set(record.labels) != names):
            raise ValueError("unknown names")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: train again, or restore it.") from error
    return record


def agree_on_source(folder: Path, given: SourceRecord, resume: bool) -> SourceRecord:
    """The source of a run in ``folder``: as ``given``, or on ``resume`` as before, of which nothing may be changed.

    Raises:
        UsageError: if a resumed run is given other label values than it began with.
    """
    if not resume or not (folder / RECORD_NAME).exists():
        return given
    kept = read_source_record(folder, given.dataset)
    if given.labels is not None and given.labels != kept.labels:
        raise UsageError(f"The training in {folder.name} began with other --labels: leave them out to resume it.")
    return kept
