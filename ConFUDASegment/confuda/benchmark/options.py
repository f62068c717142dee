"""What ``confuda benchmark table1|table2`` may be asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from confuda.benchmark.plan import DEFAULT_METHODS, METHOD_TITLES
from confuda.benchmark.recipe import SETTINGS
from confuda.errors import UsageError
from confuda.training.launch import LaunchOptions

TABLES = ("table1", "table2")


@dataclass
class BenchmarkOptions:
    """What to run; the fields are the options of the command line.

    seed: of the split into folds and of the source networks; seeds: of the adaptations, one run each, by default those
    of the scale. only_folds: the numbers of those folds that are run, by default all that chose nothing about the
    scale. methods: rows of table1, by default all, those of method_files included (``confuda.benchmark.own_methods``).
    values: overrides by name (see ``recipe.make_recipe``). devices, nodes: how many processes fill the table, a whole
    cell at a time. precision: of adaptation and prediction (see ``confuda.training.launch``).
    """

    table: str
    data: Path
    output: Path
    scale: str = "small"
    folds: int = 5
    only_folds: Sequence[int] = ()
    seed: int = 0
    seeds: Sequence[int] = ()
    methods: Sequence[str] = ()
    method_files: Sequence[Path] = ()
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

    def check(self, own_methods: Sequence[str] = ()) -> None:
        """``own_methods``: names from the method files. Raises UsageError, naming the option and what it takes."""
        known = (
            ("--methods", self.methods, (*METHOD_TITLES, *own_methods)),
            ("--settings", self.settings, SETTINGS),
        )
        for option, given, choices in known:
            for name in given:
                if name not in choices:
                    raise UsageError(f"{option} takes some of {', '.join(choices)}, not '{name}'.")
        if self.table not in TABLES:
            raise UsageError(f"Unknown table '{self.table}': choose one of {', '.join(TABLES)}.")
        if self.table == "table2" and (self.method_files or tuple(self.methods) not in ((), DEFAULT_METHODS)):
            raise UsageError("Methods are chosen for table1; table2 always has the four rows of the ablation.")
        for number in self.only_folds:
            if not 1 <= number <= self.folds:
                raise UsageError(f"There is no fold {number}: of {self.folds} folds they are 1 to {self.folds}.")
        if self.threads is not None and self.threads < 1:
            raise UsageError("--threads takes a number of at least 1.")
        self.launch.check()
        if self.precision == "16-mixed":
            raise UsageError("A cell is computed in 32-true or bf16-mixed: in float16 its gradients would vanish.")
