"""What ``confuda benchmark table1|table2`` does: plan the cells, run those that are not there yet, write the tables."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from confuda import __version__
from confuda.benchmark import published
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
from confuda.benchmark.figures import draw_dice, draw_examples
from confuda.benchmark.folds import Fold, make_folds
from confuda.benchmark.machine import describe_machine
from confuda.benchmark.plan import DEFAULT_METHODS, METHOD_TITLES, PlannedCell, plan_rows
from confuda.benchmark.recipe import SETTINGS, Recipe, make_recipe
from confuda.benchmark.source_model import count_source_slices, prepare_source
from confuda.benchmark.tables import TableRow, format_csv, format_markdown
from confuda.bundle.format import Bundle
from confuda.device import fixed_precision
from confuda.errors import InputError, UsageError
from confuda.io.atomic import remove_left_drafts, write_text
from confuda.io.lock import FOREVER, hold_lock
from confuda.training.launch import LaunchOptions, choose_launch_device, launch_fabric, leave_fabric
from confuda.training.mscmrseg import MsCmrSegPatient, find_mscmrseg_patients

TABLES = ("table1", "table2")
SOURCES_FOLDER = "sources"
CLAIMS_FOLDER = "claims"

WAIT_S = 1.0
"""Between two looks at what other processes are doing."""

FIGURE_SETTING = "few-shot"
"""The setting whose segmentations are drawn, as in the paper's figure 3."""


@dataclass
class BenchmarkOptions:
    """What to run; the fields are the options of the command line.

    seed: of the split into folds and of the source networks; seeds: of the adaptations, one run each. only_folds: the
    numbers of those folds that are run, all by default. values: overrides by name (see ``recipe.make_recipe``).
    devices, nodes: how many processes fill the table, a whole cell at a time. precision: of adaptation and prediction
    (see ``confuda.training.launch``).
    """

    table: str
    data: Path
    output: Path
    scale: str = "small"
    folds: int = 5
    only_folds: Sequence[int] = ()
    seed: int = 0
    seeds: Sequence[int] = (0,)
    methods: Sequence[str] = DEFAULT_METHODS
    settings: Sequence[str] = SETTINGS
    values: Dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: Optional[int] = None
    devices: int = 1
    nodes: int = 1
    precision: Optional[str] = None

    @property
    def launch(self) -> LaunchOptions:
        return LaunchOptions(self.device, self.devices, self.nodes, self.precision)

    def check(self) -> None:
        """Raises UsageError, naming the option and what it takes."""
        known = {"--methods": (self.methods, METHOD_TITLES), "--settings": (self.settings, SETTINGS)}
        for option, (given, choices) in known.items():
            for name in given:
                if name not in choices:
                    raise UsageError(f"{option} takes some of {', '.join(choices)}, not '{name}'.")
        if self.table not in TABLES:
            raise UsageError(f"Unknown table '{self.table}': choose one of {', '.join(TABLES)}.")
        if self.table == "table2" and tuple(self.methods) != DEFAULT_METHODS:
            raise UsageError("--methods chooses rows of table1; table2 always has the four rows of the ablation.")
        for number in self.only_folds:
            if not 1 <= number <= self.folds:
                raise UsageError(f"There is no fold {number}: of {self.folds} folds they are 1 to {self.folds}.")
        if self.threads is not None and self.threads < 1:
            raise UsageError("--threads takes a number of at least 1.")
        self.launch.check()
        if self.precision == "16-mixed":
            raise UsageError("A cell is computed in 32-true or bf16-mixed: in float16 its gradients would vanish.")


def run_benchmark(options: BenchmarkOptions, report: Callable[[str], None]) -> List[Path]:
    """Run what is missing of a table, and write it; returns the files. ``report`` hears one line at a time.

    The tables are written anew after each cell, so that an interrupted run leaves what it has. Several processes, or
    several commands with one output folder, never run a cell twice: each is claimed by a lock file first. A cell is the
    same whichever process runs it.

    Raises:
        UsageError: for a wrong option. InputError: if the data are not there, naming the path that was expected.
    """
    options.check()
    recipe = make_recipe(options.scale, options.values)
    device, warning = choose_launch_device(options.launch)
    if warning:
        report(f"warning: {warning}")
    folds = make_folds(find_mscmrseg_patients(options.data), options.folds, options.seed)
    chosen = [fold for fold in folds if not options.only_folds or fold.number in options.only_folds]
    fabric = launch_fabric(options.launch, device) if options.launch.processes > 1 else None
    if options.threads is not None:  # After the start of several processes, which sets a number of its own.
        torch.set_num_threads(options.threads)
    with fixed_precision(options.precision):
        if fabric is None:
            return _Benchmark(options, recipe, chosen, device, report).run()
        files = _Benchmark(options, recipe, chosen, fabric.device, report, fabric.global_rank).run()
    leave_fabric(fabric)
    return files


class _Benchmark:
    """One table in progress."""

    def __init__(
        self,
        options: BenchmarkOptions,
        recipe: Recipe,
        folds: List[Fold],
        device: torch.device,
        report: Callable[[str], None],
        rank: int = 0,
    ) -> None:
        self.options = options
        self.recipe = recipe
        self.folds = folds
        self.device = device
        self.report = report
        self.rank = rank
        self.rows = plan_rows(options.table, options.methods, options.settings)
        self.source_hashes = {fold.number: self._hash_source(fold) for fold in folds}
        self.planned = [cell for fold in folds for cell in self._plan_cells(fold)]
        self.records: Dict[Path, Dict[str, Any]] = {}
        self.spent_s: List[float] = []
        self._look_up_cells()

    def run(self) -> List[Path]:
        try:
            self.options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {self.options.output} cannot be made: {error.strerror}.") from error
        for folder in ("", CELLS_FOLDER, EXAMPLES_FOLDER):
            remove_left_drafts(self.options.output / folder)
        if self.rank == 0:
            there = f"{len(self.records)} of them are there already"
            self.report(f"{self.options.table}: {self._count_cells()} cells, {there}")
        # Each process begins with another fold, so that their source networks are made side by side.
        first = self.rank % len(self.folds)
        while len(self.records) < self._count_cells():
            if not any([self._run_fold(fold) for fold in self.folds[first:] + self.folds[:first]]):
                time.sleep(WAIT_S)
            self._look_up_cells()
        if self.rank != 0:
            return []
        with hold_lock(self._name_claim(self.options.table), wait_s=FOREVER):
            return self._write_tables() + self._draw_figures()

    def _run_fold(self, fold: Fold) -> bool:
        """Run those missing cells of a fold that no other process is at; whether there were any."""
        missing = [plan for plan in self.planned if plan.cell.fold is fold and not self._is_done(plan)]
        if not missing:
            return False
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
                self._write_tables()
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
        slices = count_source_slices(fold)
        plans = []
        for number, row in enumerate(self.rows):
            settings = self.recipe.make_settings(slices, row.overrides)
            for seed in self.options.seeds if row.method != UNADAPTED else self.options.seeds[:1]:
                cell = Cell(row.method, row.setting, settings, fold, seed)
                recipe_hash = hash_cell(cell, self.source_hashes[fold.number])
                plans.append(PlannedCell(number, cell, recipe_hash, name_files(self.options.output, cell, recipe_hash)))
        return plans

    def _prepare(self, fold: Fold) -> Bundle:
        folder = self.options.output / SOURCES_FOLDER / f"fold{fold.number}-{self.source_hashes[fold.number][:8]}"

        def report(line: str) -> None:
            self.report(f"fold {fold.number}: {line}")

        return prepare_source(fold, self.recipe, folder, self.options.seed, self.device, report)

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

    def _gather(self) -> List[TableRow]:
        rows = [TableRow(row.setting, row.name, [], 0, row.published) for row in self.rows]
        for plan in self.planned:
            rows[plan.row].planned += 1
            record = self.records.get(plan.files.record)
            if record is not None:
                rows[plan.row].records.append(record)
        if self.options.table == "table1":
            observer = TableRow(NO_SETTING, "second observer", [], 0, published.TABLE1[(NO_SETTING, "observer")])
            rows.insert(1, observer)
        return rows

    def _write_tables(self) -> List[Path]:
        rows = self._gather()
        files = [self.options.output / f"{self.options.table}{ending}" for ending in (".md", ".csv")]
        title = {"table1": "Table 1: methods on MS-CMRSeg", "table2": "Table 2: ablation on MS-CMRSeg"}
        write_text(files[0], format_markdown(title[self.options.table], self._describe(), rows))
        write_text(files[1], format_csv(rows))
        return files

    def _describe(self) -> List[str]:
        """The head of the report, paragraph by paragraph."""
        options, recipe = self.options, self.recipe
        folds = ", ".join(str(fold.number) for fold in self.folds)
        parts = ", ".join(
            f"{fold.number}: {len(fold.source)} / {len(fold.target)} / {len(fold.test)}" for fold in self.folds
        )
        cells_s = sum(record["seconds"]["total"] for record in self.records.values())
        source_s = sum({record["fold"]: record["seconds"]["source"] for record in self.records.values()}.values())
        memory = [record["peak_memory_mb"] for record in self.records.values() if record["peak_memory_mb"]]
        deviations = "\n".join(f"- {text}" for text in recipe.deviations)
        return [
            f"Ours, and in brackets the published figures ({published.SOURCE}): mean ± standard deviation over the "
            "test cases of a fold, averaged over folds. HD95 is in mm; the published ones have no unit, and are of 45 "
            "patients and 5 folds.",
            f"Scale **{recipe.scale}**: {recipe.description}. Folds {folds} of {options.folds} (split with seed "
            f"{options.seed}), source / target / test patients of fold {parts}. Seeds of the adaptations: "
            f"{', '.join(str(seed) for seed in options.seeds)}.",
            *_describe_data(self.folds),
            f"Where this differs from the paper:\n\n{deviations}",
            f"Made with confuda {__version__}, torch {torch.__version__}, on {describe_machine(self.device)}, "
            f"{torch.get_num_threads()} threads{self._name_precision()}: {cells_s / 3600:.2f} h for the cells, "
            f"{source_s / 3600:.2f} h for source networks and RAIN"
            + (f", at most {max(memory):.0f} MB of memory." if memory else "."),
        ]

    def _name_precision(self) -> str:
        return "" if self.options.precision is None else f", precision {self.options.precision}"

    def _draw_figures(self) -> List[Path]:
        rows = [row for row in self._gather() if row.records]
        files = [self.options.output / f"{self.options.table}-{name}.png" for name in ("dice", "examples")]
        try:
            draw_dice(rows, f"{self.options.table}, scale {self.recipe.scale}", files[0])
            patient, predictions = self._choose_examples()
            draw_examples(patient, predictions, f"{patient.name}, LGE", files[1])
        except UsageError as error:
            self.report(f"The figures are left out. {error}")
            return []
        return files

    def _choose_examples(self) -> Tuple[MsCmrSegPatient, Dict[str, Path]]:
        """The first test patient of the first fold, and its segmentations in one setting, by row."""
        wanted = {NO_SETTING, FIGURE_SETTING if FIGURE_SETTING in self.options.settings else self.options.settings[0]}
        predictions: Dict[str, Path] = {}
        for plan in self.planned:
            row = self.rows[plan.row]
            if plan.cell.fold is self.folds[0] and row.setting in wanted and row.name not in predictions:
                predictions[row.name] = plan.files.example
        return self.folds[0].test[0], predictions


def _describe_data(folds: Sequence[Fold]) -> List[str]:
    """What is particular about the registered set, where it is the one."""
    if not any(patient.is_registered for fold in folds for patient in fold.test):
        return []
    return [
        "Data: the registered set, in which bSSFP and T2 were resampled onto the slices of LGE, 12 to 23 mm apart; "
        "about a third of its voxels is zero padding, which is left out of the normalisation of intensities."
    ]
