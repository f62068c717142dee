"""How long the program takes, from the start of its process to the file written: by preset, by size, and why.

    python benchmarks/speed.py -o out/speed
    python benchmarks/speed.py -o out/speed --parts scaling --slices 5 30 --sizes 256 --repeats 1

Parts: ``presets`` (each preset, no adaptation, and ``confuda segment`` with an adapted bundle), ``scaling`` (over
slices and image size), ``profile`` (operators of one step, its share of the machine's peak), ``import`` (what loads
before torch). The volume is made of the bundled sample, or given. Writes speed.json, speed.md and, of the scaling,
scaling.png. Leave the machine alone meanwhile: the load at the start is written down, too.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from scores import write_json
from speed_report import draw_scaling, format_report
from speed_volume import make_volume
from step_profile import profile_step
from study import run_study, say

import confuda
from confuda.adaptation.settings import DEFAULT_PRESET
from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.device import has_fast_bfloat16
from confuda.errors import UsageError
from confuda.io.atomic import write_text

PARTS = ("presets", "scaling", "profile", "import")
ALWAYS = "strength=1"
"""The network is sure of the sample: by need no step would be taken, and there would be none to time."""

IMPORT_SCRIPT = """
import json, sys, time
began = time.perf_counter()
import confuda.app.cli
cli_s, loaded = time.perf_counter() - began, "torch" in sys.modules
began = time.perf_counter()
import torch
torch_s = time.perf_counter() - began
began = time.perf_counter()
import confuda.app.run
pipeline_s = time.perf_counter() - began
print(json.dumps({"cli_s": cli_s, "cli_loads_torch": loaded, "torch_s": torch_s, "pipeline_s": pipeline_s}))
"""


def describe_machine() -> Dict[str, Any]:
    """Processor, cores, torch, arithmetic, and the load (average of the last minute) before anything is measured."""
    name = platform.processor()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = [line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fast_bfloat16": has_fast_bfloat16(torch.device("cpu")),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def make_environment(threads: Optional[int] = None) -> Dict[str, str]:
    """The environment of a process that imports this very package, on ``threads`` CPU threads."""
    paths = [str(Path(confuda.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    if threads is not None:
        environment.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    return environment


def run_confuda(arguments: Sequence[str], threads: int, written: Path) -> Dict[str, Any]:
    """One run of ``python -m confuda ARGUMENTS --json``: its summary, and the seconds from its start.

    ``to_file_s``: to the segmentation ``written``; ``to_exit_s``: to the end of the process.

    Raises:
        UsageError: with the program's own message, if it fails.
    """
    clock = time.time()
    to_exit_s, printed = time_command([*arguments, "--json"], make_environment(threads))
    summary = json.loads(printed)
    summary = summary[0] if isinstance(summary, list) else summary
    return {"to_file_s": written.stat().st_mtime - clock, "to_exit_s": to_exit_s, "summary": summary}


def time_command(arguments: Sequence[str], environment: Dict[str, str]) -> Tuple[float, str]:
    """Seconds of ``python -m confuda ARGUMENTS`` from its start to its end, and what it printed.

    Raises:
        UsageError: with the program's own message, if it fails.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "confuda", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if result.returncode != 0:
        message = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"'confuda {arguments[0]}' ended with exit code {result.returncode}: {message}")
    return seconds, result.stdout


def repeat(arguments: Sequence[str], threads: int, written: Path, repeats: int) -> Dict[str, Any]:
    """Medians over ``repeats`` runs of :func:`run_confuda`, with the shortest and the longest run."""
    runs = [run_confuda(arguments, threads, written) for _ in range(repeats)]
    totals = [run["to_file_s"] for run in runs]
    stages = {
        stage: round(median(run["summary"]["seconds"].get(stage, 0.0) for run in runs), 2)
        for stage in runs[0]["summary"]["seconds"]
    }
    memory = [run["summary"]["peak_memory_mb"] for run in runs if run["summary"]["peak_memory_mb"] is not None]
    return {
        "threads": threads,
        "to_file_s": round(median(totals), 2),
        "shortest_s": round(min(totals), 2),
        "longest_s": round(max(totals), 2),
        "to_exit_s": round(median(run["to_exit_s"] for run in runs), 2),
        "stages_s": stages,
        "peak_memory_mb": max(memory) if memory else None,
        "steps": runs[0]["summary"]["steps"],
        "repeats": repeats,
    }


def measure_presets(arguments: argparse.Namespace, folder: Path) -> List[Dict[str, Any]]:
    """No adaptation, each preset, and prediction with an adapted bundle, on each number of threads."""
    volume = arguments.volume or make_volume(15, 512, folder / "volume.nrrd")
    output, adapted, segmented = folder / "out.seg.nrrd", folder / "adapted", folder / "segmented"
    adapt = ["adapt", str(volume), "-o", str(output), "--bundle", str(arguments.bundle)]
    overrides = _repeat_option("--set", [ALWAYS, *arguments.set])
    runs = {"adapt, none": ([*adapt, "--method", "none"], output)}
    for preset in arguments.presets:
        runs[f"adapt, {preset}"] = ([*adapt, "--preset", preset, *overrides], output)
    segment = ["segment", str(volume), "-o", str(segmented), "--bundle", str(adapted)]
    runs["segment, adapted bundle"] = (segment, segmented / f"{volume.name.split('.')[0]}.seg.nrrd")
    run_confuda([*adapt, "--preset", "fast", *overrides, "--save-bundle", str(adapted)], max(arguments.threads), output)
    rows = []
    for threads in arguments.threads:
        for name, (command, written) in runs.items():
            rows.append({"run": name, **repeat(command, threads, written, arguments.repeats)})
            say(f"{name}, {threads} threads: {rows[-1]['to_file_s']} s")
    return rows


def measure_scaling(arguments: argparse.Namespace, folder: Path) -> List[Dict[str, Any]]:
    """No adaptation and the default preset over the number of slices, and over the image size, on most threads."""
    shapes = [("slices", slices, arguments.base_size) for slices in arguments.slices]
    shapes += [("size", arguments.base_slices, size) for size in arguments.sizes]
    overrides = _repeat_option("--set", [ALWAYS, *arguments.set])
    methods = {"none": ["--method", "none"], DEFAULT_PRESET: ["--preset", DEFAULT_PRESET, *overrides]}
    rows = []
    for over, slices, size in shapes:
        volume = make_volume(slices, size, folder / f"volume-{slices}-{size}.nrrd")
        output = folder / "scaled.seg.nrrd"
        for name, options in methods.items():
            command = ["adapt", str(volume), "-o", str(output), "--bundle", str(arguments.bundle), *options]
            measured = repeat(command, max(arguments.threads), output, arguments.repeats)
            rows.append({"over": over, "slices": slices, "size": size, "run": name, **measured})
            say(f"{slices} slices of {size} x {size}, {name}: {measured['to_file_s']} s")
    return rows


def measure_profile(arguments: argparse.Namespace, folder: Path) -> List[Dict[str, Any]]:
    """One step of the default preset on each number of threads."""
    volume = arguments.volume or make_volume(15, 512, folder / "volume.nrrd")
    rows = []
    for threads in arguments.threads:
        rows.append(
            profile_step(volume, arguments.bundle, DEFAULT_PRESET, threads, arguments.profile_steps, arguments.matrix)
        )
        say(f"profile, {threads} threads: {rows[-1]['step_s']} s a step")
    return rows


def measure_import(repeats: int) -> Dict[str, Any]:
    """Medians of what starting costs: Python alone, the command line's own imports, torch, the pipeline after it."""
    bare, runs = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", ""], check=True)
        bare.append(time.perf_counter() - began)
        command = [sys.executable, "-c", IMPORT_SCRIPT]
        started = subprocess.run(command, check=True, capture_output=True, text=True, env=make_environment())
        runs.append(json.loads(started.stdout))
    result: Dict[str, Any] = {"python_s": round(median(bare), 3)}
    for name in ("cli_s", "torch_s", "pipeline_s"):
        result[name] = round(median(run[name] for run in runs), 3)
    result["cli_loads_torch"] = any(run["cli_loads_torch"] for run in runs)
    return result


def _repeat_option(option: str, values: Sequence[str]) -> List[str]:
    return [word for value in values for word in (option, value)]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of speed.json, speed.md, scaling.png")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--volume", type=Path, help="for presets and profile (512 x 512 x 15 of the sample by default)")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced", "thorough"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the tables show medians")
    parser.add_argument("--slices", nargs="+", type=int, default=[5, 10, 15, 30])
    parser.add_argument("--sizes", nargs="+", type=int, default=[192, 256, 512])
    parser.add_argument("--base-slices", type=int, default=15, help="slices while the size changes")
    parser.add_argument("--base-size", type=int, default=512, help="rows and columns while the slices change")
    parser.add_argument("--profile-steps", type=int, default=8)
    parser.add_argument(
        "--matrix", type=int, default=4096, help="rows and columns of the product that measures the peak"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for every adaptation")
    return parser


def run(arguments: argparse.Namespace) -> str:
    """Measure the parts asked for and write the files; returns the tables.

    Raises:
        ConfudaError: if a run of the program fails, with its message.
    """
    arguments.output.mkdir(parents=True, exist_ok=True)
    result: Dict[str, Any] = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "import" in arguments.parts:
            result["import"] = measure_import(arguments.repeats)
        if "presets" in arguments.parts:
            result["presets"] = measure_presets(arguments, folder)
        if "scaling" in arguments.parts:
            result["scaling"] = measure_scaling(arguments, folder)
            draw_scaling(result["scaling"], arguments.output / "scaling.png")
        if "profile" in arguments.parts:
            result["profile"] = measure_profile(arguments, folder)
    write_json(result, arguments.output / "speed.json")
    text = format_report(result)
    write_text(arguments.output / "speed.md", text)
    return text


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return run_study(run, build_parser().parse_args(arguments), "speed")


if __name__ == "__main__":
    sys.exit(main())
