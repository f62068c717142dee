"""The options of the command line: what each command of ``confuda`` takes. Nothing is done here, no torch loaded."""

import argparse
from pathlib import Path
from typing import Any, Dict, NoReturn, Tuple

from confuda import NOT_A_DEVICE, __version__
from confuda.app.help_texts import WORTH_TEXT, explain
from confuda.app.job import add_options
from confuda.app.kinds import read_setting
from confuda.errors import UsageError

SEGMENT_OPTIONS = (
    "bundle",
    "device",
    "frames",
    "series",
    "spacing_mm",
    "threads",
    "wall",
    "scar",
    "output_labels",
)
COHORT_OPTIONS = ("mode", "method", "preset", "bundle", "device", "seed", "settings", "frames", "wall", "scar")
"""The options of a job that the commands take which do several at a time."""


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        self.exit(UsageError.exit_code, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _read_setting(text: str) -> Tuple[str, Any]:
    try:
        return read_setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_label_values(text: str) -> Dict[str, int]:
    from confuda.labels import parse_label_values

    try:
        return parse_label_values(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_foreign_values(text: str) -> Dict[str, int]:
    from confuda.labels import find_label_values

    try:
        return find_label_values(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run``, its name in ``confuda.app.cli.RUN``."""
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
    adapt = commands.add_parser(
        "adapt", help="adapt the network to one volume and segment it", **explain("adapt", WORTH_TEXT)
    )
    add_options(adapt)
    adapt.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")
    adapt.set_defaults(run="adapt")


def _add_segment(commands: Any) -> None:
    segment = commands.add_parser(
        "segment",
        help="predict only, with a shipped or an adapted bundle",
        **explain("segment", "A volume that is refused does not stop the others: the exit code is 3 in the end."),
    )
    segment.add_argument("volumes", type=Path, nargs="+", metavar="VOLUME", help="as for confuda adapt")
    segment.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the .seg.nrrd files"
    )
    add_options(segment, SEGMENT_OPTIONS)
    _add_dicom_seg(segment)
    segment.add_argument("--json", action="store_true", help="the summaries as one JSON list on stdout")
    segment.set_defaults(run="segment")


def _add_dicom_seg(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dicom-seg", action="store_true", help="of DICOM volumes also NAME.dcm, a DICOM SEG, which "
                        "names the patient as its images do")  # fmt: skip


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train", help="pretrain RAIN, the segmenter, or both on labelled source data", **explain("train")
    )
    train.add_argument(
        "what", choices=("rain", "segmenter", "all", "pack"),
        help="style transfer, network, or both; pack: the slices of one or several data sets in one small file",
    )  # fmt: skip
    train.add_argument("--dataset", choices=("acdc",), default="acdc", help="layout of the data (acdc by default)")
    train.add_argument("--data", action="append", default=[], metavar="[NAME=]DIR", help="folder that holds "
                       "patient001, ...; for pack several times, as acdc=DIR and mnms=DIR")  # fmt: skip
    train.add_argument("--packed", type=Path, metavar="FILE", help="train the segmenter on what 'train pack' wrote")
    train.add_argument("--minutes", type=float, metavar="M", help="with --packed: stop after so long, to be resumed")
    train.add_argument("--compile", action="store_true", help="with --packed: let torch compile the network (GPU)")
    train.add_argument("--labels", type=_read_label_values, metavar="MYO=2,LV=1,RV=5", help="what the values in the "
                       "label files mean, where they are not ACDC's")  # fmt: skip
    train.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                       help="folder of checkpoint and log; of pack the file")  # fmt: skip
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    train.add_argument(
        "--from", type=Path, metavar="BUNDLE", dest="start", help="begin with the segmenter of this bundle"
    )
    train.add_argument("--set", type=_read_setting, action="append", default=[], metavar="NAME=VALUE", dest="settings",
                       help="override one setting, e.g. --set steps=30")  # fmt: skip
    train.add_argument("--threads", type=int, help="CPU threads (torch's choice by default)")
    _add_launch(train)
    train.set_defaults(run="train")


def _add_launch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (by default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--devices", type=int, default=1, metavar="N", help="processes on each machine, a device each (1 by default)"
    )
    parser.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="machines, as docs/developers.md tells (1 by default)"
    )
    parser.add_argument("--precision", metavar="P", help="32-true, bf16-mixed or 16-mixed (what is fast by default)")


def _add_bundle(commands: Any) -> None:
    bundle = commands.add_parser("bundle", help="build, show or verify a bundle")
    actions = bundle.add_subparsers(dest="action", required=True, parser_class=_Parser)
    build = actions.add_parser("build", help="make a bundle of two finished trainings", **explain("bundle build"))
    build.add_argument("--training", type=Path, metavar="DIR", help="folder of 'confuda train all'")
    build.add_argument("--segmenter", type=Path, metavar="DIR", help="folder of 'confuda train segmenter'")
    build.add_argument("--rain", type=Path, metavar="DIR", help="folder of 'confuda train rain', or a bundle")
    build.add_argument("--dataset", choices=("acdc",), default="acdc", help="layout of the data (acdc by default)")
    build.add_argument("--data", type=Path, required=True, metavar="DIR", help="the source data, for the exemplars")
    build.add_argument("--name", default="confuda-acdc", help="of the bundle (confuda-acdc by default)")
    build.add_argument("--source", metavar="TEXT", help="for the description: what own data these are")
    build.add_argument("--licence", metavar="TEXT", help="for the description: the terms of own data")
    build.add_argument(
        "--class-weights", type=float, nargs=4, default=[1, 1, 1, 1], metavar=("BACKGROUND", "MYO", "LV", "RV"),
        help="what soft labels are multiplied by before the largest decides (1 1 1 1 by default)",
    )  # fmt: skip
    build.add_argument(
        "--scar-weights", type=float, nargs=4, default=[1, 1, 1, 1], metavar=("BACKGROUND", "MYO", "LV", "RV"),
        help="what comes on top where a volume shows scar as bright as blood (1 1 1 1 by default; shipped: 1 3 0.6 1)",
    )  # fmt: skip
    build.add_argument("--scores", type=Path, help="JSON of measured scores to keep in the description")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    build.set_defaults(run="bundle build")
    for action, help_text in (("show", "print the description"), ("verify", "check files and hashes")):
        parser = actions.add_parser(action, help=help_text, **explain(f"bundle {action}"))
        parser.add_argument("folder", type=Path, nargs="?", help="of the bundle (the shipped one by default)")
        parser.set_defaults(run=f"bundle {action}")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="score a segmentation against a reference", **explain("evaluate"))
    evaluate.add_argument("reference", type=Path, help="the truth: a segmentation or a label map")
    evaluate.add_argument("prediction", type=Path, help="what is scored, on the same grid")
    for name, more in (("reference", ["--dataset"]), ("prediction", [])):
        evaluate.add_argument(f"--{name}-labels", *more, type=_read_foreign_values, metavar="acdc|MYO=2,LV=3,RV=1",
                              help=f"whose label values the {name} has: acdc, ms-cmrseg, mnms, confuda, or which "
                              "(told by anatomy by default)")  # fmt: skip
    evaluate.add_argument("--json", action="store_true", help="the scores as one JSON object on stdout")
    evaluate.set_defaults(run="evaluate")


def _add_benchmark(commands: Any) -> None:
    benchmark = commands.add_parser("benchmark", help="the paper's tables, and the cost of its losses")
    tables = benchmark.add_subparsers(dest="table", required=True, parser_class=_Parser)
    for table, help_text in (("table1", "methods by setting"), ("table2", "the ablation")):
        described = f"{help_text}, on MS-CMRSeg, resumed where a run stopped"
        _add_table(tables.add_parser(table, help=described, **explain(f"benchmark {table}")))
    _add_cost(tables)


def _add_table(benchmark: argparse.ArgumentParser) -> None:
    benchmark.add_argument("--data", type=Path, required=True, metavar="DIR",
                           help="folder of patient1_C0.nii.gz, ..., or of the folders bssfp and native")  # fmt: skip
    benchmark.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the cells, which both tables share"
    )
    benchmark.add_argument(
        "--scale", choices=("small", "paper"), default="small", help="small (by default) is for two CPU cores"
    )
    benchmark.add_argument("--folds", type=int, default=5, metavar="K", help="folds over patients (5 by default)")
    benchmark.add_argument("--only-folds", type=int, nargs="+", default=[], metavar="N",
                           help="run only these, 1 to K (by default all; at the scale small all but fold 1, which "
                                "chose the budget)")  # fmt: skip
    benchmark.add_argument("--seed", type=int, default=0, help="of the split and of the source networks (0 by default)")
    benchmark.add_argument(
        "--seeds", type=int, nargs="+", default=[], metavar="SEED",
        help="one run of a cell each (0 by default, and 1 and 2 in one-shot and few-shot at the scale small)",
    )  # fmt: skip
    benchmark.add_argument("--methods", nargs="+", metavar="METHOD", help="rows of table1 (all by default)")
    benchmark.add_argument("--method-file", type=Path, action="append", default=[], metavar="FILE", dest="method_files",
                           help="a Python file with a method of your own, which becomes a row of table1")  # fmt: skip
    benchmark.add_argument(
        "--settings", nargs="+", metavar="SETTING", help="of one-shot, few-shot, full (all by default)"
    )
    benchmark.add_argument("--set", type=_read_setting, action="append", default=[], metavar="NAME=VALUE",
                           dest="values", help="override a setting, or source.NAME, or rain.NAME")  # fmt: skip
    benchmark.add_argument("--threads", type=int, help="CPU threads (torch's choice by default)")
    _add_launch(benchmark)
    benchmark.set_defaults(run="benchmark")


def _add_cost(tables: Any) -> None:
    cost = tables.add_parser(
        "cost", help="time and memory of a step of each contrastive loss", **explain("benchmark cost")
    )
    cost.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of cells and table")
    cost.add_argument(
        "--resolutions", type=int, nargs="+", metavar="N", help="sides of the image (56 112 224 448 by default)"
    )
    cost.add_argument("--channels", type=int, nargs="+", metavar="N", help="of the feature maps (16 32 64 by default)")
    cost.add_argument("--partitions", type=int, nargs="+", metavar="P", help="rows of MPCCL beside P = 1 and P = H*W")
    cost.add_argument("--repeats", type=int, metavar="N", help="timed steps of a cell (5 by default)")
    cost.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's choice by default)")
    cost.add_argument("--device", default="auto", help="auto (by default), cpu, cuda or cuda:N")
    cost.add_argument(
        "--memory-limit-gb", type=float, metavar="GB", help="what would need more is not run (8 by default)"
    )
    cost.set_defaults(run="cost")


def _add_cohort(commands: Any) -> None:
    cohort = commands.add_parser(
        "cohort",
        help="adapt to and segment all volumes of a folder on Dask, resumed where a run stopped",
        **explain(
            "cohort",
            "Writes DIR/results.csv, DIR/contact-sheet.html and DIR/segmentations/NAME.seg.nrrd. Exit codes: 0 all "
            f"cases done, 1 some failed (results.csv says why), otherwise as 'confuda adapt'. {NOT_A_DEVICE}",
        ),
    )
    cohort.add_argument("folder", type=Path, help="searched with its subfolders for NIfTI, NRRD, MetaImage and DICOM")
    cohort.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="new, or of an earlier run")
    cohort.add_argument("--match", default="*", metavar="GLOB", help="only paths below FOLDER that fit, e.g. '*LGE*' "
                        "(all by default)")  # fmt: skip
    where = cohort.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (1 by default)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler, tcp://HOST:8786; its workers need "
                       "confuda and the same paths")  # fmt: skip
    cohort.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads a case (cores/workers, 1 on a scheduler by default)"
    )
    cohort.add_argument(
        "--memory-limit", metavar="SIZE", help="of a worker here, e.g. 4GiB (memory/workers by default)"
    )
    cohort.add_argument("--retries", type=int, default=2, metavar="N", help="further tries of a case whose worker "
                        "died (2 by default)")  # fmt: skip
    add_options(cohort, COHORT_OPTIONS)
    _add_dicom_seg(cohort)
    cohort.add_argument("--segment-only", action="store_true", help="no adaptation: the bundle as it is")
    cohort.add_argument("--adapt-on", nargs="+", default=[], metavar=("N", "VOLUME"), help="adapt once, to N volumes "
                        "or to these, keep DIR/adapted-bundle, and segment all with it: seconds a volume")  # fmt: skip
    cohort.set_defaults(run="cohort")
