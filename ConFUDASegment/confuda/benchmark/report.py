"""What a benchmark leaves behind: the tables, their paired comparisons, and two figures."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import torch

from confuda import __version__
from confuda.benchmark import published
from confuda.benchmark.cells import NO_SETTING
from confuda.benchmark.figures import draw_dice, draw_examples
from confuda.benchmark.folds import Fold
from confuda.benchmark.machine import describe_machine
from confuda.benchmark.options import BenchmarkOptions
from confuda.benchmark.paired import compare_neighbours, format_differences
from confuda.benchmark.plan import PlannedCell, PlannedRow
from confuda.benchmark.recipe import Recipe
from confuda.benchmark.tables import TableRow, format_csv, format_markdown
from confuda.errors import UsageError
from confuda.io.atomic import write_text
from confuda.training.mscmrseg import BSSFP, LGE, MsCmrSegPatient

FIGURE_SETTING = "few-shot"
"""The setting whose segmentations are drawn, as in the paper's figure 3."""

TITLES = {"table1": "Table 1: methods on MS-CMRSeg", "table2": "Table 2: ablation on MS-CMRSeg"}

_PAIRED = (
    "Paired differences over patients (each the mean over the seeds that both rows have): the row less the row before "
    "it, and each setting's last row less the control. The interval is a percentile bootstrap over patients; patients "
    "of one fold share source network and target, which it does not know."
)

Records = Mapping[Path, Dict[str, Any]]
"""The cells that are there, by the path of their file."""


class BenchmarkReport:
    """Writes what is there of a table, as often as it is asked to."""

    def __init__(
        self,
        options: BenchmarkOptions,
        recipe: Recipe,
        folds: Sequence[Fold],
        rows: Sequence[PlannedRow],
        planned: Sequence[PlannedCell],
        device: torch.device,
        report: Callable[[str], None],
    ) -> None:
        self.options = options
        self.recipe = recipe
        self.folds = folds
        self.rows = rows
        self.planned = planned
        self.device = device
        self.report = report

    def write_tables(self, records: Records) -> List[Path]:
        """The table as Markdown, with its paired comparisons, and as CSV."""
        rows = self._gather(records)
        files = [self.options.output / f"{self.options.table}{ending}" for ending in (".md", ".csv")]
        text = format_markdown(TITLES[self.options.table], self._describe(records), rows)
        differences = compare_neighbours(rows)
        if differences:
            text += f"\n{_PAIRED}\n\n{format_differences(differences)}"
        write_text(files[0], text)
        write_text(files[1], format_csv(rows))
        return files

    def draw_figures(self, records: Records) -> List[Path]:
        """Dice by case, and example slices; none, and a line about it, where matplotlib is missing."""
        rows = [row for row in self._gather(records) if row.records]
        files = [self.options.output / f"{self.options.table}-{name}.png" for name in ("dice", "examples")]
        try:
            draw_dice(rows, f"{self.options.table}, scale {self.recipe.scale}", files[0])
            patient, predictions = self._choose_examples()
            draw_examples(patient, predictions, f"{patient.name}, LGE", files[1])
        except UsageError as error:
            self.report(f"The figures are left out. {error}")
            return []
        return files

    def _gather(self, records: Records) -> List[TableRow]:
        rows = [TableRow(row.setting, row.name, [], 0, row.published) for row in self.rows]
        for plan in self.planned:
            rows[plan.row].planned += 1
            record = records.get(plan.files.record)
            if record is not None:
                rows[plan.row].records.append(record)
        if self.options.table == "table1":
            observer = TableRow(NO_SETTING, "second observer", [], 0, published.TABLE1[(NO_SETTING, "observer")])
            rows.insert(1, observer)
        return rows

    def _describe(self, records: Records) -> List[str]:
        """The head of the report, paragraph by paragraph."""
        options, recipe = self.options, self.recipe
        folds = ", ".join(str(fold.number) for fold in self.folds)
        parts = ", ".join(
            f"{fold.number}: {len(fold.source)} / {len(fold.target)} / {len(fold.test)}" for fold in self.folds
        )
        cells_s = sum(record["seconds"]["total"] for record in records.values())
        source_s = sum({record["fold"]: record["seconds"]["source"] for record in records.values()}.values())
        memory = [record["peak_memory_mb"] for record in records.values() if record["peak_memory_mb"]]
        deviations = "\n".join(f"- {text}" for text in recipe.deviations)
        return [
            f"Ours, and in brackets the published figures ({published.SOURCE}): mean ± standard deviation over the "
            "test cases of a fold, averaged over folds and seeds. HD95 is in mm; the published ones have no unit, and "
            "are of 45 patients and 5 folds.",
            f"Scale **{recipe.scale}**: {recipe.description}. Folds {folds} of {options.folds} (split with seed "
            f"{options.seed}), source / target / test patients of fold {parts}. Seeds of the adaptations: "
            f"{self._name_seeds()}.",
            *_describe_data(self.folds),
            f"Where this differs from the paper:\n\n{deviations}",
            f"Made with confuda {__version__}, torch {torch.__version__}, on {describe_machine(self.device)}, "
            f"{torch.get_num_threads()} threads{self._name_precision()}: {cells_s / 3600:.2f} h for the cells, "
            f"{source_s / 3600:.2f} h for source networks and RAIN"
            + (f", at most {max(memory):.0f} MB of memory." if memory else "."),
        ]

    def _name_seeds(self) -> str:
        seeds: Dict[str, List[int]] = {}
        for plan in self.planned:
            own = seeds.setdefault(plan.cell.setting, [])
            if plan.cell.seed not in own:
                own.append(plan.cell.seed)
        named = {setting: ", ".join(str(seed) for seed in sorted(some)) for setting, some in seeds.items()}
        return "; ".join(f"{setting} {some}" for setting, some in named.items() if setting != NO_SETTING)

    def _name_precision(self) -> str:
        return "" if self.options.precision is None else f", precision {self.options.precision}"

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
    """What is particular about the data set's layout, where it is one of two that are not the official one."""
    patients = [patient for fold in folds for patient in (*fold.source, *fold.test)]
    if any(patient.is_registered for patient in patients):
        return [
            "Data: the registered set, in which bSSFP and T2 were resampled onto the slices of LGE, 12 to 23 mm apart; "
            "about a third of its voxels is zero padding, which is left out of the normalisation of intensities."
        ]
    if any(patient.folders[BSSFP] != patient.folders[LGE] for patient in patients):
        return [
            "Data: whole stacks of bSSFP (cut to 144 mm around the heart) and of LGE, each on its own grid. The T2 "
            "that RAIN sees beside bSSFP is of the same source patients, on the registered set's grid."
        ]
    return []
