"""What ``confuda cohort`` does: find volumes, leave out what is done, run the rest on Dask, write table and sheet."""

import hashlib
import json
import os
import platform
import shutil
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from confuda import __version__
from confuda.bundle.description import read_description
from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.cohort.adapt_once import AdaptOnceResult, AdaptOnceTask, adapt_once, choose_volumes, has_bundle
from confuda.cohort.case import CaseTask, hide_names, run_case
from confuda.cohort.contact_sheet import write_contact_sheet
from confuda.cohort.dask_pool import Pool, PoolOptions, count_cores, explain_error, open_pool
from confuda.cohort.failure import remove_logs, write_log
from confuda.cohort.record import (
    DONE,
    FAILED,
    fingerprint,
    hash_bundle,
    is_complete,
    make_failure,
    make_key,
    name_case_files,
    read_record,
)
from confuda.cohort.table import find_flags, write_table
from confuda.cohort.volumes import MARKER_NAME, CohortVolume, find_volumes
from confuda.errors import InputError, UsageError
from confuda.io.atomic import name_former, remove_left_drafts, write_text
from confuda.io.lock import hold_lock

TABLE_NAME = "results.csv"
SHEET_NAME = "contact-sheet.html"
ADAPTED_NAME = "adapted-bundle"
LOCK_NAME = ".lock"
WRITE_TABLE_EVERY_S = 10.0


@dataclass
class CohortOptions:
    """The options of ``confuda cohort``; see its help.

    adaptation: arguments of :meth:`confuda.Segmenter.adapt_and_segment` by name, for each volume. adapt_on: empty to
    adapt to each volume; else one number, or paths of volumes below ``folder``. pattern: which volumes to take, by
    their path below ``folder``. segment_only: no adaptation, the bundle as it is.
    dicom_seg: a DICOM SEG of each DICOM volume beside its segmentation. frames: "all" or "ed,es" of cines, None for
    volumes; wall, scar: what is measured, as :mod:`confuda.measure.read_outs` takes them.
    """

    folder: Path
    output: Path
    bundle: Optional[Path] = None
    device: str = "auto"
    adaptation: Dict[str, Any] = field(default_factory=dict)
    segment_only: bool = False
    dicom_seg: bool = False
    frames: Optional[str] = None
    wall: bool = False
    scar: Optional[str] = None
    adapt_on: Sequence[str] = ()
    pattern: str = "*"
    pool: PoolOptions = field(default_factory=PoolOptions)

    def check(self) -> None:
        """Raises UsageError naming what is wrong, before any work is done."""
        if self.frames is not None and (self.adapt_on or self.dicom_seg or self.scar is not None):
            raise UsageError("--frames takes cines, which go without --adapt-on, --dicom-seg and --scar.")
        if self.adapt_on and (self.segment_only or self.adaptation.get("method") == "none"):
            raise UsageError("--adapt-on adapts, and --segment-only or --method none does not: give one of them.")
        if self.adapt_on and self.adapt_on[0].isdecimal() and (len(self.adapt_on) > 1 or int(self.adapt_on[0]) < 1):
            raise UsageError("--adapt-on takes a number of volumes of at least 1, or paths of volumes.")
        self.pool.check()

    @property
    def predicts_only(self) -> bool:
        """Whether each case is segmented without an adaptation of its own."""
        return self.segment_only or bool(self.adapt_on) or self.adaptation.get("method") == "none"


@dataclass
class CohortResult:
    """What came of it: cases done and failed, those done before that were left alone, and the two files."""

    done: int
    failed: int
    kept: int
    seconds: float
    table: Path
    sheet: Path


def run_cohort(options: CohortOptions, report: Callable[[str], None]) -> CohortResult:
    """Do all cases that are not complete yet; ``report`` hears one line at a time.

    Raises:
        UsageError: for options that cannot be. InputError: if there is no volume, or the output cannot be written to.
        BundleError: if the bundle cannot be used. Cancelled: passed on, after table and sheet were written.
    """
    options.check()
    began = time.monotonic()
    # Absolute, since workers elsewhere stand in other folders.
    volumes = find_volumes(options.folder.absolute(), options.pattern, report)
    report(f"{len(volumes)} volumes found")
    _make_folders(options.output)
    with hold_lock(options.output / LOCK_NAME) as ours:
        if not ours:
            raise InputError(f"Another cohort is being written to {options.output}: wait for its end.")
        remove_drafts(options.output)
        remove_logs(options.output)
        return _Cohort(options, volumes, report, began).execute()


def _make_folders(output: Path) -> None:
    """The folders for the results; a folder of other things is left alone, lest something of these is replaced."""
    if os.path.isdir(output) and any(output.iterdir()) and not (output / MARKER_NAME).exists():
        raise InputError(
            f"The folder {output} is not empty, and no cohort wrote it: choose another one for the results."
        )
    try:
        for folder in (output / "segmentations", output / "cases"):
            folder.mkdir(parents=True, exist_ok=True)
        (output / MARKER_NAME).touch()
    except OSError as error:
        raise InputError(f"The folder {output} cannot be made or written to: {error.strerror}.") from error


def remove_drafts(output: Path) -> None:
    """What a run that was killed left half written; the lock says that nobody writes it now."""
    for folder in (output, output / "segmentations", output / "cases"):
        remove_left_drafts(folder)
    shutil.rmtree(name_former(output / ADAPTED_NAME), ignore_errors=True)


class _LatePool:
    """A pool that is opened with its first task."""

    def __init__(self, open_it: Callable[[], Pool]) -> None:
        self._open = open_it
        self._pool: Optional[Pool] = None

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any], finished: Callable[..., None]) -> None:
        if tasks and self._pool is None:
            self._pool = self._open()
        if self._pool is not None:
            self._pool.run(function, tasks, finished)


class _Cohort:
    """One run: tasks, their records by name, and the two files made of these."""

    def __init__(
        self, options: CohortOptions, volumes: List[CohortVolume], report: Callable[[str], None], began: float
    ) -> None:
        self.options = options
        self.volumes = volumes
        self.report = report
        self.began = began
        self.records: Dict[str, Dict[str, Any]] = {}
        self.notes: List[str] = []
        self.run_here = 0
        self._table_written = 0.0

    def execute(self) -> CohortResult:
        options = self.options
        bundle = options.bundle or SHIPPED_BUNDLE
        bundle_hash = hash_bundle(bundle)
        with ExitStack() as stack:
            # Opened when there is something to do: the workers take seconds to start.
            pool = _LatePool(lambda: stack.enter_context(open_pool(options.pool)))
            if options.adapt_on:
                bundle = self._adapt_once(pool, bundle, bundle_hash)
                bundle_hash = hash_bundle(bundle)
            tasks = self._plan(bundle, bundle_hash)
            kept = len(self.volumes) - len(tasks)
            if kept:
                self.report(f"{kept} were done before and are kept")
            try:
                pool.run(run_case, tasks, self._take)
            finally:
                self._write_files()
        done = sum(record["status"] == DONE for record in self.records.values())
        return CohortResult(
            done=done,
            failed=len(self.volumes) - done,
            kept=kept,
            seconds=time.monotonic() - self.began,
            table=options.output / TABLE_NAME,
            sheet=options.output / SHEET_NAME,
        )

    def _describe_job(self) -> Dict[str, Any]:
        """What decides the results, beside volume and bundle."""
        return {"method": "none"} if self.options.predicts_only else dict(self.options.adaptation)

    def _list_measured(self) -> Dict[str, Any]:
        """What is written and measured of each case, beside its labels."""
        return {name: getattr(self.options, name) for name in ("dicom_seg", "frames", "wall", "scar")}

    def _plan(self, bundle: Path, bundle_hash: str) -> List[CaseTask]:
        """The tasks of the cases that are not complete; the records of the others are taken over."""
        adaptation = self._describe_job()
        tasks = []
        for number, volume in enumerate(self.volumes, start=1):
            files = name_case_files(self.options.output.absolute(), volume.name)
            try:
                more = {name: value for name, value in self._list_measured().items() if value}
                key = make_key(volume, bundle_hash, {**adaptation, **more})
            except OSError as error:
                self.records[volume.name] = make_failure(volume, "", f"The volume is gone: {error.strerror}.")
                continue
            record = read_record(files.record)
            if record is not None and is_complete(record, key, files):
                self.records[volume.name] = record
                continue
            threads, device = self.options.pool.share_threads(), self.options.device
            measured = self._list_measured()
            task = CaseTask(
                volume, files, key, threads, bundle.resolve(), device, adaptation, number=number, **measured
            )
            tasks.append(task)
        return tasks

    def _adapt_once(self, pool: _LatePool, bundle: Path, bundle_hash: str) -> Path:
        """The bundle adapted to some of the volumes; made anew unless an earlier run has made the same."""
        options = self.options
        chosen = self._choose_to_adapt_on()
        how = {name: value for name, value in options.adaptation.items() if name != "mode"}
        parts = [__version__, bundle_hash, how, [fingerprint(volume) for volume in chosen]]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        output = options.output / ADAPTED_NAME
        if has_bundle(output, key):
            self.report(f"the bundle adapted to {len(chosen)} volumes is there and is kept")
            self._note_if_refused(output)
            return output
        self.report(f"adapting to {len(chosen)} volumes")
        here = options.pool.scheduler is None and options.pool.threads is None
        task = AdaptOnceTask(
            volumes=chosen,
            bundle=bundle.resolve(),
            output=output.resolve(),
            key=key,
            threads=count_cores() if here else options.pool.share_threads(),
            device=options.device,
            adaptation=how,
        )
        outcome: List[Tuple[Optional[AdaptOnceResult], Optional[BaseException]]] = []
        pool.run(adapt_once, [task], lambda _, result, error: outcome.append((result, error)))
        result, error = outcome[0]
        if result is None:
            raise InputError(f"The adaptation came to nothing: {explain_error(error)}")
        self._note_if_refused(output)
        for message in result.warnings:
            self.report(f"warning: {message}")
        done = "adapted to" if result.took_steps else "looked at"
        self.report(f"{done} {result.slices} slices of {result.volumes} volumes: {output}")
        return output

    def _note_if_refused(self, bundle: Path) -> None:
        adapted = read_description(bundle)["adapted"]
        if not adapted["accepted"]:
            self.notes.append("The adaptation was not kept: the source network segmented these cases.")
        elif not adapted["strength"]:
            self.notes.append("Nothing was adapted, since the network was sure: it segmented these cases as it is.")

    def _tell_adapted_on(self) -> str:
        how = [str(self.options.adaptation[name]) for name in ("method", "preset") if name in self.options.adaptation]
        return f"{len(self._choose_to_adapt_on())} volumes ({', '.join(how)})"

    def _choose_to_adapt_on(self) -> List[CohortVolume]:
        wanted = self.options.adapt_on
        if wanted[0].isdecimal():
            return choose_volumes(self.volumes, int(wanted[0]))
        # A DICOM folder of several stacks has no path that tells one of them.
        count = Counter(volume.path for volume in self.volumes)
        by_path = {volume.path.resolve(): volume for volume in self.volumes if count[volume.path] == 1}
        chosen = []
        for text in wanted:
            volume = by_path.get(Path(text).resolve())
            if volume is None:
                raise UsageError(f"--adapt-on: {text} is none of the volumes found in {self.options.folder}.")
            chosen.append(volume)
        return chosen

    def _take(self, task: CaseTask, record: Optional[Dict[str, Any]], error: Optional[BaseException]) -> None:
        """A case has ended, one way or the other."""
        if record is None:
            record = make_failure(task.volume, task.key, hide_names(explain_error(error), task))
        if record["status"] == FAILED:
            self._write_log(task, record["reason"], error)
        self.records[task.volume.name] = record
        self.run_here += 1
        said = ", ".join(find_flags(record)) or "ok"
        left = len(self.volumes) - len(self.records)
        pace = (time.monotonic() - self.began) / self.run_here
        self.report(
            f"{len(self.records)}/{len(self.volumes)} {task.volume.name}: {said}"
            + (f" ({record['reason']})" if record["reason"] else "")
            + f", {record['seconds']:.0f} s" * bool(record["seconds"])
            + (f"; about {max(1, round(left * pace / 60))} min left" if left else "")
        )
        if time.monotonic() - self._table_written > WRITE_TABLE_EVERY_S:
            self._table_written = time.monotonic()
            try:
                write_table(self.options.output / TABLE_NAME, self._list_records())
            except OSError as error:  # Open in another program, perhaps: it is written again in the end.
                self.report(f"warning: {TABLE_NAME} cannot be written now: {error.strerror}")

    def _write_log(self, task: CaseTask, reason: str, error: Optional[BaseException]) -> None:
        """For whoever looks after the cluster: the table names patients' files, this does not."""
        facts = {"threads": task.threads, "device": task.device, **task.adaptation}
        try:
            write_log(self.options.output, task.number, task.volume.relative, reason, error, facts)
        except OSError as failed:  # The reason is in the table all the same.
            self.report(f"warning: the log of case {task.number} cannot be written: {failed.strerror}")

    def _list_records(self) -> List[Dict[str, Any]]:
        """A record for each volume in their order; what was not come to says so."""
        return [
            self.records.get(volume.name) or {**make_failure(volume, "", ""), "status": "waiting"}
            for volume in self.volumes
        ]

    def _write_files(self) -> None:
        options, records = self.options, self._list_records()
        facts = {
            **{name: str(value) for name, value in self._describe_job().items() if value != {}},
            "bundle": (options.bundle or SHIPPED_BUNDLE).resolve().name,
            "confuda": __version__,
            "python": platform.python_version(),
        }
        if options.adapt_on:
            facts["adapted on"] = self._tell_adapted_on()
        try:
            write_table(options.output / TABLE_NAME, records)
            write_contact_sheet(options.output / SHEET_NAME, records, facts, self.notes)
            write_text(options.output / MARKER_NAME, json.dumps({"settings": facts}, indent=1) + "\n")
        except OSError as error:
            raise InputError(f"The results cannot be written to {options.output}: {error.strerror}.") from error
