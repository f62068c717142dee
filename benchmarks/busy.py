"""How long a run takes while other programs want the same cores.

    python benchmarks/busy.py -o out/busy

Times the whole command (`confuda adapt` on the bundled sample, by default six steps in one run) with 0,
1, 2 and 4 processes beside it that do nothing but compute, and compares it with its fair share of the machine:
with B busy processes on C cores the idle time x (1 + B / C). ``--spinning`` adds a column with threads that keep asking
while they wait, as OpenMP has them by default. Writes busy.json and busy.md, and prints the table. Leave the machine
alone meanwhile: the load at the start is written down, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Dict, Iterator, List, Optional

from scores import write_json
from speed import describe_machine, make_environment, time_command

from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.errors import ConfudaError
from confuda.io.atomic import write_text
from confuda.threads import WAITING, count_cores

MOST_SHARE = 1.3
"""Times the fair share that a run may take."""

SAMPLE = SHIPPED_BUNDLE.parents[1] / "SampleData" / "SimulatedLGE.nrrd"
WORK = ("--preset", "fast", "--set", "steps=6", "--set", "runs=1", "--set", "strength=1", "--device", "cpu")
SPINNING = {"OMP_WAIT_POLICY": "ACTIVE"}


# It ends with whoever started it, however that ends.
BUSY_PROGRAM = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(1_000_000))"


@contextmanager
def keep_busy(count: int) -> Iterator[None]:
    """So many processes that compute without a pause."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_PROGRAM, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def time_run(volume: Path, threads: Optional[int], variables: Dict[str, str]) -> float:
    """Seconds of one whole command, from its start to its end."""
    environment = make_environment()
    for name in (*WAITING, "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.pop(name, None)
    more = [] if threads is None else ["--threads", str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "labels.nrrd"
        command = ["adapt", str(volume), "-o", str(output), *WORK, *more]
        return time_command(command, {**environment, **variables})[0]


def measure(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """A row for each number of busy processes."""
    columns: Dict[str, Any] = {"default": (None, {}), "one thread": (1, {})}
    if arguments.spinning:
        columns["spinning"] = (None, SPINNING)
    rows: List[Dict[str, Any]] = []
    for busy in arguments.busy:
        row: Dict[str, Any] = {"busy": busy, "seconds": {}}
        with keep_busy(busy):
            for name, (threads, variables) in columns.items():
                times = [time_run(arguments.volume, threads, variables) for _ in range(arguments.repeats)]
                row["seconds"][name] = [round(seconds, 1) for seconds in times]
                print(f"{busy} busy, {name}: {', '.join(f'{seconds:.1f}' for seconds in times)} s", file=sys.stderr)
        rows.append(row)
    return rows


def format_table(rows: List[Dict[str, Any]], cores: int) -> str:
    """Markdown: medians, the fair share by the row without busy processes, and how much of it the default took."""
    names = list(rows[0]["seconds"])
    heads = ["busy processes", *(f"{name}, s" for name in names), "fair share, s", "default / fair share"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    idle = next((median(row["seconds"]["default"]) for row in rows if row["busy"] == 0), None)
    for row in rows:
        taken = median(row["seconds"]["default"])
        fair = None if idle is None else idle * (1 + row["busy"] / cores)
        cells = [str(row["busy"]), *(f"{median(row['seconds'][name]):.1f}" for name in names)]
        cells += ["-", "-"] if fair is None else [f"{fair:.1f}", f"{taken / fair:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--volume", type=Path, default=SAMPLE, help="the bundled sample by default")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2, 4], metavar="B")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spinning", action="store_true")
    arguments = parser.parse_args()
    machine, cores = describe_machine(), count_cores()
    try:
        rows = measure(arguments)
    except ConfudaError as error:
        print(f"busy: {error}", file=sys.stderr)
        return error.exit_code
    table = format_table(rows, cores)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_json({"machine": machine, "cores": cores, "rows": rows}, arguments.output / "busy.json")
    text = f"{table}\n{cores} cores, {machine['processor']}, load at the start {machine['load_at_start']}.\n"
    write_text(arguments.output / "busy.md", text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
