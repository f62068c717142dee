"""The pages of the command line are what the parsers say, and no page is too long to be read."""

import re

import pytest
from package.describe_commands import format_pages
from Testing.packaging.description import REPOSITORY
from Testing.packaging.documents import DOCUMENTS

LONGEST_README, LONGEST_PAGE = 90, 200

PAGES = format_pages()


@pytest.mark.parametrize("name", PAGES)
def test_page_of_the_command_line_is_current(name):
    """As ``python package/describe_commands.py`` writes it."""
    assert (REPOSITORY / "docs" / name).read_text(encoding="utf-8") == PAGES[name]


def test_pages_hold_each_command_with_its_options_and_exit_codes():
    text = "\n".join(PAGES.values())
    headings = " ".join(re.findall(r"^## (.*)$", text, re.MULTILINE))
    for command in ("adapt", "segment", "evaluate", "cohort", "train", "bundle build", "bundle show", "bundle verify",
                    "benchmark table1", "benchmark table2", "benchmark cost"):  # fmt: skip
        assert f"confuda {command}" in headings
    assert "| `--seed` `N` | of everything random | 0 |" in text
    assert "| `--retries` `N` | further tries of a case whose worker died | 2 |" in text
    assert "`-o`, `--output` `DIR` | the bundle's folder | required |" in text
    codes = re.findall(r"^\| (\d+) \| ", PAGES["command-line.md"], re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "5", "130"]
    assert "--help`" in text and "==SUPPRESS==" not in text


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.parent.name == "docs"], ids=lambda path: path.name
)
def test_page_is_short(document):
    assert len(document.read_text(encoding="utf-8").splitlines()) <= LONGEST_PAGE


def test_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README
