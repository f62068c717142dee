"""Dice, HD95 and time of a bundle on a folder of labelled volumes: per-case JSON, Markdown tables, paired comparison.

    python benchmarks/quality.py ../shared/data/MS-CMRSeg/native -o out/quality
    python benchmarks/quality.py ../shared/data/MS-CMRSeg/registered --sequence T2 -o out/quality-T2 --jobs 2 \\
        --runs none confuda:few-shot source:few-shot --presets fast balanced --contours /somewhere/else

A run is "none" or METHOD:MODE; all but "none" are measured with each preset. ``source`` is the control: as many steps
on source images alone. What was measured before with the same volume, bundle and settings is not measured again.
Labels are read for scoring only, after the segmentation is written.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import SimpleITK as sitk
import torch
from labelled import check_outside_repository, choose_cases, name_case
from scores import NO_ADAPTATION, Row, identify_bundle, name_run, read_row, write_json, write_report
from study import run_study, say

import confuda
from confuda.adaptation.settings import DEFAULT_PRESET, METHODS, MODES, make_settings
from confuda.app.job import Job
from confuda.app.run import run_job
from confuda.bundle.format import SHIPPED_BUNDLE, hash_file, verify_bundle
from confuda.errors import UsageError
from confuda.imaging.stack import CanonicalFrame
from confuda.io.segmentation_file import read_segmentation
from confuda.io.volume_file import read_volume
from confuda.measure.metrics import evaluate
from confuda.report.contours import draw_contours


@dataclass(frozen=True)
class Task:
    """One volume to segment in one way and to score.

    kept: where the segmentation stays, or None; row: the JSON file of the result; identity: what decides the result.
    """

    volume: Path
    truth: Path
    dataset: Optional[str]
    run: str
    preset: str
    bundle: Path
    seed: int
    overrides: Dict[str, Any]
    row: Path
    kept: Optional[Path]
    identity: Dict[str, Any]

    @property
    def case(self) -> str:
        return str(name_case(self.volume))

    @property
    def label(self) -> str:
        """What the run is measured with, as tables show it: the preset, and what was overridden; "" for none."""
        changes = [f"{name}={value}" for name, value in self.overrides.items()]
        return " ".join([self.preset, *changes]) if self.preset else ""

    def read_row(self) -> Optional[Row]:
        """The row of an earlier run, if it is what this task would measure and its segmentation is still there."""
        row = read_row(self.row, self.identity)
        if row is not None and self.kept is not None:
            if not self.kept.is_file() or hash_file(self.kept) != row.get("segmentation_sha256"):
                return None
        return row


def hash_code() -> str:
    """A hash of the package's source, since rows of another version may differ."""
    digest = hashlib.sha256()
    for path in sorted(Path(confuda.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def plan_configurations(runs: Sequence[str], presets: Sequence[str]) -> List[Tuple[str, str]]:
    """Pairs of run and preset; "none" depends on no preset and comes once, with "".

    Raises:
        UsageError: for a run that is neither "none" nor METHOD:MODE.
    """
    configurations = []
    for run in dict.fromkeys(runs):
        method, _, mode = run.partition(":")
        if run == NO_ADAPTATION:
            configurations.append((run, ""))
        elif method not in METHODS or method == NO_ADAPTATION or mode not in MODES:
            known = ", ".join(name for name in METHODS if name != NO_ADAPTATION)
            raise UsageError(f"Unknown run '{run}': give none, or METHOD:MODE of {known} and {', '.join(MODES)}.")
        else:
            configurations += [(run, preset) for preset in dict.fromkeys(presets)]
    return configurations


def plan_tasks(
    pairs: Sequence[Tuple[Path, Path]],
    configurations: Sequence[Tuple[str, str]],
    bundle: Path,
    seed: int,
    overrides: Dict[str, Any],
    output: Path,
    contours: Optional[Path] = None,
    dataset: Optional[str] = None,
) -> List[Task]:
    """All tasks, case by case.

    Raises:
        BundleError: if the bundle is unusable.
        UsageError: for an unknown preset or setting.
    """
    bundle_hash = identify_bundle(verify_bundle(bundle))
    tasks = []
    for volume, truth in pairs:
        files = {"volume": hash_file(volume), "truth": hash_file(truth), "bundle": bundle_hash}
        for run, preset in configurations:
            adapts = run != NO_ADAPTATION
            settings = dataclasses.asdict(make_settings(preset, overrides)) if adapts else {}
            identity = {**files, "run": run, "settings": settings, "seed": seed if adapts else 0, "dataset": dataset}
            name = "-".join(part for part in (str(name_case(volume)), run.replace(":", "-"), preset) if part)
            kept = contours / f"{name}.seg.nrrd" if contours is not None else None
            row = output / f"{name}.json"
            tasks.append(Task(volume, truth, dataset, run, preset, bundle, seed, overrides, row, kept, identity))
    return tasks


def measure(task: Task) -> Row:
    """Segment and score one volume; the row is written to its file, too."""
    method, _, mode = task.run.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        output = task.kept or Path(folder) / "prediction.seg.nrrd"
        job = Job(task.volume, output, method=method, bundle=task.bundle, seed=task.seed)
        if method != NO_ADAPTATION:
            job = dataclasses.replace(job, mode=mode, preset=task.preset, settings=task.overrides)
        summary = run_job(job)
        summary.pop("output")
        scores = evaluate(read_segmentation(task.truth, task.dataset), read_segmentation(output))
        row = {
            "identity": task.identity,
            "case": task.case,
            "run": task.run,
            "preset": task.label,
            "scores": scores,
            "summary": summary,
            "code_sha256": hash_code(),
            "segmentation_sha256": hash_file(output),
        }
    write_json(row, task.row)
    return row


def measure_all(tasks: Sequence[Task], jobs: int, threads: Optional[int]) -> Iterator[Row]:
    """The rows of all tasks as they are finished, from ``jobs`` processes of ``threads`` CPU threads each."""
    if jobs == 1:
        _limit_threads(threads)
        yield from map(measure, tasks)
        return
    # Fresh interpreters: a fork of a process that has run torch can hang.
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _limit_threads, (threads,)) as pool:
        futures = [pool.submit(measure, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _limit_threads(threads: Optional[int]) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def draw_case(tasks: Sequence[Task], path: Path) -> Path:
    """One picture of a case: a row for each slice that shows anything, columns for the truth and each segmentation."""
    volume = read_volume(tasks[0].volume).image
    frame = CanonicalFrame.from_image(volume)
    slices = frame.apply(sitk.GetArrayFromImage(volume))
    segmentations = {"truth": read_segmentation(tasks[0].truth, tasks[0].dataset)}
    segmentations.update({f"{task.run} {task.label}".strip(): read_segmentation(task.kept) for task in tasks})
    labels = {name: frame.apply(sitk.GetArrayFromImage(image)) for name, image in segmentations.items()}
    spacing_mm = [volume.GetSpacing()[axis] for axis in frame.axes[1:]]
    numbers = [frame.slice_position(number, len(slices)) for number in range(len(slices))]
    return draw_contours(slices, labels, path, tuple(spacing_mm), numbers, len(slices), title=tasks[0].case)


def name_data(folder: Path, sequence: Optional[str]) -> str:
    """The data as a title: the last two folders' names and the sequence."""
    parts = [part for part in folder.resolve().parts[-2:] if part != os.sep]
    return " ".join([*parts, *([sequence] if sequence else [])])


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of volumes with their labels beside them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the JSON files and tables")
    parser.add_argument("--sequence", help="only volumes called ..._SEQUENCE, e.g. LGE or T2")
    parser.add_argument("--cases", nargs="+", help="case or patient names, e.g. patient1 (all by default)")
    parser.add_argument("--dataset", help="whose label values the truth has, e.g. acdc (guessed by default)")
    parser.add_argument("--runs", nargs="+", default=["none", "confuda:one-shot", "confuda:few-shot"])
    parser.add_argument("--presets", "--preset", nargs="+", default=[DEFAULT_PRESET])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes; with more than one, seconds are not comparable")
    parser.add_argument("--threads", type=int, help="CPU threads of each process")
    parser.add_argument("--title", help="what the data are called in tables and model card")
    parser.add_argument("--scores", type=Path, help="the scores for the model card (OUTPUT/scores.json by default)")
    parser.add_argument(
        "--contours", type=Path, metavar="DIR", help="keep segmentations and pictures here, outside the repository"
    )
    return parser


def run(arguments: argparse.Namespace) -> str:
    """Measure what is asked for and not measured yet; returns the tables.

    Raises:
        ConfudaError: saying what is wrong.
    """
    contours = check_outside_repository(arguments.contours, "--contours") if arguments.contours else None
    configurations = plan_configurations(arguments.runs, arguments.presets)
    pairs = choose_cases(arguments.data, arguments.sequence, arguments.cases)
    for folder in (arguments.output, contours):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    tasks = plan_tasks(
        pairs,
        configurations,
        arguments.bundle,
        arguments.seed,
        _read_overrides(arguments.set),
        arguments.output,
        contours,
        arguments.dataset,
    )
    kept = [row for row in (task.read_row() for task in tasks) if row is not None]
    rows = {(row["case"], row["run"], row["preset"]): row for row in kept}
    missing = [task for task in tasks if (task.case, task.run, task.label) not in rows]
    say(f"{len(kept)} of {len(tasks)} rows are there already")
    other = sum(row.get("code_sha256") != hash_code() for row in kept)
    if other:
        say(f"warning: {other} of them were measured with other code; remove {arguments.output} to measure them again")
    for number, row in enumerate(measure_all(missing, max(1, arguments.jobs), arguments.threads), 1):
        rows[row["case"], row["run"], row["preset"]] = row
        say(f"{number}/{len(missing)} {row['case']} {name_run(row)}: {row['scores']['average']['dice']:.3f}")
    if contours is not None:
        for volume, _ in pairs:
            own = [task for task in tasks if task.volume == volume]
            draw_case(own, contours / f"{own[0].case}.png")
    title = arguments.title or name_data(arguments.data, arguments.sequence)
    ordered = [rows[task.case, task.run, task.label] for task in tasks]
    return write_report(ordered, title, arguments.output, arguments.scores)


def _read_overrides(texts: Sequence[str]) -> Dict[str, Any]:
    overrides = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"'{text}' is not NAME=VALUE.")
        try:
            overrides[name] = json.loads(value)
        except ValueError:
            overrides[name] = value
    return overrides


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return run_study(run, build_parser().parse_args(arguments), "quality")


if __name__ == "__main__":
    sys.exit(main())
