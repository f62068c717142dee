"""The command line, ``confuda ...``: options to calls, errors to one line and an exit code. Torch loads only when
needed."""

import argparse
import errno
import json
import os
import signal
import sys
import threading
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from confuda.app.job import Job, is_cine, read_options
from confuda.app.options import COHORT_OPTIONS, SEGMENT_OPTIONS, build_parser
from confuda.app.outcome import describe_outcome
from confuda.app.terminal import (
    ProgressLine,
    TolerantStream,
    describe_unexpected,
    make_printable,
    report_line,
    tolerant_streams,
)
from confuda.app.train_commands import run_bundle_build, run_bundle_show, run_bundle_verify, run_train
from confuda.errors import Cancelled, ConfudaError, InputError, MemoryExhausted, UsageError, is_out_of_memory
from confuda.privacy import keep_torch_from_making_folders
from confuda.threads import let_threads_sleep, use_threads

TRACEBACK_VARIABLE = "CONFUDA_TRACEBACK"

_READER_GONE = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)
"""What a pipe says whose reader has ended; Windows calls it an invalid argument."""

_interrupted = threading.Event()
"""Set by a signal, whose exception a library that imports or cleans up at that moment may swallow."""


def _make_observer() -> Any:
    from confuda.app.run import JobObserver

    class CommandObserver(JobObserver):
        """Tells on stderr how far the job is, and ends it after a signal."""

        def __init__(self) -> None:
            self._line = ProgressLine()

        def progress(
            self, stage: str, step: int, total: int, eta_s: Optional[float], losses: Optional[Dict[str, float]] = None
        ) -> None:
            self._line.show(stage, step, total, eta_s, losses)

        def warning(self, message: str) -> None:
            self._line.interrupt(f"warning: {make_printable(message)}")

        def check_cancelled(self) -> None:
            if _interrupted.is_set():
                raise Cancelled("Cancelled.")

        def finish(self) -> None:
            self._line.finish()

    return CommandObserver()


def _run_adapt(arguments: argparse.Namespace) -> int:
    from confuda.app.run import run_job

    job = Job(**read_options(arguments))
    use_threads(job.threads)
    observer = _make_observer()
    try:
        summary = run_job(job, observer)
    finally:
        observer.finish()
    if arguments.json:
        print(json.dumps(summary))
    else:
        print("\n".join(describe_outcome(summary)))
    return 0


def _run_segment(arguments: argparse.Namespace) -> int:
    from confuda.app.run import check_outputs_of_all, run_job
    from confuda.cohort.volumes import name_outputs
    from confuda.io.file_name import expand_patterns
    from confuda.io.volume_file import may_be_dicom

    same = read_options(arguments, SEGMENT_OPTIONS)
    volumes = expand_patterns(arguments.volumes)
    use_threads(same["threads"])
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {arguments.output} cannot be made: {error.strerror}.") from error
    ending = ".seq.nrrd" if is_cine(same["frames"]) else ".seg.nrrd"
    summaries, worst = [], 0
    jobs = []
    for volume, name in zip(volumes, name_outputs(volumes)):
        dicom_seg = arguments.output / f"{name}.dcm" if arguments.dicom_seg and may_be_dicom(volume) else None
        output = arguments.output / f"{name}{ending}"
        jobs.append(Job(volume, output, method="none", dicom_seg=dicom_seg, **same))
    check_outputs_of_all(jobs)
    for job in jobs:
        observer = _make_observer()
        try:
            summaries.append(run_job(job, observer))
        except (InputError, MemoryExhausted) as error:
            # The other volumes are worth having all the same.
            print(f"confuda: {make_printable(str(error))}", file=sys.stderr)
            worst = max(worst, error.exit_code)
        finally:
            observer.finish()
    if arguments.json:
        print(json.dumps(summaries))
    else:
        for summary in summaries:
            print(summary["output"])
    return worst


def _run_evaluate(arguments: argparse.Namespace) -> int:
    from confuda.io.segmentation_file import read_foreign_segmentation
    from confuda.measure.common_grid import find_common_grid
    from confuda.measure.metrics import evaluate

    read = []
    for name in ("reference", "prediction"):
        labels, reading = read_foreign_segmentation(getattr(arguments, name), getattr(arguments, f"{name}_labels"))
        read.append(labels)
        if reading:
            report_line(f"{name}: labels read {reading}")
    grid = find_common_grid(*read)
    if grid.is_extended:
        report_line("reference and prediction cover different parts of one grid: beyond each there is background")
    scores = evaluate(grid.reference, grid.prediction)
    if arguments.json:
        print(json.dumps(scores))
        return 0
    print(f"{'':8}{'Dice':>8}{'HD95 mm':>10}{'ASD mm':>9}{'ref mL':>9}{'pred mL':>9}")
    for name, row in scores.items():
        cells = f"{row['dice']:8.3f}{row['hd95_mm']:10.1f}{row['asd_mm']:9.2f}"
        if "reference_ml" in row:
            cells += f"{row['reference_ml']:9.1f}{row['prediction_ml']:9.1f}"
        print(f"{name:8}{cells}")
    return 0


def _run_benchmark(arguments: argparse.Namespace) -> int:
    from confuda.benchmark.command import run_benchmark
    from confuda.benchmark.options import BenchmarkOptions

    names = ("methods", "method_files", "settings", "seeds")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    options = BenchmarkOptions(
        table=arguments.table,
        data=arguments.data,
        output=arguments.output,
        scale=arguments.scale,
        folds=arguments.folds,
        only_folds=arguments.only_folds,
        seed=arguments.seed,
        values=dict(arguments.values),
        device=arguments.device,
        threads=arguments.threads,
        devices=arguments.devices,
        nodes=arguments.nodes,
        precision=arguments.precision,
        **given,
    )
    for path in run_benchmark(options, report_line):
        print(path)
    return 0


def _run_cost(arguments: argparse.Namespace) -> int:
    from confuda.benchmark.cost import CostOptions, run_cost

    names = ("resolutions", "channels", "partitions", "repeats", "memory_limit_gb")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    options = CostOptions(arguments.output, threads=arguments.threads, device=arguments.device, **given)
    for path in run_cost(options, report_line):
        print(path)
    return 0


def _run_cohort(arguments: argparse.Namespace) -> int:
    from confuda.cohort.command import CohortOptions, run_cohort
    from confuda.cohort.dask_pool import PoolOptions

    where = ("workers", "scheduler", "threads", "memory_limit", "retries")
    given = read_options(arguments, COHORT_OPTIONS)
    if isinstance(given["frames"], int):
        raise UsageError("A cohort of cines takes --frames all or --frames ed,es.")
    options = CohortOptions(
        folder=arguments.folder,
        output=arguments.output,
        **{name: given.pop(name) for name in ("bundle", "device", "frames", "wall", "scar")},
        adaptation=given,
        segment_only=arguments.segment_only,
        adapt_on=arguments.adapt_on,
        dicom_seg=arguments.dicom_seg,
        pattern=arguments.match,
        pool=PoolOptions(**{name: getattr(arguments, name) for name in where}),
    )
    result = run_cohort(options, report_line)
    print(result.table)
    print(result.sheet)
    return 1 if result.failed else 0


RUN: Dict[str, Callable[[argparse.Namespace], int]] = {
    "adapt": _run_adapt,
    "segment": _run_segment,
    "train": run_train,
    "bundle build": run_bundle_build,
    "bundle show": run_bundle_show,
    "bundle verify": run_bundle_verify,
    "evaluate": _run_evaluate,
    "benchmark": _run_benchmark,
    "cost": _run_cost,
    "cohort": _run_cohort,
}
"""What does a command, by the name that :func:`confuda.app.options.build_parser` gives it."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns its exit code. Errors a user can meet become one line on stderr."""
    with tolerant_streams() as results:
        try:
            code = _run(build_parser().parse_args(arguments))
        except SystemExit:  # The help was printed, or what was wrong with the arguments.
            if _has_lost(results):
                return InputError.exit_code
            raise
        return code or (InputError.exit_code if _has_lost(results) else 0)


def _has_lost(results: TolerantStream) -> bool:
    """Whether results could not be printed, which is told; whoever has stopped reading wants to hear no more."""
    results.flush()
    if results.error is None or results.error.errno in _READER_GONE:
        return False
    print(f"confuda: The results cannot be printed: {results.error.strerror}.", file=sys.stderr)
    return True


def _run(parsed: argparse.Namespace) -> int:
    let_threads_sleep()
    keep_torch_from_making_folders()

    def interrupt(number: int, frame: Any) -> NoReturn:
        _interrupted.set()
        raise Cancelled("Cancelled.")

    _interrupted.clear()
    previous = {number: signal.signal(number, interrupt) for number in _list_signals()}
    try:
        return RUN[parsed.run](parsed)
    except ConfudaError as error:
        print(f"confuda: {make_printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if is_out_of_memory(error):
            # Not even torch could be loaded, say.
            print("confuda: Not enough memory: close other programs.", file=sys.stderr)
            return MemoryExhausted.exit_code
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        if isinstance(error, OSError) and error.filename and error.strerror:
            # A full disk, a name that is too long, a right that is missing: it is known what and where.
            told = f"{error.filename} cannot be used: {error.strerror}."
            print(f"confuda: {make_printable(told)}", file=sys.stderr)
            return InputError.exit_code
        print(f"confuda: {describe_unexpected(error)}; set {TRACEBACK_VARIABLE}=1 to see where.", file=sys.stderr)
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _list_signals() -> List[int]:
    """The signals that end a command in order. Who started it with nohup wants no end when the terminal closes."""
    signals: List[int] = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows knows none.
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        signals.append(hang_up)
    return signals


if __name__ == "__main__":
    sys.exit(main())
