"""The project's documents, as a reader uses them: blocks to copy, links to follow, files that are named."""

import re
import shlex
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

from Testing.packaging.description import REPOSITORY

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("examples/**/*.md")])
INDENTED = "indented"
"""The language of a block that is set off by four spaces."""


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


def read_blocks(document: Path) -> List[Block]:
    """All fenced and all indented blocks of a document."""
    name = document.relative_to(REPOSITORY).as_posix()
    blocks: List[Block] = []
    lines = document.read_text(encoding="utf-8").split("\n")
    number, after_blank, in_list = 0, True, False
    while number < len(lines):
        line = lines[number]
        if line.lstrip().startswith("```"):
            end = next(i for i in range(number + 1, len(lines)) if lines[i].lstrip().startswith("```"))
            language = line.strip().lstrip("`").strip()
            blocks.append(Block(name, number + 1, language, "\n".join(lines[number + 1 : end])))
            number = end
        elif line.startswith("    ") and line.strip() and after_blank and not in_list:
            end = next(
                (i for i in range(number, len(lines)) if lines[i] and not lines[i].startswith("    ")), len(lines)
            )
            blocks.append(Block(name, number + 1, INDENTED, "\n".join(part[4:] for part in lines[number:end]).rstrip()))
            number = end - 1
        elif line.strip() and not line.startswith(" "):
            in_list = re.match(r"([-*+]|\d+\.) ", line) is not None
        after_blank = not lines[number].strip()
        number += 1
    return blocks


def read_commands(block: Block) -> Iterator[Command]:
    """The commands of a shell block: comments, `NAME=value` and the parts of `a && b` are taken apart."""
    variables: Dict[str, str] = {}
    pending, first = "", 0
    for offset, line in enumerate(block.text.split("\n"), start=1 if block.language != INDENTED else 0):
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


def read_prose(document: Path) -> str:
    """The document without its blocks."""
    lines = document.read_text(encoding="utf-8").split("\n")
    for block in read_blocks(document):
        begin = block.line - 1
        count = block.text.count("\n") + (1 if block.language == INDENTED else 3)
        lines[begin : begin + count] = [""] * count
    return "\n".join(lines)


def read_links(document: Path) -> List[str]:
    """The targets of all links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", read_prose(document))


def read_anchors(document: Path) -> List[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    anchors: List[str] = []
    for heading in re.findall(r"^#+ (.*)$", read_prose(document), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        taken = sum(anchor == slug or re.fullmatch(re.escape(slug) + r"-\d+", anchor) is not None for anchor in anchors)
        anchors.append(f"{slug}-{taken}" if taken else slug)
    return anchors


def read_inline_code(text: str) -> List[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
