"""What all tests share: the data folder if there is one, a small bundle of random weights, and small volumes."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from Testing.toy_bundle import make_heart, share_toy_bundle

pytest_plugins = ["Testing.torture.table"]

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
SAMPLE_TRUTH = REPOSITORY / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE-truth.seg.nrrd"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; what needs it is skipped where it is not."""
    folder = Path(os.environ.get("CONFUDA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data (ACDC, MS-CMRSeg) in {folder}, which is not on this machine")
    return folder


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Random weights and images are the same in every run."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def heart():
    return make_heart()


@pytest.fixture(scope="session")
def small_bundle_folder() -> Path:
    """A bundle of the real format whose small networks were trained for seconds on toy hearts."""
    return share_toy_bundle()
