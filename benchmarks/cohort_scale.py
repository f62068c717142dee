"""A large cohort on two workers of this machine, one of which is killed in the middle.

    python benchmarks/cohort_scale.py -o out/cohort-scale

Makes volumes of the bundled sample (cut around the heart, each with another brightness, noise and place), runs `confuda
cohort` on them, ends one worker with `kill -9` when half of the cases are done, and watches the memory of the command
and of its workers. Then it checks that nothing is lost: a row a case, all done, each segmentation whole, no draft left.
Writes scale.json, and prints what it found; exit code 1 where something is missing. `--toy` takes the tests' small
networks and their painted hearts instead, for the machinery alone, where there is no time for the shipped network.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import psutil
import SimpleITK as sitk
from scores import write_json
from study import run_study, say

from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.errors import ConfudaError
from confuda.io.atomic import DRAFT_PREFIX

SAMPLE = SHIPPED_BUNDLE.parents[1] / "SampleData" / "SimulatedLGE.nrrd"
REPOSITORY = Path(__file__).resolve().parents[1]
WINDOW = ((60, 170), (90, 210), (2, 6))
"""Of the sample in voxels: four slices around the heart."""

LOOK_EVERY_S = 1.0
TOLD_LOSSES = 5


def make_volumes(folder: Path, count: int) -> None:
    """Write ``count`` volumes; what is there already stays."""
    sample = sitk.ReadImage(str(SAMPLE), sitk.sitkFloat32)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / name_volume(number)
        if path.exists():
            continue
        random = np.random.default_rng(number)
        shift = random.integers(-12, 13, size=2)
        (a, b), (c, d), (e, f) = WINDOW
        part = sample[int(a + shift[0]) : int(b + shift[0]), int(c + shift[1]) : int(d + shift[1]), e:f]
        noise = sitk.GetImageFromArray(random.normal(0, 8, part.GetSize()[::-1]).astype(np.float32))
        noise.CopyInformation(part)
        sitk.WriteImage(sitk.Cast(part * float(random.uniform(0.6, 1.6)) + noise, sitk.sitkInt16), str(path))


def make_toys(folder: Path, count: int) -> Path:
    """Write ``count`` painted hearts into ``folder``, where they are missing; returns the bundle that knows them."""
    sys.path.insert(0, str(REPOSITORY))
    from Testing.toy_bundle import make_heart, make_toy_bundle

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / name_volume(number)
        if not path.exists():
            sitk.WriteImage(make_heart(seed=number)[0], str(path))
    bundle = folder.parent / "toy-bundle"
    return bundle if bundle.exists() else make_toy_bundle(bundle)


def name_volume(number: int) -> str:
    return f"volume{number:05d}.nii.gz"


def find_workers(command: psutil.Process) -> List[psutil.Process]:
    """The worker processes that ``multiprocessing`` spawned for the command."""
    found = []
    for child in command.children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:  # It has ended in between.
            continue
    return found


def measure_mb(processes: Sequence[psutil.Process]) -> List[float]:
    """Resident memory of each, those that have ended left out."""
    sizes = []
    for process in processes:
        try:
            sizes.append(process.memory_info().rss / 1e6)
        except psutil.Error:
            continue
    return sizes


def watch(command: subprocess.Popen, records: Path, count: int) -> Tuple[List[Dict[str, Any]], int]:
    """Looks at a running command until it ends; kills a worker once. Returns the looks, and the cases done then."""
    looks: List[Dict[str, Any]] = []
    killed_at = 0
    own = psutil.Process(command.pid)
    began = time.monotonic()
    while command.poll() is None:
        time.sleep(LOOK_EVERY_S)
        done = len(list(records.glob("*.json"))) if records.is_dir() else 0
        try:
            workers = find_workers(own)
        except psutil.NoSuchProcess:
            break
        sizes = measure_mb(workers)
        if sizes and done:
            look = {"s": time.monotonic() - began, "done": done, "worker_mb": max(sizes)}
            looks.append({**look, "command_mb": sum(measure_mb([own]))})
        if not killed_at and done >= count // 2 and workers:
            killed_at = done
            say(f"{done} of {count} done: a worker is killed")
            workers[0].kill()
    return looks, killed_at


def compare_memory(looks: Sequence[Dict[str, Any]], name: str) -> Dict[str, float]:
    """Medians in MB over the second and the last quarter of the run: the first one fills caches."""
    quarter = max(1, len(looks) // 4)
    early, late = looks[quarter : 2 * quarter] or looks[:1], looks[-quarter:]
    return {when: round(median(look[name] for look in part), 1) for when, part in (("early", early), ("late", late))}


def list_losses(output: Path, volumes: Sequence[str]) -> List[str]:
    """What is missing or half, a sentence each; none is what is hoped for."""
    with open(output / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [f"{row['volume']}: {row['status']}: {row['reason']}" for row in rows if row["status"] != "done"]
    losses += [f"{name} has no row" for name in sorted(set(volumes) - {row["volume"] for row in rows})]
    if len(rows) != len(volumes):
        losses.append(f"{len(rows)} rows for {len(volumes)} volumes")
    for row in rows:
        if row["status"] != "done":
            continue
        path = output / row["segmentation"]
        try:
            sitk.ReadImage(str(path))
        except RuntimeError:
            losses.append(f"{path.name} cannot be read")
    losses += [f"{path.name} was left" for path in output.rglob(f"{DRAFT_PREFIX}*")]
    return losses


def measure(arguments: argparse.Namespace) -> str:
    """What was found, as text.

    Raises:
        ConfudaError: where something was lost.
    """
    output = arguments.output / "cohort"
    if output.exists():
        say(f"{output} is there already: the cases in it that are done are not done again")
    if arguments.toy:
        arguments.bundle = make_toys(arguments.output / "volumes", arguments.volumes)
    else:
        make_volumes(arguments.output / "volumes", arguments.volumes)
    volumes = [name_volume(number) for number in range(arguments.volumes)]
    command = [sys.executable, "-m", "confuda", "cohort", str(arguments.output / "volumes"), "-o", str(output)]
    command += ["--workers", str(arguments.workers), "--threads", "1", "--device", "cpu", "--preset", "fast"]
    command += ["--set", f"steps={arguments.steps}", "--set", "runs=1", "--set", "strength=1"]
    if arguments.bundle is not None:
        command += ["--bundle", str(arguments.bundle)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        looks, killed_at = watch(process, output / "cases", arguments.volumes)
    finally:
        process.kill()
        process.wait()
    seconds = time.monotonic() - began
    losses = list_losses(output, volumes)
    found = {
        "volumes": arguments.volumes,
        "workers": arguments.workers,
        "seconds": round(seconds, 1),
        "seconds_a_volume": round(seconds / arguments.volumes, 2),
        "worker_killed_after": killed_at,
        "exit_code": process.returncode,
        "worker_mb": compare_memory(looks, "worker_mb"),
        "command_mb": compare_memory(looks, "command_mb"),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "losses": losses,
    }
    write_json(found, arguments.output / "scale.json")
    if losses or process.returncode or not killed_at:
        first = "; ".join(losses[:TOLD_LOSSES])
        raise ConfudaError(f"exit code {process.returncode}, killed after {killed_at}, {len(losses)} losses: {first}")
    return "\n".join(f"{name}: {value}" for name, value in found.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--volumes", type=int, default=200, metavar="N", help="200 by default")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="2 by default")
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="of adaptation, a volume (2 by default)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the shipped one by default")
    parser.add_argument("--toy", action="store_true", help="small networks and painted hearts")
    return run_study(measure, parser.parse_args(), "cohort_scale")


if __name__ == "__main__":
    sys.exit(main())
