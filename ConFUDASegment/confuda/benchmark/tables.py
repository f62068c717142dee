"""The benchmark's tables in the paper's form, ours and the published figures side by side: Markdown and CSV."""

import csv
import io
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from confuda.benchmark.published import Figure, PublishedRow
from confuda.labels import STRUCTURES

COLUMNS = [structure.name for structure in STRUCTURES] + ["average"]
MEASURES = ("dice", "hd95_mm")


@dataclass
class TableRow:
    """One line: what was measured (``records`` of its finished cells, out of ``planned``) and what was published."""

    setting: str
    name: str
    records: List[Dict[str, Any]]
    planned: int
    published: Optional[PublishedRow]

    def summarise(self, measure: str, column: str) -> Optional[Figure]:
        """Mean and (population) standard deviation over the cases of each cell, averaged over the cells as the paper
        averages over its folds; None without cells."""
        if not self.records:
            return None
        per_cell = [[case["scores"][column][measure] for case in record["cases"]] for record in self.records]
        means, deviations = [np.mean(values) for values in per_cell], [np.std(values) for values in per_cell]
        return Figure(float(np.mean(means)), float(np.mean(deviations)))

    def look_up(self, measure: str, column: str) -> Optional[Figure]:
        """The published figure."""
        if self.published is None:
            return None
        return (self.published.dice if measure == "dice" else self.published.hd95)[COLUMNS.index(column)]

    def count_cases(self) -> int:
        return sum(len(record["cases"]) for record in self.records)


def format_markdown(title: str, head: Sequence[str], rows: Sequence[TableRow]) -> str:
    """The table as Markdown below its ``head`` (paragraphs); only measures and structures that any row has."""
    columns = [(measure, column) for measure in MEASURES for column in COLUMNS if _is_used(rows, measure, column)]
    names = {"dice": "Dice", "hd95_mm": "HD95"}
    lines = [f"# {title}", ""]
    for paragraph in head:
        lines += [paragraph, ""]
    lines.append("| setting | method | " + " | ".join(f"{names[m]} {c}" for m, c in columns) + " | cells |")
    lines.append("|---|---|" + "---|" * (len(columns) + 1))
    for row in rows:
        cells = " | ".join(_format_cell(row, measure, column) for measure, column in columns)
        done = f"{len(row.records)} of {row.planned}" if row.planned else "-"
        lines.append(f"| {row.setting} | {row.name} | {cells} | {done} |")
    return "\n".join(lines) + "\n"


def _is_used(rows: Sequence[TableRow], measure: str, column: str) -> bool:
    return any(row.records or row.look_up(measure, column) for row in rows)


def _format_cell(row: TableRow, measure: str, column: str) -> str:
    digits = 2 if measure == "dice" else 1
    ours, published = row.summarise(measure, column), row.look_up(measure, column)
    text = _format_figure(ours, digits) if ours else "-"
    return text + (f" ({_format_figure(published, digits)})" if published else "")


def _format_figure(figure: Figure, digits: int) -> str:
    return f"{figure.mean:.{digits}f} ± {figure.std:.{digits}f}"


def format_csv(rows: Sequence[TableRow]) -> str:
    """The table as CSV: for each measure and structure our mean and deviation, and the published ones."""
    header = ["setting", "method", "cells", "planned", "cases"]
    for measure in MEASURES:
        for column in COLUMNS:
            name = f"{measure}_{column}"
            header += [f"{name}_mean", f"{name}_std", f"{name}_published_mean", f"{name}_published_std"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        line: List[Any] = [row.setting, row.name, len(row.records), row.planned, row.count_cases()]
        for measure in MEASURES:
            for column in COLUMNS:
                ours, published = row.summarise(measure, column), row.look_up(measure, column)
                line += [f"{ours.mean:.4f}", f"{ours.std:.4f}"] if ours else ["", ""]
                line += [published.mean, published.std] if published else ["", ""]
        writer.writerow(line)
    return text.getvalue()
