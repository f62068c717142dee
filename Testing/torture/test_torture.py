"""The fast cases of ``make torture``, which ``make test`` runs too, and its last run in the documents."""

import re
from pathlib import Path

import pytest
from Testing.torture.collection import collect_cases

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = [case for case in collect_cases() if case.fast]


@pytest.mark.parametrize("case", FAST, ids=[f"{case.group}: {case.name}" for case in FAST])
def test_fast_case(case, tmp_path) -> None:
    assert case.run(tmp_path)


def test_the_last_run_in_the_documents_is_complete_and_clean() -> None:
    """docs/reliability.md holds the table that ``make torture`` printed, with every case there is."""
    text = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (ok|\*\*NOT\*\*) \| (\w+: .*?) \| ", text, re.MULTILINE)
    assert {mark for mark, _ in told} == {"ok"}
    assert [name for _, name in told] == [f"{case.group}: {case.name}" for case in collect_cases()]
