"""The project's documents, as a reader uses them: blocks to copy (read and run by Sybil), links and named files."""

import re
import shlex
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple

from sybil import Document, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from Testing.packaging.description import REPOSITORY

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("examples/**/*.md")])


class Block(NamedTuple):
    """A block of code of a document: where it begins, what its fence says, and its text."""

    document: str
    line: int
    language: str
    text: str


class Command(NamedTuple):
    """One command of a block, as the shell would see it, without variables set before it."""

    document: str
    line: int
    words: List[str]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {' '.join(self.words)}"


def read_blocks(path: Path) -> List[Block]:
    """All fenced blocks of a document."""
    document = Document.parse(str(path), FencedCodeBlockLexer(r"[^\n]*"))
    name = path.relative_to(REPOSITORY).as_posix()
    return [
        Block(
            name,
            document.text.count("\n", 0, region.start) + 1,
            region.lexemes["language"],
            region.lexemes["source"].strip("\n"),
        )
        for _, region in document.regions
    ]


def run_examples(path: Path, names: Dict[str, Any], section: str = "") -> int:
    """Run the Python blocks of a document, or of one of its sections (a heading's text), one after the other in the
    namespace ``names``; returns how many there were."""
    document = Sybil([PythonCodeBlockParser()]).parse(path)
    document.namespace = names
    begin = document.text.index(f"## {section}\n") if section else 0
    end = document.text.find("\n## ", begin + 1) if section else -1
    examples = [e for e in document if e.region.start >= begin and (end < 0 or e.region.start < end)]
    for example in examples:
        example.namespace = names
        example.evaluate()
    return len(examples)


def read_commands(block: Block) -> Iterator[Command]:
    """The commands of a shell block: comments, `NAME=value` and the parts of `a && b` are taken apart."""
    variables: Dict[str, str] = {}
    pending, first = "", 0
    for offset, line in enumerate(block.text.split("\n"), start=1):
        first = first if pending else block.line + offset
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + " "
            continue
        text, pending = pending + line, ""
        for name, value in variables.items():
            text = text.replace(f"${name}", value)
        words = shlex.split(text, comments=True)
        while words:
            part, words = (words[: words.index("&&")], words[words.index("&&") + 1 :]) if "&&" in words else (words, [])
            while part and re.fullmatch(r"\w+=.*", part[0]):
                name, _, value = part.pop(0).partition("=")
                variables[name] = value
            if part:
                yield Command(block.document, first, part)


def read_prose(path: Path) -> str:
    """The document without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def read_links(path: Path) -> List[str]:
    """The targets of all links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", read_prose(path))


def read_anchors(path: Path) -> List[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    anchors: List[str] = []
    for heading in re.findall(r"^#+ (.*)$", read_prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        taken = sum(anchor == slug or re.fullmatch(re.escape(slug) + r"-\d+", anchor) is not None for anchor in anchors)
        anchors.append(f"{slug}-{taken}" if taken else slug)
    return anchors


def read_inline_code(text: str) -> List[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
