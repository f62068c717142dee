"""Write docs/command-line.md and docs/command-line-training.md from the parsers and the one definition of a job.

python package/describe_commands.py

Nothing is said here that the parsers do not know: purpose, example, time and exit codes come from where ``--help``
takes them. A test compares both pages with what this writes.
"""

import argparse
import inspect
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from confuda import errors
from confuda.app.help_texts import CHOICES, COMMAND_TEXTS
from confuda.app.options import build_parser

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = REPOSITORY / "docs"

MADE_BY = """\
Made by `python package/describe_commands.py` from the parsers themselves: do not edit this page. `confuda COMMAND
--help` says the same.\
"""
USE = f"""\
# The command line

{MADE_BY} How the commands are used together is told in the [tutorial](tutorial.md), what may be read
in [what-is-read.md](what-is-read.md). Training, bundles and the paper's tables:
[command-line-training.md](command-line-training.md).
"""
TRAINING = f"""\
# The command line: training, bundles, the paper's tables

{MADE_BY} What is done with a volume, and the exit codes: [command-line.md](command-line.md).
"""
IN_TRAINING = ("train", "bundle", "benchmark")
"""The first words of the commands on the second page."""

DONE, UNEXPECTED = "done", "an unexpected error, or some cases of a cohort failed; `CONFUDA_TRACEBACK=1` shows where"

COMMON_TO = "adapt"
"""The options of this command are not told again of others that have the same."""


class Told(NamedTuple):
    """What a table says of an option."""

    flags: str
    meaning: str
    default: str


def list_commands(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[Tuple[str, str, argparse.ArgumentParser]]:
    """Name, purpose and parser of each command below ``parser``."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            purposes = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for word, below in action.choices.items():
                full = f"{name} {word}".strip()
                deeper = list(list_commands(below, full))
                yield from deeper or [(full, purposes[word], below)]


def tell_option(action: argparse.Action) -> Told:
    """A row of a command's table."""
    meaning = action.help or ""
    said = re.search(r" \(([^()]+),? by default\)$", meaning) or re.search(r"(\S+) \(by default\)", meaning)
    if action.required:
        default = "required"
    elif said:
        default = said.group(1).rstrip(",")
    elif action.default in (None, False, []) or not action.option_strings:
        default = ""
    else:
        default = str(action.default)
    meaning = re.sub(r" \([^()]+ by default\)$", "", meaning).replace(" (by default)", "")
    if action.choices is not None:
        value = "|".join(map(str, action.choices))
    elif action.nargs == 0:
        value = ""
    else:
        metavar = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
        # With "+" a pair is what may come first and what may follow.
        between = "|" if action.nargs == "+" else " "
        value = between.join(metavar) if isinstance(metavar, tuple) else str(metavar)
    if action.nargs == "+":
        value += " ..."
    names = ", ".join(f"`{flag}`" for flag in action.option_strings)
    # A bar would end the cell.
    values = " or ".join(f"`{part}`" for part in value.split("|")) if value else ""
    return Told(f"{names} {values}".strip(), meaning.replace("|", " or "), default)


def tell_options(parser: argparse.ArgumentParser) -> List[Told]:
    return [tell_option(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def format_table(rows: List[Told]) -> List[str]:
    lines = [f"| {row.flags} | {row.meaning} | {row.default} |" for row in rows]
    return ["| option | meaning | default |", "|---|---|---|", *lines, ""]


def format_command(
    names: List[str], purposes: List[str], parser: argparse.ArgumentParser, common: Set[Told]
) -> List[str]:
    """The section of a command, or of several with the same options."""
    texts = [COMMAND_TEXTS[name] for name in names]
    lines = [f"## {', '.join(f'confuda {name}' for name in names)}", ""]
    for purpose, text in zip(purposes, texts):
        lines += [f"{purpose[0].upper()}{purpose[1:]}. {text.time}", ""]
    if parser.description:
        lines += [" ".join(parser.description.split()), ""]
    lines += ["```bash", *(text.example for text in texts), "```", ""]
    rows = tell_options(parser)
    own = [row for row in rows if row not in common]
    if own:
        lines += format_table(own)
    same = [row.flags.split(" ")[0].rstrip(",") for row in rows if row in common]
    if same:
        lines += [f"As for `confuda {COMMON_TO}`: {', '.join(same)}.", ""]
    return lines


def format_exit_codes() -> List[str]:
    """From the errors that a user can meet, each of which carries its code."""
    codes: Dict[int, str] = {0: DONE, errors.ConfudaError.exit_code: UNEXPECTED}
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.ConfudaError) and kind is not errors.ConfudaError:
            codes[kind.exit_code] = (kind.__doc__ or "").strip().rstrip(".")
    lines = [f"| {code} | {said[0].lower()}{said[1:]} |" for code, said in sorted(codes.items())]
    return ["## Exit codes", "", "The same for all commands.", "", "| code | what happened |", "|---|---|", *lines, ""]


def format_choices() -> List[str]:
    lines: List[str] = ["## Modes, methods and presets", ""]
    for title, texts in CHOICES.items():
        lines += [f"| {title} | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in texts.items()), ""]
    return lines


def format_pages() -> Dict[str, str]:
    """The text of each page by its file's name."""
    commands: Dict[Any, Tuple[List[str], List[str], argparse.ArgumentParser]] = {}
    for name, purpose, parser in list_commands(build_parser()):
        key = tuple(tell_options(parser))
        names, purposes, _ = commands.setdefault(key, ([], [], parser))
        names.append(name)
        purposes.append(purpose)
    common = {row for names, _, parser in commands.values() if names == [COMMON_TO] for row in tell_options(parser)}
    use, training = USE.split("\n"), TRAINING.split("\n")
    for names, purposes, parser in commands.values():
        page = training if names[0].split(" ")[0] in IN_TRAINING else use
        page += format_command(names, purposes, parser, set() if names == [COMMON_TO] else common)
    use += [*format_choices(), *format_exit_codes()]
    pages = {"command-line.md": use, "command-line-training.md": training}
    return {name: "\n".join(lines).rstrip("\n") + "\n" for name, lines in pages.items()}


def main() -> None:
    argparse.ArgumentParser(description="Write the pages of the command line into docs/.").parse_args()
    for name, text in format_pages().items():
        (DOCUMENTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
