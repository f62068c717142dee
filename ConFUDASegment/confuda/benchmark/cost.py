"""What ``confuda benchmark cost`` does: time and peak memory of one step of each contrastive loss, cell by cell.

A cell is one loss at one resolution and number of channels. Each is measured in a process of its own
(``confuda.benchmark.cost_step``), so that none inherits what another left in memory, and one that the system kills for
its memory takes nothing with it. What would go beyond the limit is refused before anything is allocated.
"""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch

from confuda import __version__
from confuda.benchmark.cells import hash_parts, read_cell
from confuda.benchmark.cost_report import draw_cost, format_cost
from confuda.benchmark.cost_step import BLOCKS, CENTROIDS, PIXELS, CostCase, estimate_step_bytes
from confuda.benchmark.machine import describe_machine
from confuda.device import choose_device
from confuda.errors import InputError, MemoryExhausted, UsageError
from confuda.io.atomic import write_text

COST_FORMAT = 2
CELLS_FOLDER = "cost-cells"

RESOLUTIONS = (56, 112, 224, 448)
CHANNELS = (16, 32, 64)
PARTITIONS = (2, 4, 16, 64, 256)

_BYTES_PER_GB = 1e9
_PACKAGE_FOLDER = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CostOptions:
    """What to measure; the fields are the options of the command line.

    resolutions: sides of square feature maps in pixels; channels: of the feature maps; partitions: P of the rows of
    MPCCL beside CCL (P = 1) and P = H*W, which are always there; memory_limit_gb: what a step may need by estimate.
    """

    output: Path
    resolutions: Sequence[int] = RESOLUTIONS
    channels: Sequence[int] = CHANNELS
    partitions: Sequence[int] = PARTITIONS
    repeats: int = 5
    threads: Optional[int] = None
    device: str = "auto"
    memory_limit_gb: float = 8.0

    def check(self) -> None:
        """Raises UsageError, naming the option and what it takes."""
        for option, values in (
            ("--resolutions", self.resolutions),
            ("--channels", self.channels),
            ("--partitions", self.partitions),
            ("--repeats", (self.repeats,)),
            ("--threads", () if self.threads is None else (self.threads,)),
        ):
            if min(values, default=1) < 1:
                raise UsageError(f"{option} takes numbers of at least 1.")
        if not self.memory_limit_gb > 0:
            raise UsageError("--memory-limit-gb takes a number greater than 0.")


class PlannedCost(NamedTuple):
    """A cell before it is measured: the row of the table it stands in, the case, its hash and its file."""

    row: str
    case: CostCase
    recipe_hash: str
    path: Path


def run_cost(options: CostOptions, report: Callable[[str], None]) -> List[Path]:
    """Measure what is missing, and write cost.json, cost.md and cost.png; returns the files.

    ``report`` hears one line at a time. The tables are written anew after each cell.

    Raises:
        UsageError: for a wrong option. InputError: if the folder cannot be made.
    """
    options.check()
    device, warning = choose_device(options.device)
    if warning:
        report(f"warning: {warning}")
    machine = describe_machine(device)
    planned = plan_cells(options, device, machine)
    try:
        (options.output / CELLS_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {options.output} cannot be made: {error.strerror}.") from error
    cells = {plan.path: _look_up(plan, options) for plan in planned}
    missing = [plan for plan in planned if cells[plan.path] is None]
    report(f"cost: {len(planned)} cells, {len(planned) - len(missing)} of them are there already or refused")
    for number, plan in enumerate(missing, 1):
        cell = cells[plan.path] = _measure(plan)
        case = plan.case
        place = f"{plan.row}, {case.side} x {case.side}, {case.channels} channels"
        report(f"cell {number}/{len(missing)}: {place}: {_describe(cell)}")
        _write(options, machine, [cell for cell in cells.values() if cell])
    whole = _write(options, machine, [cell for cell in cells.values() if cell])
    files = [options.output / name for name in ("cost.json", "cost.md")]
    try:
        files.append(draw_cost(whole, options.output / "cost.png"))
    except UsageError as error:
        report(f"The figure is left out. {error}")
    return files


def plan_cells(options: CostOptions, device: torch.device, machine: str) -> List[PlannedCost]:
    """All cells, small ones first within each row; a P beyond the number of pixels has none."""
    planned = []
    for channels in options.channels:
        for side in options.resolutions:
            rows = [("CCL", CENTROIDS, 1)]
            rows += [(f"MPCCL, P = {p}", CENTROIDS, p) for p in options.partitions if 1 < p <= side * side]
            rows += [("MPCCL, P = H*W", CENTROIDS, side * side), ("BlockCL", BLOCKS, 1), ("pixel-wise", PIXELS, 1)]
            for row, loss, partitions in rows:
                case = CostCase(loss, partitions, side, channels, options.repeats, options.threads, str(device))
                parts = (COST_FORMAT, __version__, torch.__version__, machine, dataclasses.asdict(case))
                recipe_hash = hash_parts(*parts)
                name = f"{loss}-{partitions}-{side}x{side}-{channels}-{recipe_hash[:8]}.json"
                planned.append(PlannedCost(row, case, recipe_hash, options.output / CELLS_FOLDER / name))
    return planned


def _look_up(plan: PlannedCost, options: CostOptions) -> Optional[Dict[str, Any]]:
    """The cell that is there already, or the refusal of one that would need too much, or None.

    What was measured under a higher limit stays."""
    kept = read_cell(plan.path, plan.recipe_hash)
    if kept is not None:
        return {"row": plan.row, **kept}
    needed = estimate_step_bytes(plan.case)
    if needed <= options.memory_limit_gb * _BYTES_PER_GB:
        return None
    return {"row": plan.row, **dataclasses.asdict(plan.case), "would_need_bytes": needed}


def _measure(plan: PlannedCost) -> Dict[str, Any]:
    """Run one cell in a process of its own and keep it; one that ran out of memory says so and is tried anew next time.

    Raises:
        RuntimeError: if the process failed for any other reason.
    """
    path = os.pathsep.join(part for part in (str(_PACKAGE_FOLDER), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        [sys.executable, "-m", "confuda.benchmark.cost_step"],
        input=json.dumps(dataclasses.asdict(plan.case)),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    cell = {"row": plan.row, **dataclasses.asdict(plan.case)}
    # Linux ends the greediest process without a word when memory is gone.
    if done.returncode in (MemoryExhausted.exit_code, -9):
        return {**cell, "out_of_memory": True}
    if done.returncode != 0:
        raise RuntimeError(f"Measuring {plan.path.stem} failed:\n{done.stderr}")
    cell.update(json.loads(done.stdout.splitlines()[-1]))
    write_text(plan.path, json.dumps({"recipe_hash": plan.recipe_hash, **cell}, indent=1) + "\n")
    return cell


def _describe(cell: Dict[str, Any]) -> str:
    if "peak_bytes" not in cell:
        return "out of memory"
    return f"{cell['peak_bytes'] / 1e6:.1f} MB, {cell['seconds'] * 1e3:.1f} ms"


def _write(options: CostOptions, machine: str, cells: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """cost.json and cost.md from ``cells``; returns what cost.json holds."""
    whole = {
        "machine": machine,
        "versions": {"confuda": __version__, "torch": torch.__version__},
        "memory_limit_gb": options.memory_limit_gb,
        "cells": [{name: value for name, value in cell.items() if name != "recipe_hash"} for cell in cells],
    }
    write_text(options.output / "cost.json", json.dumps(whole, indent=1) + "\n")
    write_text(options.output / "cost.md", format_cost(whole))
    return whole
