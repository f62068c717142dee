"""What the commands ``confuda train`` and ``confuda bundle`` do. Torch loads only when needed."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict

from confuda.app.terminal import report_line
from confuda.errors import InputError, UsageError


def _read_launch(arguments: argparse.Namespace) -> Any:
    from confuda.training.launch import LaunchOptions

    return LaunchOptions(arguments.device, arguments.devices, arguments.nodes, arguments.precision)


def run_train(arguments: argparse.Namespace) -> int:
    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError("--threads takes a number of at least 1.")
    if arguments.packed is not None or arguments.what == "pack":
        return _run_packed(arguments)
    if len(arguments.data) != 1:
        raise UsageError("Training takes one --data DIR (or --packed FILE).")
    from confuda.training.command import TrainingOrder, run_both_trainings, run_training
    from confuda.training.packed_command import parse_source
    from confuda.training.processes import Team

    team = Team(_read_launch(arguments), report_line)
    order = TrainingOrder(
        arguments.dataset,
        parse_source(arguments.data[0])[1],
        arguments.output,
        dict(arguments.settings),
        arguments.resume,
        arguments.threads,
        report_line,
        arguments.start,
        arguments.labels,
        team,
    )
    if arguments.what == "all":
        run_both_trainings(order)
    else:
        run_training(arguments.what, order)
    team.finish()
    return 0


def _run_packed(arguments: argparse.Namespace) -> int:
    import torch

    from confuda.training.packed_command import parse_source, run_pack, run_packed_training

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    values = dict(arguments.settings)
    if arguments.what == "pack":
        if not arguments.data:
            raise UsageError("Give the folders to pack with --data.")
        sources = [parse_source(text) for text in arguments.data]
        run_pack(sources, arguments.output, values, arguments.labels, report_line)
        return 0
    if arguments.what != "segmenter" or arguments.data:
        raise UsageError("--packed is for 'train segmenter', without --data.")
    run_packed_training(
        arguments.packed,
        arguments.output,
        values,
        arguments.resume,
        arguments.device,
        report_line,
        arguments.start,
        arguments.minutes,
        arguments.compile,
    )
    return 0


def run_bundle_build(arguments: argparse.Namespace) -> int:
    from confuda.training.bundle_building import build_bundle

    segmenter, rain = arguments.segmenter or arguments.training, arguments.rain or arguments.training
    if segmenter is None or rain is None:
        raise UsageError("A bundle is made of two trainings: give --training, or --segmenter and --rain.")
    scores = _read_scores(arguments.scores) if arguments.scores else {}
    build_bundle(
        segmenter,
        rain,
        arguments.dataset,
        arguments.data,
        arguments.name,
        scores,
        arguments.output,
        arguments.class_weights,
        arguments.scar_weights,
        {"data": arguments.source, "licence": arguments.licence},
    )
    print(arguments.output)
    return 0


def _read_scores(path: Path) -> Dict[str, Any]:
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: give the scores as one JSON object.") from error
    if not isinstance(scores, dict):
        raise InputError(f"{path} holds no JSON object: give the scores as one.")
    return scores


def run_bundle_show(arguments: argparse.Namespace) -> int:
    from confuda.bundle.description import read_description
    from confuda.bundle.format import SHIPPED_BUNDLE

    print(json.dumps(read_description(arguments.folder or SHIPPED_BUNDLE), indent=2, ensure_ascii=False))
    return 0


def run_bundle_verify(arguments: argparse.Namespace) -> int:
    from confuda.bundle.format import SHIPPED_BUNDLE, load_bundle

    folder = arguments.folder or SHIPPED_BUNDLE
    load_bundle(folder)
    print(f"{folder}: complete and undamaged")
    return 0
