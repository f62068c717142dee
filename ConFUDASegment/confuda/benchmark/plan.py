"""The rows of the paper's tables, and the cells that fill them, before anything is run."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

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


def plan_rows(table: str, methods: Sequence[str], settings: Sequence[str]) -> List[PlannedRow]:
    """The rows of a table, in the paper's order. Rows without a target (``cells.NO_SETTING``) come first, once."""
    if table == "table2":
        return [
            PlannedRow(setting, name, method, overrides, published.TABLE2.get((setting, name)))
            for setting in settings
            for name, (method, overrides) in ABLATIONS.items()
        ]
    alone = [UNADAPTED] + ([CONTROL] if CONTROL in methods else [])
    places = [(NO_SETTING, method) for method in alone]
    places += [(setting, method) for setting in settings for method in METHOD_TITLES if method in methods]
    return [
        PlannedRow(setting, METHOD_TITLES[method], method, {}, published.TABLE1.get((setting, method)))
        for setting, method in places
        if setting == NO_SETTING or method not in (UNADAPTED, CONTROL)
    ]
