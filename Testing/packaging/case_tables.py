"""The tables of cases in docs/data, and the texts that tell of them."""

import csv
from typing import Dict, List

from Testing.packaging.description import REPOSITORY

Row = Dict[str, str]


def read_rows(name: str) -> List[Row]:
    """The rows of a table in docs/data."""
    with (REPOSITORY / "docs" / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_text(name: str) -> str:
    """A file by its path in the repository."""
    return (REPOSITORY / name).read_text(encoding="utf-8")
