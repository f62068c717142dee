"""The command line, ``confuda ...``: options to calls, errors to one line and an exit code. Torch loads only when
needed."""

import argparse
import functools
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Dict, NoReturn, Optional, Sequence, Tuple

from confuda import __version__
from confuda.errors import Cancelled, ConfudaError, InputError, MemoryExhausted, UsageError, is_out_of_memory
from confuda.privacy import keep_torch_from_making_folders
from confuda.settings import DEFAULT_PRESET, METHODS, MODES, PRESETS

NOT_A_DEVICE = "A research tool, not a medical device: not for diagnosis or treatment."
TRACEBACK_VARIABLE = "CONFUDA_TRACEBACK"

_interrupted = threading.Event()
"""Set by a signal, whose exception a library that imports or cleans up at that moment may swallow."""


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        self.exit(UsageError.exit_code, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _read_pair(text: str) -> Tuple[float, float]:
    parts = text.split(",")
    try:
        i, j = (float(part) for part in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no pair I,J") from None
    return i, j


def _read_slice(text: str) -> Optional[int]:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no slice number, nor 'auto'") from None


def _read_setting(text: str) -> Tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _read_label_values(text: str) -> Dict[str, int]:
    from confuda.labels import parse_label_values

    try:
        return parse_label_values(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run``, the function that does it."""
    parser = _Parser(prog="confuda", description=f"Adapt to and segment short-axis cardiac MR. {NOT_A_DEVICE}")
    parser.add_argument("--version", action="version", version=f"confuda {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    _add_adapt(commands)
    _add_segment(commands)
    _add_train(commands)
    _add_bundle(commands)
    _add_evaluate(commands)
    _add_benchmark(commands)
    _add_cohort(commands)
    return parser


def _add_adapt(commands: Any) -> None:
    adapt = commands.add_parser("adapt", help="adapt the network to one volume and segment it")
    adapt.add_argument("volume", type=Path, help="NIfTI, NRRD, MetaImage, or a folder of DICOM files")
    adapt.add_argument("-o", "--output", type=Path, required=True, help=".seg.nrrd, or .nii.gz/.nrrd labelmap; of a "
                       "DICOM folder also .dcm, a DICOM SEG, which names the patient as its images do")  # fmt: skip
    adapt.add_argument("--mode", choices=MODES, default="few-shot")
    adapt.add_argument("--slice", type=_read_slice, metavar="K|auto", help="the slice of the one-shot mode, from 0")
    adapt.add_argument("--method", choices=METHODS, default="confuda")
    adapt.add_argument("--preset", choices=tuple(PRESETS), default=DEFAULT_PRESET)
    adapt.add_argument("--bundle", type=Path, help="a bundle's folder (the shipped one by default)")
    adapt.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    adapt.add_argument("--seed", type=int, default=0)
    adapt.add_argument("--center", type=_read_pair, metavar="I,J", help="in-plane voxel indices of the heart's middle")
    adapt.add_argument("--set", type=_read_setting, action="append", default=[], metavar="NAME=VALUE", dest="settings",
                       help="override one setting of the preset, e.g. --set steps=30")  # fmt: skip
    adapt.add_argument("--save-bundle", type=Path, metavar="DIR", help="keep the adapted network as a bundle")
    adapt.add_argument("--report", type=Path, metavar="DIR", help="a page about this case, DIR/report.html")
    adapt.add_argument(
        "--uncertainty", type=Path, metavar="FILE", help="entropy from 0 to 1 on the volume's grid, .nrrd or .nii.gz"
    )
    adapt.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")
    adapt.set_defaults(run=_run_adapt)


def _add_segment(commands: Any) -> None:
    segment = commands.add_parser("segment", help="predict only, with a shipped or an adapted bundle")
    segment.add_argument("volumes", type=Path, nargs="+", metavar="VOLUME")
    segment.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the .seg.nrrd files"
    )
    segment.add_argument("--bundle", type=Path, required=True)
    segment.add_argument("--device", default="auto")
    segment.add_argument("--json", action="store_true", help="the summaries as one JSON list on stdout")
    segment.set_defaults(run=_run_segment)


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="pretrain RAIN, the segmenter, or both on labelled source data")
    train.add_argument("what", choices=("rain", "segmenter", "all"))
    train.add_argument("--dataset", choices=("acdc",), default="acdc", help="layout of the data")
    train.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that holds patient001, ...")
    train.add_argument("--labels", type=_read_label_values, metavar="MYO=2,LV=1,RV=5", help="what the values in the "
                       "label files mean, where they are not ACDC's")  # fmt: skip
    train.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of checkpoint and log")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    train.add_argument(
        "--from", type=Path, metavar="BUNDLE", dest="start", help="begin with the segmenter of this bundle"
    )
    train.add_argument("--set", type=_read_setting, action="append", default=[], metavar="NAME=VALUE", dest="settings")
    train.add_argument("--threads", type=int, help="CPU threads (torch's choice by default)")
    _add_launch(train)
    train.set_defaults(run=_run_train)


def _add_launch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="processes on each machine, a device each")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (docs/developers.md)")
    parser.add_argument("--precision", metavar="P", help="32-true, bf16-mixed or 16-mixed (what is fast, by default)")


def _add_bundle(commands: Any) -> None:
    bundle = commands.add_parser("bundle", help="build, show or verify a bundle")
    actions = bundle.add_subparsers(dest="action", required=True, parser_class=_Parser)
    build = actions.add_parser("build", help="make a bundle of two finished trainings")
    build.add_argument("--training", type=Path, metavar="DIR", help="folder of 'confuda train all'")
    build.add_argument("--segmenter", type=Path, metavar="DIR", help="folder of 'confuda train segmenter'")
    build.add_argument("--rain", type=Path, metavar="DIR", help="folder of 'confuda train rain', or a bundle")
    build.add_argument("--dataset", choices=("acdc",), default="acdc")
    build.add_argument("--data", type=Path, required=True, metavar="DIR", help="the source data, for the exemplars")
    build.add_argument("--name", default="confuda-acdc")
    build.add_argument("--source", metavar="TEXT", help="for the description: what own data these are")
    build.add_argument("--licence", metavar="TEXT", help="for the description: the terms of own data")
    build.add_argument(
        "--class-weights", type=float, nargs=4, default=[1, 1, 1, 1], metavar=("BACKGROUND", "MYO", "LV", "RV"),
        help="what soft labels are multiplied by before the largest decides",
    )  # fmt: skip
    build.add_argument("--scores", type=Path, help="JSON of measured scores to keep in the description")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    build.set_defaults(run=_run_bundle_build)
    for action, help_text in (("show", "print the description"), ("verify", "check files and hashes")):
        parser = actions.add_parser(action, help=help_text)
        parser.add_argument("folder", type=Path, nargs="?", help="the shipped bundle by default")
        parser.set_defaults(run=_run_bundle_show if action == "show" else _run_bundle_verify)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="score a segmentation against a reference")
    evaluate.add_argument("reference", type=Path)
    evaluate.add_argument("prediction", type=Path)
    evaluate.add_argument("--dataset", help="whose label values the reference has (guessed by default)")
    evaluate.add_argument("--json", action="store_true")
    evaluate.set_defaults(run=_run_evaluate)


def _add_benchmark(commands: Any) -> None:
    benchmark = commands.add_parser("benchmark", help="the paper's tables, and the cost of its losses")
    tables = benchmark.add_subparsers(dest="table", required=True, parser_class=_Parser)
    for table, help_text in (("table1", "methods by setting"), ("table2", "the ablation")):
        _add_table(tables.add_parser(table, help=f"{help_text}, on MS-CMRSeg, resumed where a run stopped"))
    _add_cost(tables)


def _add_table(benchmark: argparse.ArgumentParser) -> None:
    benchmark.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of patient1_C0.nii.gz, ...")
    benchmark.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the cells, which both tables share"
    )
    benchmark.add_argument("--scale", choices=("small", "paper"), default="small", help="small is for two CPU cores")
    benchmark.add_argument("--folds", type=int, default=5, metavar="K", help="folds over patients (5 by default)")
    benchmark.add_argument("--only-folds", type=int, nargs="+", default=[], metavar="N", help="run only these, 1 to K")
    benchmark.add_argument("--seed", type=int, default=0, help="of the split and of the source networks")
    benchmark.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="one run of a cell each")
    benchmark.add_argument("--methods", nargs="+", metavar="METHOD", help="rows of table1 (all by default)")
    benchmark.add_argument("--settings", nargs="+", metavar="SETTING", help="of one-shot, few-shot, full")
    benchmark.add_argument("--set", type=_read_setting, action="append", default=[], metavar="NAME=VALUE",
                           dest="values", help="override a setting, or source.NAME, or rain.NAME")  # fmt: skip
    benchmark.add_argument("--threads", type=int, help="CPU threads (torch's choice by default)")
    _add_launch(benchmark)
    benchmark.set_defaults(run=_run_benchmark)


def _add_cost(tables: Any) -> None:
    cost = tables.add_parser("cost", help="time and memory of one step of each contrastive loss, over the resolution")
    cost.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of cells and table")
    cost.add_argument("--resolutions", type=int, nargs="+", metavar="N", help="56 112 224 448 by default")
    cost.add_argument("--channels", type=int, nargs="+", metavar="N", help="of the feature maps; 16 32 64 by default")
    cost.add_argument("--partitions", type=int, nargs="+", metavar="P", help="rows of MPCCL beside P = 1 and P = H*W")
    cost.add_argument("--repeats", type=int, metavar="N", help="timed steps of a cell (5 by default)")
    cost.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's choice by default)")
    cost.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    cost.add_argument("--memory-limit-gb", type=float, metavar="GB", help="what would need more is not run (8)")
    cost.set_defaults(run=_run_cost)


def _add_cohort(commands: Any) -> None:
    cohort = commands.add_parser(
        "cohort",
        help="adapt to and segment all volumes of a folder on Dask, resumed where a run stopped",
        description="Writes DIR/results.csv, DIR/contact-sheet.html and DIR/segmentations/NAME.seg.nrrd. Exit codes: 0 "
        f"all cases done, 1 some failed (results.csv says why), otherwise as 'confuda adapt'. {NOT_A_DEVICE}",
    )
    cohort.add_argument("folder", type=Path, help="searched with its subfolders for NIfTI, NRRD, MetaImage and DICOM")
    cohort.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="new, or of an earlier run")
    cohort.add_argument("--match", default="*", metavar="GLOB", help="only paths below FOLDER that fit, e.g. '*LGE*'")
    where = cohort.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler, tcp://HOST:8786; its workers need "
                       "confuda and the same paths")  # fmt: skip
    cohort.add_argument("--threads", type=int, metavar="N", help="CPU threads a case (cores/workers; 1 on a scheduler)")
    cohort.add_argument("--memory-limit", metavar="SIZE", help="of a worker here, e.g. 4GiB (memory / workers)")
    cohort.add_argument("--retries", type=int, default=2, metavar="N", help="further tries of a case whose worker died")
    cohort.add_argument("--mode", choices=MODES, default="few-shot")
    cohort.add_argument("--method", choices=METHODS, default="confuda")
    cohort.add_argument("--preset", choices=tuple(PRESETS), default=DEFAULT_PRESET)
    cohort.add_argument("--bundle", type=Path, help="a bundle's folder (the shipped one by default)")
    cohort.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    cohort.add_argument("--seed", type=int, default=0)
    cohort.add_argument("--set", type=_read_setting, action="append", default=[], metavar="NAME=VALUE", dest="settings")
    cohort.add_argument("--segment-only", action="store_true", help="no adaptation: the bundle as it is")
    cohort.add_argument("--adapt-on", nargs="+", default=[], metavar=("N", "VOLUME"), help="adapt once, to N volumes "
                        "or to these, keep DIR/adapted-bundle, and segment all with it: seconds a volume")  # fmt: skip
    cohort.set_defaults(run=_run_cohort)


def _make_observer() -> Any:
    from confuda.pipeline import Observer

    class ProgressLine(Observer):
        """One line on stderr that renews itself on a terminal; one line a stage elsewhere."""

        def __init__(self) -> None:
            self.live = sys.stderr.isatty()
            self.stage = ""

        def progress(
            self, stage: str, step: int, total: int, eta_s: Optional[float], losses: Optional[Dict[str, float]] = None
        ) -> None:
            text = f"{stage} {step}/{total}" if total > 1 else stage
            if eta_s is not None:
                text += f", {eta_s:.0f} s left"
            if losses:
                text += f", loss {losses['total']:.3f}"
            if self.live:
                sys.stderr.write(f"\r\x1b[K{text}")
            elif stage != self.stage:
                sys.stderr.write(text + "\n")
            self.stage = stage
            sys.stderr.flush()

        def warning(self, message: str) -> None:
            self.finish()
            print(f"warning: {message}", file=sys.stderr)

        def check_cancelled(self) -> None:
            if _interrupted.is_set():
                raise Cancelled("Cancelled.")

        def finish(self) -> None:
            if self.live and self.stage:
                sys.stderr.write("\n")
                self.stage = ""

    return ProgressLine()


def _run_adapt(arguments: argparse.Namespace) -> int:
    from confuda.dicom_job import run_dicom_job, wants_dicom
    from confuda.pipeline import Job, run_job

    job = Job(
        volume=arguments.volume,
        output=arguments.output,
        mode=arguments.mode,
        slice=arguments.slice,
        method=arguments.method,
        preset=arguments.preset,
        bundle=arguments.bundle,
        device=arguments.device,
        seed=arguments.seed,
        center=arguments.center,
        settings=dict(arguments.settings),
        save_bundle=arguments.save_bundle,
        report=arguments.report,
        uncertainty=arguments.uncertainty,
    )
    observer = _make_observer()
    try:
        summary = (run_dicom_job if wants_dicom(job.output) else run_job)(job, observer)
    finally:
        observer.finish()
    if arguments.json:
        print(json.dumps(summary))
    else:
        volumes = ", ".join(f"{name} {value:.1f} mL" for name, value in summary["volumes_ml"].items())
        print(f"{summary['output']}: {volumes} ({summary['seconds']['total']:.0f} s)")
    return 0


def _strip_ending(volume: Path) -> str:
    """The name of a volume without .nii.gz, .nrrd and the like; a DICOM folder keeps its whole name."""
    name = volume.resolve().name
    for ending in (".nii.gz", ".seg.nrrd", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _run_segment(arguments: argparse.Namespace) -> int:
    from confuda.errors import InputError
    from confuda.pipeline import Job, run_job

    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {arguments.output} cannot be made: {error.strerror}.") from error
    outputs = [arguments.output / f"{_strip_ending(volume)}.seg.nrrd" for volume in arguments.volumes]
    if len(set(outputs)) < len(outputs):
        raise UsageError("Two of the volumes have the same name: segment them into folders of their own.")
    summaries, worst = [], 0
    for volume, output in zip(arguments.volumes, outputs):
        job = Job(volume, output, method="none", bundle=arguments.bundle, device=arguments.device)
        observer = _make_observer()
        try:
            summaries.append(run_job(job, observer))
        except InputError as error:
            # The other volumes are worth having all the same.
            print(f"confuda: {error}", file=sys.stderr)
            worst = error.exit_code
        finally:
            observer.finish()
    if arguments.json:
        print(json.dumps(summaries))
    else:
        for summary in summaries:
            print(summary["output"])
    return worst


def _read_launch(arguments: argparse.Namespace) -> Any:
    from confuda.launch import LaunchOptions

    return LaunchOptions(arguments.device, arguments.devices, arguments.nodes, arguments.precision)


def _report_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run_train(arguments: argparse.Namespace) -> int:
    from confuda.training.command import run_both_trainings, run_training
    from confuda.training.processes import Team

    team = Team(_read_launch(arguments), _report_line)
    train = run_both_trainings if arguments.what == "all" else functools.partial(run_training, arguments.what)
    train(
        arguments.dataset,
        arguments.data,
        arguments.output,
        dict(arguments.settings),
        arguments.resume,
        arguments.threads,
        _report_line,
        arguments.start,
        arguments.labels,
        team,
    )
    team.finish()
    return 0


def _run_bundle_build(arguments: argparse.Namespace) -> int:
    from confuda.training.command import build_bundle

    segmenter, rain = arguments.segmenter or arguments.training, arguments.rain or arguments.training
    if segmenter is None or rain is None:
        raise UsageError("A bundle is made of two trainings: give --training, or --segmenter and --rain.")
    scores = json.loads(arguments.scores.read_text(encoding="utf-8")) if arguments.scores else {}
    build_bundle(
        segmenter,
        rain,
        arguments.dataset,
        arguments.data,
        arguments.name,
        scores,
        arguments.output,
        arguments.class_weights,
        {"data": arguments.source, "licence": arguments.licence},
    )
    print(arguments.output)
    return 0


def _run_bundle_show(arguments: argparse.Namespace) -> int:
    from confuda.bundle import SHIPPED_BUNDLE, read_description

    print(json.dumps(read_description(arguments.folder or SHIPPED_BUNDLE), indent=2, ensure_ascii=False))
    return 0


def _run_bundle_verify(arguments: argparse.Namespace) -> int:
    from confuda.bundle import SHIPPED_BUNDLE, load_bundle

    folder = arguments.folder or SHIPPED_BUNDLE
    load_bundle(folder)
    print(f"{folder}: complete and undamaged")
    return 0


def _run_evaluate(arguments: argparse.Namespace) -> int:
    from confuda.data.segmentation_file import read_segmentation
    from confuda.evaluation.metrics import evaluate

    reference = read_segmentation(arguments.reference, arguments.dataset)
    scores = evaluate(reference, read_segmentation(arguments.prediction))
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
    from confuda.benchmark.command import BenchmarkOptions, run_benchmark

    given = {name: getattr(arguments, name) for name in ("methods", "settings") if getattr(arguments, name)}
    options = BenchmarkOptions(
        table=arguments.table,
        data=arguments.data,
        output=arguments.output,
        scale=arguments.scale,
        folds=arguments.folds,
        only_folds=arguments.only_folds,
        seed=arguments.seed,
        seeds=arguments.seeds,
        values=dict(arguments.values),
        device=arguments.device,
        threads=arguments.threads,
        devices=arguments.devices,
        nodes=arguments.nodes,
        precision=arguments.precision,
        **given,
    )
    for path in run_benchmark(options, lambda line: print(line, file=sys.stderr, flush=True)):
        print(path)
    return 0


def _run_cost(arguments: argparse.Namespace) -> int:
    from confuda.benchmark.cost import CostOptions, run_cost

    names = ("resolutions", "channels", "partitions", "repeats", "memory_limit_gb")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    options = CostOptions(arguments.output, threads=arguments.threads, device=arguments.device, **given)
    for path in run_cost(options, lambda line: print(line, file=sys.stderr, flush=True)):
        print(path)
    return 0


def _run_cohort(arguments: argparse.Namespace) -> int:
    from confuda.cohort.command import CohortOptions, run_cohort
    from confuda.cohort.dask_pool import PoolOptions

    where = ("workers", "scheduler", "threads", "memory_limit", "retries")
    same = ("folder", "output", "mode", "method", "preset", "bundle", "device", "seed", "segment_only", "adapt_on")
    options = CohortOptions(
        **{name: getattr(arguments, name) for name in same},
        settings=dict(arguments.settings),
        pattern=arguments.match,
        pool=PoolOptions(**{name: getattr(arguments, name) for name in where}),
    )
    result = run_cohort(options, lambda line: print(line, file=sys.stderr, flush=True))
    print(result.table)
    print(result.sheet)
    return 1 if result.failed else 0


def _make_printable(text: str) -> str:
    """One line, without the line ends and terminal commands that a file's name may bring along."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns the exit code of DESIGN.md. Errors a user can meet become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A console may not know all letters of a name; that is no reason to fail when the work is done.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parsed = build_parser().parse_args(arguments)
    keep_torch_from_making_folders()

    def interrupt(number: int, frame: Any) -> NoReturn:
        _interrupted.set()
        raise Cancelled("Cancelled.")

    _interrupted.clear()

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return parsed.run(parsed)
    except ConfudaError as error:
        print(f"confuda: {_make_printable(str(error))}", file=sys.stderr)
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
            print(f"confuda: {_make_printable(told)}", file=sys.stderr)
            return InputError.exit_code
        kind = type(error).__name__
        print(f"confuda: An unexpected error ({kind}); set {TRACEBACK_VARIABLE}=1 to see where.", file=sys.stderr)
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
