"""All cases, from the modules that hold them."""

from typing import List

from Testing.torture import divergence_cases, fault_cases, fuzz_cases, input_cases, repeat_cases, security_cases
from Testing.torture.case import Case


def collect_cases() -> List[Case]:
    """Every case, group by group; two of the same name in a group are a mistake here."""
    cases: List[Case] = []
    cases += input_cases.CASES
    cases += fault_cases.CASES
    cases += divergence_cases.CASES
    cases += security_cases.CASES
    cases += fuzz_cases.CASES
    cases += repeat_cases.CASES
    names = [f"{case.group}: {case.name}" for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Two cases have the name {', '.join(twice)}.")
    return cases
