"""Everything in this folder is marked ``torture``; each test tells the table what it tries and what it saw."""

import inspect
from pathlib import Path
from typing import Any, Callable, List

import pytest

pytest.register_assert_rewrite("Testing.torture.commands", "Testing.torture.runs")

from Testing.torture.runs import Place  # noqa: E402

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("torture")


@pytest.fixture(autouse=True)
def tried(request: Any, record_property: Callable[[str, Any], None]) -> None:
    """What a test tries and expects, for the table: the first paragraph of its own text."""
    record_property("tried", " ".join(inspect.getdoc(request.function).split("\n\n")[0].split()))


@pytest.fixture
def seen(tried: None, record_property: Callable[[str, Any], None]) -> Callable[[str], None]:
    """Call it with a line that says what came of the test, for the table."""
    return lambda text: record_property("seen", text)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A volume, a folder with an earlier output, and a temporary folder, all of this test's own."""
    return Place(tmp_path)
