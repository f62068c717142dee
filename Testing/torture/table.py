"""Plugin of pytest: what the tests marked ``torture`` tried, expected and saw, as a table (``--table FILE``)."""

from pathlib import Path
from typing import Any, Dict, List

import pytest

MARKS = {"passed": "ok", "failed": "**NOT**", "skipped": "not tried"}


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--table", metavar="FILE", help="write what the tests marked torture saw to FILE (Markdown)")
    parser.addoption("--examples", type=int, default=200, help="of each kind that is fuzzed; default: %(default)s")


def pytest_configure(config: Any) -> None:
    # With xdist the workers are told the option too; only the process that hears of all tests writes.
    if config.getoption("table") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(Path(config.getoption("table")).absolute()))


class Table:
    """Collects a row for each test that says what it saw, and writes them in the end, in the order of their names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: List[Dict[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties)
        if "tried" not in told or (report.when != "call" and report.passed):
            return
        seen = told.get("seen", "as expected")
        if report.failed:
            seen = getattr(getattr(report.longrepr, "reprcrash", None), "message", str(report.longrepr))
        elif report.skipped:
            seen = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        path, _, name = report.nodeid.partition("::")
        group = Path(path).stem.removeprefix("test_").replace("_", " ")
        self.rows.append(
            {"mark": MARKS[report.outcome], "group": group, "name": name, "tried": told["tried"], "seen": seen}
        )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(format_table(self.rows), encoding="utf-8")
        terminalreporter.section("torture")
        terminalreporter.line(count_rows(self.rows))
        for row in self.rows:
            if row["mark"] == MARKS["failed"]:
                terminalreporter.line(f"{row['group']}: {row['name']}: {_shorten(row['seen'])}")
        terminalreporter.line(f"table: {self.path}")


def count_rows(rows: List[Dict[str, str]]) -> str:
    groups = sorted({row["group"] for row in rows})
    counts = ", ".join(f"{group} {sum(row['group'] == group for row in rows)}" for group in groups)
    surprises = sum(row["mark"] == MARKS["failed"] for row in rows)
    return f"{len(rows)} cases ({counts}); {surprises} went otherwise than expected."


def format_table(rows: List[Dict[str, str]]) -> str:
    """A Markdown table of the rows, with a line of counts by group above."""
    lines = [count_rows(rows), "", "| | case | what | seen |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["group"], row["name"])):
        cells = (row["mark"], f"{row['group']}: {row['name']}", row["tried"], _shorten(row["seen"]))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _shorten(text: str) -> str:
    return " ".join(text.split())[:400]
