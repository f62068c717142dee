"""Commands in odd surroundings: closed or full streams, readers that leave, no home, odd variables, other locales, a
terminal that hangs up, a missing package. The job goes on, or ends with one sentence, and nothing is lost."""

import argparse
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Sequence

import pytest
import SimpleITK as sitk

from confuda.adaptation.settings import METHODS, MODES, PRESETS
from confuda.app import cli, terminal
from confuda.app.help_texts import METHOD_TEXTS, MODE_TEXTS, PRESET_TEXTS
from confuda.app.options import build_parser
from confuda.app.terminal import ProgressLine, describe_unexpected

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
posix = pytest.mark.skipif(os.name == "nt", reason="shells and signals of POSIX")


@pytest.fixture(scope="module")
def volume(heart, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("volumes") / "heart.nrrd"
    sitk.WriteImage(heart[0], str(path))
    return path


def make_environment(**variables: str) -> Dict[str, str]:
    """No more than the command needs; a variable that is to be missing is given as None."""
    own = {"PYTHONPATH": str(PACKAGE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": "/tmp", **variables}
    return {name: value for name, value in own.items() if value is not None}


def run_shell(
    command: str, volume: Path, bundle: Path, folder: Path, options: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess:
    """``command`` in bash, where CONFUDA stands for ``confuda adapt`` without adaptation, into out.nrrd."""
    words = [sys.executable, *options, "-m", "confuda", "adapt", volume, "-o", folder / "out.nrrd", "--method", "none"]
    words += ["--bundle", bundle, "--device", "cpu"]
    line = command.replace("CONFUDA", shlex.join(map(str, words)))
    return subprocess.run(
        ["bash", "-c", line], env=make_environment(**variables), cwd=folder, capture_output=True, text=True, timeout=300
    )


def is_whole(folder: Path) -> bool:
    """The segmentation is there, and nothing half written beside it."""
    return sitk.ReadImage(str(folder / "out.nrrd")).GetDimension() == 3 and not list(folder.glob(".*"))


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    "command, code",
    [
        ("CONFUDA 2>&-", 0),
        ("CONFUDA >&-", 0),
        ("CONFUDA <&-", 0),
        ("CONFUDA 0<&- 1>&- 2>&-", 0),
        ("CONFUDA --json | true; exit ${PIPESTATUS[0]}", 0),
        ("set -o pipefail; (CONFUDA 2>&1 >/dev/null) | head -c 1 >/dev/null", 0),
        ("CONFUDA 2>/dev/full", 0),
        ("CONFUDA --json >/dev/full", 3),
    ],
)
def test_whoever_does_not_listen_loses_nothing_but_words(command, code, volume, small_bundle_folder, tmp_path) -> None:
    done = run_shell(command, volume, small_bundle_folder, tmp_path)
    assert done.returncode == code, done.stderr
    assert is_whole(tmp_path)
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("confuda:")]
    assert said == (["confuda: The results cannot be printed: No space left on device."] if code else [])


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": None},
        {"HOME": "/proc", "TMPDIR": "/proc", "XDG_CACHE_HOME": "/proc"},
        {"OMP_NUM_THREADS": "abc"},
        {"OMP_NUM_THREADS": "0"},
        {"OMP_NUM_THREADS": "-3"},
        {"OMP_NUM_THREADS": "4,2"},
        {"OMP_NUM_THREADS": ""},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"},
    ],
)
def test_odd_variables_do_no_harm(variables, volume, small_bundle_folder, tmp_path) -> None:
    done = run_shell("CONFUDA", volume, small_bundle_folder, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert is_whole(tmp_path) and str(tmp_path / "out.nrrd") in done.stdout


@posix
@pytest.mark.slow
def test_letters_of_any_script_in_names(volume, small_bundle_folder, tmp_path) -> None:
    folder = tmp_path / "Папка №1 #2 100%"
    folder.mkdir()
    named = folder / "Сердце #1.nrrd"
    named.write_bytes(volume.read_bytes())
    assert run_shell("CONFUDA", named, small_bundle_folder, folder).returncode == 0
    assert is_whole(folder)
    # A locale in which such a name is none: said what to do, not called damaged.
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    refused = run_shell("CONFUDA", named, small_bundle_folder, tmp_path, **plain)
    assert refused.returncode == 3 and "PYTHONUTF8=1" in refused.stderr
    assert refused.stderr.count("confuda:") == 1 and not (tmp_path / "out.nrrd").exists()


@posix
@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_hangs_up_ends_the_job_unless_nohup_was_asked_for(
    ignored, volume, small_bundle_folder, tmp_path
) -> None:
    output = tmp_path / "out.nrrd"
    output.write_bytes(b"earlier")
    steps = "30" if ignored else "100000"
    process = subprocess.Popen(
        [sys.executable, "-m", "confuda", "adapt", volume, "-o", output, "--bundle", small_bundle_folder]
        + ["--set", f"steps={steps}"],
        env=make_environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    for line in process.stderr:
        if line.startswith("adapt"):
            break
    process.send_signal(signal.SIGHUP)
    said = process.communicate(timeout=600)[1]
    if ignored:
        assert process.returncode == 0 and is_whole(tmp_path)
    else:
        assert process.returncode == 130 and said.splitlines()[-1] == "confuda: Cancelled."
        assert output.read_bytes() == b"earlier" and [path.name for path in tmp_path.iterdir()] == ["out.nrrd"]


# Errors that nobody foresaw


def test_a_missing_package_is_named(volume, small_bundle_folder, tmp_path, monkeypatch, capsys) -> None:
    def fail(arguments) -> int:
        raise ModuleNotFoundError("No module named 'packaging.version'", name="packaging.version")

    monkeypatch.setitem(cli.RUN, "bundle show", fail)
    assert cli.main(["bundle", "show"]) == 1
    said = capsys.readouterr().err
    assert "No module named 'packaging.version'" in said and "'pip install packaging'" in said
    assert len(said.strip().splitlines()) == 1


def test_an_offending_value_is_named_and_no_path() -> None:
    text = describe_unexpected(ValueError("invalid literal for int(): 'x7'\nand more"))
    assert text == "An unexpected error (ValueError: invalid literal for int(): 'x7')"
    assert "DOE" not in describe_unexpected(ValueError("cannot unpack /data/DOE JOHN/heart.nii.gz"))
    assert describe_unexpected(AssertionError()) == "An unexpected error (AssertionError)"
    assert len(describe_unexpected(ValueError("x" * 10_000))) < 300


# Progress


def test_without_a_terminal_a_line_comes_at_intervals_and_with_the_first_estimate(monkeypatch, capsys) -> None:
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.05)
    monkeypatch.setattr(terminal, "LOOK_EVERY_S", 0.01)
    line = ProgressLine()
    line.show("load", 0, 1, None, None)
    line.show("find", 0, 1, None, None)
    line.show("adapt", 0, 60, 200.0, None)
    time.sleep(0.5)
    line.finish()
    told = capsys.readouterr().err.splitlines()
    # The stage before the estimate may be told or not: only where it lasts.
    assert told[0] == "load" and "adapt 0/60, 3 min left" in told[1:3]
    assert len(told) >= 4 and told[-1].startswith("adapt 0/60, ")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_line_renews_itself_without_a_trace_of_what_was_longer(monkeypatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    line = ProgressLine()
    line.show("adapt", 10, 60, 200.0, {"total": 1.25})
    line.show("load", 0, 1, None, None)
    line.interrupt("warning: a word")
    line.finish()
    whole, _, warning = shown.getvalue().partition("load")
    lengths = {len(part) for part in (whole + "load" + warning.partition("\r")[0]).split("\r") if part}
    assert len(lengths) == 1, "a shorter text must cover a longer one"
    # Older consoles of Windows print a terminal's commands as they are.
    assert "\x1b" not in shown.getvalue() and "warning: a word" in warning


# Help


def list_commands():
    """The names of all commands, with those of their own commands."""
    names = []

    def walk(parser, name) -> None:
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for action in below:
            for word, sub in action.choices.items():
                walk(sub, f"{name} {word}".strip())
        if not below:
            names.append((name, parser))

    walk(build_parser(), "")
    return names


@pytest.mark.parametrize("name, parser", list_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_help_names_the_time_an_example_that_works_and_what_every_option_is(name, parser) -> None:
    text = parser.format_help()
    example = re.search(r"^example: confuda (.*)$", text, re.MULTILINE)
    assert re.search(r"^time: \S", text, re.MULTILINE) and example is not None
    arguments = build_parser().parse_args(shlex.split(example.group(1)))
    assert arguments.run in cli.RUN and example.group(1).startswith(name)
    assert [action.dest for action in parser._actions if not action.help] == []


def test_modes_methods_and_presets_are_explained_where_they_are_listed() -> None:
    assert set(MODE_TEXTS) == set(MODES) and set(METHOD_TEXTS) == set(METHODS) and set(PRESET_TEXTS) == set(PRESETS)
    text = dict(list_commands())["adapt"].format_help()
    for texts in (MODE_TEXTS, METHOD_TEXTS, PRESET_TEXTS):
        assert all(f"{name} " in text and explained in text for name, explained in texts.items())
    assert "(balanced by default)" in text and "(few-shot by default)" in text
