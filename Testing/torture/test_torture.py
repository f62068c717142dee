"""The fast cases of ``make torture``, which ``make test`` runs too."""

import pytest
from Testing.torture.collection import collect_cases

FAST = [case for case in collect_cases() if case.fast]


@pytest.mark.parametrize("case", FAST, ids=[f"{case.group}: {case.name}" for case in FAST])
def test_fast_case(case, tmp_path) -> None:
    assert case.run(tmp_path)
