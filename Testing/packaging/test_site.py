"""The documents become a site without a warning, and no link on it leads nowhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import List, Set
from urllib.parse import unquote, urlsplit

import pytest
from Testing.packaging.description import REPOSITORY, cmake_value

pytestmark = pytest.mark.slow

HOME = cmake_value("EXTENSION_HOMEPAGE")


class _Page(HTMLParser):
    """What a page of the site names and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: Set[str] = set()
        self.links: List[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def read_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr and "ERROR" not in built.stderr, built.stderr
    return folder


def test_each_document_is_a_page_with_its_headings(site):
    for document in (REPOSITORY / "docs").glob("*.md"):
        assert (site / document.stem / "index.html").is_file(), document.name
    start = (site / "index.html").read_text(encoding="utf-8")
    assert "In 3D Slicer" in start and "not a medical device" in start
    assert not list(site.rglob("*.py"))


def test_every_link_of_the_site_leads_somewhere(site):
    """Also those that lead back to files of the repository."""
    inside = files = 0
    for path in site.rglob("*.html"):
        # The page for wrong addresses knows its own place only on the web server.
        if path.name == "404.html":
            continue
        for link in read_page(path).links:
            parts = urlsplit(link)
            if link.startswith(f"{HOME}/blob/main/"):
                assert (REPOSITORY / unquote(link[len(f"{HOME}/blob/main/") :].partition("#")[0])).exists(), link
                files += 1
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in read_page(target).anchors, f"{path.relative_to(site)}: {link}"
            inside += 1
    assert inside > 300 and files >= 5


def test_pages_fetch_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        for address in re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]*)"',
                                  path.read_text(encoding="utf-8")):  # fmt: skip
            pytest.fail(f"{path.relative_to(site)} fetches {address}")
