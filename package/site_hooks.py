"""What mkdocs.yml needs to make a site of documents that are written to be read on GitHub.

The README becomes the first page. Pictures outside of ``docs/`` come along, and links to other files of the repository
lead to the repository's own page.
"""

import posixpath
import re
from pathlib import Path
from typing import Any, Match

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURES = "Resources/Screenshots"
FIRST_PAGE = "index.md"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Files, config: Any) -> Files:
    """The README and the screenshots, as if they lay in ``docs/``."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, FIRST_PAGE, content=lead_links(readme, "", config["repo_url"])))
    for path in sorted((REPOSITORY / PICTURES).glob("*.png")):
        files.append(File.generated(config, f"{PICTURES}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Links of a page of ``docs/`` that lead out of it."""
    if page.file.src_uri == FIRST_PAGE:
        return markdown
    return lead_links(markdown, "docs", config["repo_url"])


def lead_links(markdown: str, folder: str, address: str) -> str:
    """Each link of a document that lies in ``folder`` of the repository, as the site needs it."""

    def lead(match: Match[str]) -> str:
        link, _, anchor = match.group(2).partition("#")
        if not link or re.match(r"[a-z]+:", link):
            return match.group(0)
        target = posixpath.normpath(posixpath.join(folder, link))
        anchor = f"#{anchor}" if anchor else ""
        if target == "README.md":
            target = FIRST_PAGE
        elif target.startswith("docs/"):
            target = target[len("docs/") :]
        elif not target.startswith(PICTURES):
            return f"{match.group(1)}{address}/blob/main/{target}{anchor}{match.group(3)}"
        return f"{match.group(1)}{target}{anchor}{match.group(3)}"

    # What is set off as code is no link.
    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("`") else LINK.sub(lead, part) for part in parts)
