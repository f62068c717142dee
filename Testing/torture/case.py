"""One thing that is tried: what it is, what must come of it, and the function that does it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass(frozen=True)
class Case:
    """One row of the table of ``make torture``.

    Attributes:
        group: the kind of trouble, e.g. "input", "fault", "divergence", "security", "fuzz", "repeat".
        name: unique within its group.
        tried: what is done, in a line.
        expected: what must come of it, in a line.
        run: does it in the empty folder that it is given and says in a line what was seen; an AssertionError says what
            was seen instead of the expected. Any other exception is a finding too.
        fast: whether ``make test`` runs it as well.
    """

    group: str
    name: str
    tried: str
    expected: str
    run: Callable[[Path], str]
    fast: bool = False
