"""The rows of the paper's tables, and the cells that fill them, before anything is run."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from confuda.benchmark import published
from confuda.benchmark.cells import CONTROL, NO_SETTING, UNADAPTED, Cell, CellFiles

METHOD_TITLES = {
    UNADAPTED: "without UDA",
    CONTROL: "source only, as many steps",
    "adaptseg": "AdaptSeg",
    "advent": "AdvEnt",
    "blockcl": "BlockCL",
    "fuda": "FUDA",
    "confuda": "ConFUDA",
}
PAPER_METHODS = ("adaptseg", "advent", "blockcl", "fuda", "confuda")
DEFAULT_METHODS = (CONTROL, *PAPER_METHODS)
"""The paper's rows, and the control that shows how much of a gain is only more steps on the source."""

ABLATIONS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "FUDA": ("fuda", {}),
    "+ CCL": ("confuda", {"partitions": 1, "lambda_norm": 0.0}),
    "+ CNR": ("confuda", {"partitions": 1}),
    "+ MPCCL": ("confuda", {}),
}
"""Rows of table 2, each of which adds one part of ConFUDA to the row before; by the row's name: the method, and what it
overrides in a preset (``confuda.adaptation.settings.make_settings``)."""


class PlannedRow(NamedTuple):
    """A row of a table before it is run: method, setting, and what it overrides in the recipe's settings."""

    setting: str
    name: str
    method: str
    overrides: Dict[str, Any]
    published: Optional[published.PublishedRow]


class PlannedCell(NamedTuple):
    """A cell, its hash and its files; ``row`` is its place among the table's rows."""

    row: int
    cell: Cell
    recipe_hash: str
    files: CellFiles


def plan_rows(
    table: str, methods: Sequence[str], settings: Sequence[str], own_titles: Optional[Mapping[str, str]] = None
) -> List[PlannedRow]:
    """The rows of a table, in the paper's order. Rows without a target (``cells.NO_SETTING``) come first, once.

    own_titles: of a user's own methods, by name; those among ``methods`` are the last rows of each setting.
    """
    if table == "table2":
        return [
            PlannedRow(setting, name, method, overrides, published.TABLE2.get((setting, name)))
            for setting in settings
            for name, (method, overrides) in ABLATIONS.items()
        ]
    titles = {**METHOD_TITLES, **(own_titles or {})}
    alone = [UNADAPTED] + ([CONTROL] if CONTROL in methods else [])
    places = [(NO_SETTING, method) for method in alone]
    places += [(setting, method) for setting in settings for method in titles if method in methods]
    return [
        PlannedRow(setting, titles[method], method, {}, published.TABLE1.get((setting, method)))
        for setting, method in places
        if setting == NO_SETTING or method not in (UNADAPTED, CONTROL)
    ]


ORDER = (NO_SETTING, "few-shot", "one-shot", "full")
"""In which the settings are run: the control is needed by all, and few-shot is what the paper is about."""


def order_cells(planned: Sequence[PlannedCell]) -> List[List[PlannedCell]]:
    """The cells in the order in which they are run, in parts of one fold each.

    All methods of a setting at one seed, fold by fold, then the next seed: a run that is stopped leaves a smaller table
    that is whole, not a few of its rows.
    """

    def rank(plan: PlannedCell) -> Tuple[int, int, int]:
        # Rows without a setting go with the first that has one.
        place = max(ORDER.index(plan.cell.setting), 1)
        return place, plan.cell.seed, plan.cell.fold.number

    parts: Dict[Tuple[int, int, int], List[PlannedCell]] = {}
    for plan in planned:
        parts.setdefault(rank(plan), []).append(plan)
    return [parts[key] for key in sorted(parts)]
