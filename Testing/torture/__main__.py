"""``python -m Testing.torture``: run every case, print the table, end with 1 if one went otherwise than expected."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from Testing.torture.case import Case
from Testing.torture.collection import collect_cases


def run_case(case: Case) -> Dict[str, Any]:
    """Run one case in a new folder, which is removed again; ``passed`` and ``seen`` say what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    began = time.monotonic()
    try:
        seen, passed = case.run(folder), True
    except Exception as error:  # whatever a case did not expect is a finding, and the others are still to be run
        seen, passed = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "group": case.group,
        "name": case.name,
        "tried": case.tried,
        "expected": case.expected,
        "seen": seen,
        "passed": passed,
        "seconds": round(time.monotonic() - began, 1),
    }


def format_table(rows: List[Dict[str, Any]]) -> str:
    """The rows as a Markdown table, with a line of counts by group above."""

    def cell(text: str) -> str:
        return str(text).replace("|", "\\|").replace("\n", " ")

    groups = list(dict.fromkeys(row["group"] for row in rows))
    counts = ", ".join(f"{group} {sum(row['group'] == group for row in rows)}" for group in groups)
    surprises = sum(not row["passed"] for row in rows)
    lines = [f"{len(rows)} cases ({counts}); {surprises} went otherwise than expected.", ""]
    lines += ["| | case | tried | expected | seen |", "|---|---|---|---|---|"]
    for row in rows:
        mark = "ok" if row["passed"] else "**NOT**"
        columns = (mark, f"{row['group']}: {row['name']}", row["tried"], row["expected"], row["seen"])
        lines.append("| " + " | ".join(cell(column) for column in columns) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.torture", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="cases with one of these in 'group: name'"
    )
    parser.add_argument("-o", "--output", type=Path, help="keep the table (Markdown) here, and the rows (.json) beside")
    arguments = parser.parse_args()
    rows = []
    for case in collect_cases():
        title = f"{case.group}: {case.name}"
        if arguments.only and not any(text in title for text in arguments.only):
            continue
        rows.append(run_case(case))
        mark = "ok " if rows[-1]["passed"] else "NOT"
        print(f"{mark} {title} ({rows[-1]['seconds']} s): {rows[-1]['seen']}", file=sys.stderr, flush=True)
    table = format_table(rows)
    print(table)
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(table, encoding="utf-8")
        arguments.output.with_suffix(".json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
