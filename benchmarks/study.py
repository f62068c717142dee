"""How a study of this folder runs as a command: its lines on stderr, its errors as one sentence and an exit code."""

import argparse
import sys
from pathlib import Path
from typing import Any, Callable

from confuda.adaptation.settings import DEFAULT_PRESET, METHODS
from confuda.errors import ConfudaError


def say(line: str) -> None:
    """Print ``line`` on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def run_study(run: Callable[[argparse.Namespace], Any], arguments: argparse.Namespace, name: str = "") -> int:
    """Print what ``run`` returns, if anything; the exit code. ``name`` goes before an error's sentence."""
    try:
        text = run(arguments)
    except ConfudaError as error:
        say(f"{name}: {error}" if name else str(error))
        return error.exit_code
    if text is not None:
        print(text)
    return 0


def add_segmenter_options(parser: argparse.ArgumentParser) -> None:
    """``--bundle``, ``--method``, ``--preset`` and ``--device``, for a study that segments each volume one way."""
    parser.add_argument("--bundle", type=Path, help="a bundle's folder (the shipped one by default)")
    parser.add_argument("--method", choices=METHODS, default="none")
    parser.add_argument("--preset", default=DEFAULT_PRESET)
    parser.add_argument("--device", default="auto")
