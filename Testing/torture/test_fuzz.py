"""Changed bundles and jobs are refused in a sentence or taken; geometry and labels come back whatever they are.

A few examples of each; ``make test-all`` tries some hundreds, ``--examples N`` as many as one likes. A signal that ends
the process fails the test, since pytest-xdist reports it.
"""

import pytest
from Testing.torture.fuzz_bundles import fuzz_bundles
from Testing.torture.fuzz_geometry import fuzz_labels, fuzz_stack
from Testing.torture.fuzz_jobs import fuzz_jobs, fuzz_worker

FEW = {fuzz_stack: 20, fuzz_labels: 20, fuzz_bundles: 25, fuzz_jobs: 40, fuzz_worker: 4}
SHARE = {fuzz_worker: 0.1}
"""Of the examples asked for: a worker is a process of its own."""

each = pytest.mark.parametrize("fuzz", FEW, ids=lambda fuzz: fuzz.__name__)


@each
def test_a_few(fuzz, seen) -> None:
    """A few random bundles, jobs, volumes and label maps: refused in a sentence, or taken and true."""
    seen(fuzz(FEW[fuzz], 1))


@pytest.mark.slow
@each
def test_many(fuzz, request, seen) -> None:
    """Hundreds of random bundles, jobs, volumes and label maps: refused in a sentence, or taken and true."""
    seen(fuzz(int(SHARE.get(fuzz, 1) * request.config.getoption("examples")), 0))
