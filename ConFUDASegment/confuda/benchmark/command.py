"""What ``confuda benchmark table1|table2`` does: plan the cells, run those that are not there yet, write the tables."""

import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import torch

from confuda.benchmark.cells import (
    CELLS_FOLDER,
    EXAMPLES_FOLDER,
    NO_SETTING,
    UNADAPTED,
    Cell,
    CellRunner,
    hash_cell,
    hash_parts,
    hash_source,
    name_files,
    read_cell,
)
from confuda.benchmark.folds import Fold, make_folds
from confuda.benchmark.hours import estimate_cells_s, estimate_source_s, measure_step_s
from confuda.benchmark.options import BenchmarkOptions
from confuda.benchmark.own_methods import OwnMethod, load_own_methods
from confuda.benchmark.plan import DEFAULT_METHODS, PlannedCell, order_cells, plan_rows
from confuda.benchmark.recipe import SETTINGS, Recipe, make_recipe
from confuda.benchmark.report import BenchmarkReport
from confuda.benchmark.source_model import BUNDLE_FOLDER, count_source_slices, prepare_source
from confuda.benchmark.tables import TableRow
from confuda.bundle.description import DESCRIPTION_NAME
from confuda.bundle.format import Bundle
from confuda.device import fixed_precision
from confuda.errors import InputError
from confuda.io.atomic import remove_left_drafts
from confuda.io.lock import FOREVER, hold_lock
from confuda.training.launch import choose_launch_device, launch_fabric, leave_fabric
from confuda.training.mscmrseg import find_mscmrseg_patients

SOURCES_FOLDER = "sources"
CLAIMS_FOLDER = "claims"

WAIT_S = 1.0
"""Between two looks at what other processes are doing."""


def run_benchmark(options: BenchmarkOptions, report: Callable[[str], None]) -> List[Path]:
    """Run what is missing of a table, and write it; returns the files. ``report`` hears one line at a time.

    The tables are written anew after each cell, so that an interrupted run leaves what it has. Several processes, or
    several commands with one output folder, never run a cell twice: each is claimed by a lock file first. A cell is the
    same whichever process runs it.

    Raises:
        UsageError: for a wrong option. InputError: if the data are not there, naming the path that was expected.
    """
    own_methods = load_own_methods(options.method_files)
    options.check(tuple(own_methods))
    recipe = make_recipe(options.scale, options.values)
    device, warning = choose_launch_device(options.launch)
    if warning:
        report(f"warning: {warning}")
    folds = make_folds(find_mscmrseg_patients(options.data), options.folds, options.seed)
    chosen = [fold for fold in folds if _is_wanted(fold, options, recipe)]
    fabric = launch_fabric(options.launch, device) if options.launch.processes > 1 else None
    if options.threads is not None:  # After the start of several processes, which sets a number of its own.
        torch.set_num_threads(options.threads)
    with fixed_precision(options.precision):
        if fabric is None:
            return _Benchmark(options, recipe, chosen, own_methods, device, report).run()
        files = _Benchmark(options, recipe, chosen, own_methods, fabric.device, report, fabric.global_rank).run()
    leave_fabric(fabric)
    return files


def _is_wanted(fold: Fold, options: BenchmarkOptions, recipe: Recipe) -> bool:
    return fold.number in options.only_folds if options.only_folds else fold.number not in recipe.tuned_folds


class _Benchmark:
    """One table in progress."""

    def __init__(
        self,
        options: BenchmarkOptions,
        recipe: Recipe,
        folds: List[Fold],
        own_methods: Dict[str, OwnMethod],
        device: torch.device,
        report: Callable[[str], None],
        rank: int = 0,
    ) -> None:
        self.options = options
        self.recipe = recipe
        self.folds = folds
        self.own_methods = own_methods
        self.device = device
        self.report = report
        self.rank = rank
        methods = tuple(options.methods) or (*DEFAULT_METHODS, *own_methods)
        titles = {name: method.title for name, method in own_methods.items()}
        self.rows = plan_rows(options.table, methods, options.settings, titles)
        self.slices = {fold.number: count_source_slices(fold) for fold in folds}
        self.source_hashes = {fold.number: self._hash_source(fold) for fold in folds}
        self.planned = [plan for fold in folds for plan in self._plan_cells(fold)]
        self.records: Dict[Path, Dict[str, Any]] = {}
        self.spent_s: List[float] = []
        self._look_up_cells()
        self.outcome = BenchmarkReport(options, recipe, folds, self.rows, self.planned, device, report)

    def run(self) -> List[Path]:
        try:
            self.options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {self.options.output} cannot be made: {error.strerror}.") from error
        for folder in ("", CELLS_FOLDER, EXAMPLES_FOLDER):
            remove_left_drafts(self.options.output / folder)
        if self.rank == 0:
            there = f"{len(self.records)} of them are there already"
            self.report(f"{self.options.table}: {self._count_cells()} cells, {there}{self._tell_hours()}")
        parts = order_cells(self.planned)
        # Each process begins with another fold, so that their source networks are made side by side.
        first = self.rank % len(self.folds)
        while len(self.records) < self._count_cells():
            if not any([self._run_part(part) for part in parts[first:] + parts[:first]]):
                time.sleep(WAIT_S)
            self._look_up_cells()
        if self.rank != 0:
            return []
        with hold_lock(self._name_claim(self.options.table), wait_s=FOREVER):
            return self.outcome.write_tables(self.records) + self.outcome.draw_figures(self.records)

    def _tell_hours(self) -> str:
        missing = {plan.files.record: plan.cell for plan in self.planned if not self._is_done(plan)}
        if not missing:
            return ""
        step_s = measure_step_s(self.recipe, self.device)
        known: Dict[str, List[Dict[str, Any]]] = {}
        for record in self.records.values():
            known.setdefault(record["method"], []).append(record)
        seconds = estimate_cells_s(list(missing.values()), step_s, known)
        for fold in {cell.fold.number: cell.fold for cell in missing.values()}.values():
            if not (self._name_source(fold) / BUNDLE_FOLDER / DESCRIPTION_NAME).is_file():
                seconds += estimate_source_s(self.recipe, self.slices[fold.number], step_s)
        return f"; about {seconds / 3600 / self.options.launch.processes:.1f} h for the others on this machine"

    def _run_part(self, part: Sequence[PlannedCell]) -> bool:
        """Run those missing cells of a part, all of one fold, that no other process is at; whether there were any."""
        missing = [plan for plan in part if not self._is_done(plan)]
        if not missing:
            return False
        fold = missing[0].cell.fold
        with hold_lock(self._name_claim(f"fold{fold.number}-{self.source_hashes[fold.number][:8]}")) as ours:
            if not ours:
                return False
            runner = CellRunner(fold, self._prepare(fold), self.device)
        return any([self._run_cell(plan, runner) for plan in missing])

    def _run_cell(self, plan: PlannedCell, runner: CellRunner) -> bool:
        """Run a cell, unless it is there by now or another process is at it; whether it was run."""
        if self._is_done(plan):  # By another row that is the same cell.
            return False
        with hold_lock(self._name_claim(plan.files.record.stem)) as ours:
            if not ours or self._look_up(plan):
                return False
            began = time.monotonic()
            record = runner.run(plan.cell, plan.recipe_hash, plan.files)
        self.spent_s.append(time.monotonic() - began)
        self.records[plan.files.record] = record
        self._look_up_cells()
        done, total = len(self.records), self._count_cells()
        mean_s = sum(self.spent_s) / len(self.spent_s) / self.options.launch.processes
        self._tell(plan, record, done, total, (total - done) * mean_s)
        if self.rank == 0:
            with hold_lock(self._name_claim(self.options.table), wait_s=FOREVER):
                self.outcome.write_tables(self.records)
        return True

    def _name_claim(self, name: str) -> Path:
        return self.options.output / CLAIMS_FOLDER / f"{name}.lock"

    def _look_up_cells(self) -> None:
        """Take the cells that are there, made by whomever."""
        for plan in self.planned:
            if not self._is_done(plan):
                self._look_up(plan)

    def _look_up(self, plan: PlannedCell) -> bool:
        record = read_cell(plan.files.record, plan.recipe_hash)
        if record is not None:
            self.records[plan.files.record] = record
        return record is not None

    def _count_cells(self) -> int:
        return len({plan.files.record for plan in self.planned})

    def _hash_source(self, fold: Fold) -> str:
        own = hash_source(fold, self.recipe, self.options.seed)
        # What nobody asked for is in no hash, so that cells from before there was a precision stay what they are.
        return own if self.options.precision is None else hash_parts(own, self.options.precision)

    def _is_done(self, plan: PlannedCell) -> bool:
        return plan.files.record in self.records

    def _plan_cells(self, fold: Fold) -> List[PlannedCell]:
        plans = []
        for number, row in enumerate(self.rows):
            settings = self.recipe.make_settings(self.slices[fold.number], row.overrides)
            code_hash = self.own_methods[row.method].code_hash if row.method in self.own_methods else ""
            for seed in self._choose_seeds(row.setting)[: 1 if row.method == UNADAPTED else None]:
                cell = Cell(row.method, row.setting, settings, fold, seed, code_hash)
                recipe_hash = hash_cell(cell, self.source_hashes[fold.number])
                plans.append(PlannedCell(number, cell, recipe_hash, name_files(self.options.output, cell, recipe_hash)))
        return plans

    def _choose_seeds(self, setting: str) -> List[int]:
        """The seeds of a setting's rows; those without a setting are compared with all, and have the seeds of all."""
        if self.options.seeds:
            return list(self.options.seeds)
        settings = [one for one in SETTINGS if one in self.options.settings] if setting == NO_SETTING else [setting]
        return sorted({seed for one in settings for seed in self.recipe.seeds[one]})

    def _name_source(self, fold: Fold) -> Path:
        return self.options.output / SOURCES_FOLDER / f"fold{fold.number}-{self.source_hashes[fold.number][:8]}"

    def _prepare(self, fold: Fold) -> Bundle:
        def report(line: str) -> None:
            self.report(f"fold {fold.number}: {line}")

        return prepare_source(fold, self.recipe, self._name_source(fold), self.options.seed, self.device, report)

    def _tell(self, plan: PlannedCell, record: Dict[str, Any], done: int, total: int, left_s: float) -> None:
        row = TableRow("", "", [record], 1, None)
        dice, hd95 = row.summarise("dice", "average"), row.summarise("hd95_mm", "average")
        assert dice is not None and hd95 is not None  # there is a record
        planned = self.rows[plan.row]
        self.report(
            f"cell {done}/{total}: {planned.name}, {planned.setting}, fold {plan.cell.fold.number}, "
            f"seed {plan.cell.seed}: Dice {dice.mean:.3f}, HD95 {hd95.mean:.1f} mm, "
            f"{record['seconds']['total']:.0f} s; {left_s / 60:.0f} min left for cells"
        )
