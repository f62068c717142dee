"""Each command of the documents works and each link leads somewhere.

A block is either run here, with toy data in place of the reader's and a few steps in place of many, or its commands go
through the very parser that they are meant for. A command that neither is done with fails the first test.
"""

import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import List

import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart
from Testing.method.test_dicom_seg import write_study
from Testing.packaging.description import REPOSITORY, cmake_value
from Testing.packaging.documents import (
    DOCUMENTS,
    Command,
    read_anchors,
    read_blocks,
    read_commands,
    read_inline_code,
    read_links,
    read_prose,
    run_examples,
)

SAMPLES = "ConFUDASegment/Resources/SampleData"
SHELL, PYTHON, OUTPUT = "bash", "python", "text"
RUN_IN = ("README.md", "docs/tutorial.md")
"""In these documents the commands that need no data of somebody's and no hours are run, one after the other."""

RUN = ("adapt", "segment", "evaluate", "cp")
TOY_OPTIONS = {"adapt": ("--set", "steps=2")}
"""What is added to a command that is run; it also gets the toy bundle, where it names none."""

PARSED_AND_TESTED_IN = {
    "confuda train": "Testing/method/test_training.py",
    "confuda bundle": "Testing/method/test_training.py",
    "confuda benchmark": "Testing/method/test_benchmark.py",
    "confuda cohort": "Testing/method/test_cohort.py",
    "pip install": "Testing/packaging/test_packaging_pip.py",
    "docs/slicer.md": "Testing/slicer/test_slicer_documents.py",
    "docs/developers.md": "Testing/method/test_methods.py",
    "docs/python.md": "Testing/method/test_segmenter.py",
    "README.md": "Testing/packaging/test_documents.py",
}
"""What is not run here, and the test that does run it, on toy data."""

LARGEST_PICTURE = 300_000
LARGEST_SUM_OF_PICTURES = 3_000_000

SHELL_BLOCKS = [block for path in DOCUMENTS for block in read_blocks(path) if block.language == SHELL]
COMMANDS = [command for block in SHELL_BLOCKS for command in read_commands(block)]
PYTHON_DOCUMENTS = sorted(
    {block.document for path in DOCUMENTS for block in read_blocks(path) if block.language == PYTHON}
)
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())


@documents
def test_each_block_is_of_a_known_kind(document):
    for block in read_blocks(document):
        assert block.language in (SHELL, PYTHON, OUTPUT), f"{block.document}:{block.line}: {block.language!r}"
    # What is set off by blanks alone is read by nobody here.
    assert not re.findall(r"^    (?:confuda|make|pip|python) .*", read_prose(document), re.MULTILINE)


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 25 and {"confuda", "make", "pip", "python"} <= {command.words[0] for command in COMMANDS}
    assert all(REPOSITORY.joinpath(path).is_file() for path in PARSED_AND_TESTED_IN.values())


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command_is_understood(command):
    """By its own parser. Nothing is run."""
    program, *rest = command.words
    program = Path(program).name
    if program == "confuda":
        from confuda.app.options import build_parser

        build_parser().parse_args(rest)
        assert rest[0] in RUN or f"confuda {rest[0]}" in PARSED_AND_TESTED_IN, "nothing runs this command"
    elif program == "make":
        subprocess.run(["make", "--dry-run", *rest], cwd=REPOSITORY, check=True, capture_output=True)
    elif program == "pip":
        torch_for_cpus = "install torch --index-url https://download.pytorch.org/whl/cpu"
        known = rf"install \.(\[(cohort|dicom|report|train)\])?|wheel \. --no-deps -w dist|{torch_for_cpus}"
        assert re.fullmatch(known, " ".join(rest))
    elif program == "cp":
        assert len(rest) == 2 and (REPOSITORY / rest[0]).is_file()
    elif program == "git":
        assert rest[:2] == ["clone", cmake_value("EXTENSION_HOMEPAGE")] or rest[0] in ("tag", "push")
    elif program in ("python", "python3"):
        check_python(rest)
    else:
        pytest.fail("no test knows this program")


def check_python(arguments: List[str]) -> None:
    """`python SCRIPT ...` or `python -m MODULE ...`: it is there, and its own parser takes the options."""
    if arguments[:2] == ["-m", "pytest"]:
        assert all((REPOSITORY / path).exists() for path in arguments[2:] if not path.startswith("-"))
        return
    if arguments[0] == "-m":
        found = importlib.util.find_spec(arguments[1])
        if found is not None and found.submodule_search_locations:
            found = importlib.util.find_spec(f"{arguments[1]}.__main__")
        assert found is not None and found.origin is not None, arguments[1]
        script, options = Path(found.origin), arguments[2:]
    else:
        script, options = REPOSITORY / arguments[0], arguments[1:]
    text = script.read_text(encoding="utf-8")
    assert '__name__ == "__main__"' in text or script.name == "__main__.py", f"{script} is no program"
    if "argparse" in text:
        parse_only(script, options)
    else:
        assert not [option for option in options if option.startswith("-")], f"{script} takes no options"


class ParsedError(Exception):
    """The options were understood; what would follow is the program's work."""


def parse_only(script: Path, options: List[str]) -> None:
    parse = ArgumentParser.parse_args

    def parse_and_stop(self, *given):
        parse(self, *given)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(sys, "argv", [str(script), *options])
        patch.syspath_prepend(str(script.parent))
        patch.syspath_prepend(str(REPOSITORY))
        with pytest.raises(ParsedError):
            runpy.run_path(str(script), run_name="__main__")


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory, small_bundle_folder):
    """A folder with what the documents' commands expect: the sample, it again under the readers' names, and a DICOM
    series."""
    folder = tmp_path_factory.mktemp("reader")
    # A toy heart where README and tutorial say that the sample's is: the toy bundle knows no other.
    volume, truth = (sitk.ConstantPad(part, (44, 105, 0), (60, 20, 0)) for part in make_heart())
    for name in ("LGE.nii.gz", "scan-1.nii.gz", "scan-2.nii.gz", "scan-3.nii.gz"):
        sitk.WriteImage(volume, str(folder / name))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(folder / "cine.nii.gz"))
    (folder / SAMPLES).mkdir(parents=True)
    sitk.WriteImage(volume, str(folder / SAMPLES / "SimulatedLGE.nrrd"))
    sitk.WriteImage(sitk.JoinSeries([volume] * 5), str(folder / SAMPLES / "SimulatedCine.seq.nrrd"))
    from confuda.io.segmentation_file import write_segmentation

    write_segmentation(truth, folder / SAMPLES / "SimulatedLGE-truth.seg.nrrd")
    sitk.WriteImage(truth, str(folder / "reference.nii.gz"))
    (folder / "study").mkdir()
    write_study(folder / "study" / "series4")
    return folder


@pytest.mark.parametrize("document", [RUN_IN[0], pytest.param(RUN_IN[1], marks=pytest.mark.slow)])
def test_commands_run_one_after_the_other(document, readers_folder, small_bundle_folder, monkeypatch, capsys):
    pytest.importorskip("torch")
    from confuda.app.cli import main

    monkeypatch.chdir(readers_folder)
    commands = [command for command in COMMANDS if command.document == document]
    ran = 0
    for command in commands:
        program, *rest = command.words
        if program == "cp":
            shutil.copy(*rest)
        elif program == "confuda" and rest[0] in RUN:
            toy = [*TOY_OPTIONS.get(rest[0], ())]
            if rest[0] == "adapt" and "--bundle" not in rest:
                toy += ["--bundle", str(small_bundle_folder)]
            assert main([*rest, *toy]) == 0, f"{command}\n{capsys.readouterr().err}"
            check_outputs(command)
            ran += 1
    assert ran >= 5
    printed = capsys.readouterr().out
    assert "mL" in printed and "Dice" in printed


def test_python_of_the_readme_runs_as_it_stands(readers_folder, small_bundle_folder, tmp_path, monkeypatch, capsys):
    """With the small networks in the place of the shipped ones, for speed."""
    pytest.importorskip("torch")
    from confuda.bundle import format as bundle_format

    shutil.copytree(readers_folder / SAMPLES, tmp_path / SAMPLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle_format, "SHIPPED_BUNDLE", small_bundle_folder)
    assert run_examples(REPOSITORY / "README.md", {}) == 1
    assert "MYO" in capsys.readouterr().out and (tmp_path / "heart.seg.nrrd").is_file()


def check_outputs(command: Command) -> None:
    """What `-o` and `--save-bundle` name is there."""
    for option in ("-o", "--save-bundle"):
        if option in command.words:
            path = Path(command.words[command.words.index(option) + 1])
            assert path.is_file() or any(path.iterdir()), path


@pytest.mark.parametrize("document", [name for name in PYTHON_DOCUMENTS if name not in PARSED_AND_TESTED_IN])
def test_examples_for_the_python_console_run_one_after_the_other(document, request, monkeypatch, tmp_path):
    """On the host with the scripted worker where Slicer is meant, in plain Python elsewhere."""
    names = {}
    if "slicer." in (REPOSITORY / document).read_text(encoding="utf-8"):
        request.getfixturevalue("bench")
        request.getfixturevalue("phantom").addVolume()
        import slicer

        names["slicer"] = slicer
    monkeypatch.chdir(tmp_path)
    assert run_examples(REPOSITORY / document, names)


@pytest.mark.parametrize("document", [name for name in PYTHON_DOCUMENTS if name in PARSED_AND_TESTED_IN])
def test_examples_that_another_test_runs_are_known_to_it(document):
    assert Path(document).name in (REPOSITORY / PARSED_AND_TESTED_IN[document]).read_text(encoding="utf-8")


@documents
def test_links_lead_somewhere(document):
    for link in read_links(document):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link}"
        assert target.is_relative_to(REPOSITORY), f"{document.name}: {link} is outside of the repository"
        assert not anchor or anchor in read_anchors(target), f"{document.name}: {link}"


@documents
def test_named_files_exist(document):
    """Paths of the repository in running text; those of a reader have no folder of ours in front."""
    own = {path.name for path in REPOSITORY.iterdir() if path.is_dir()} - {"out", "dist", "build", "demo-output"}
    for code in read_inline_code(read_prose(document)):
        if re.fullmatch(r"[\w.\-]+(/[\w.\-]+)*/?", code) and code.split("/")[0] in own and "/" in code:
            assert (REPOSITORY / code).exists(), f"{document.name} names {code}"


def test_each_document_is_reached_from_the_readme():
    seen, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        document = waiting.pop()
        seen.add(document)
        for link in read_links(document):
            target = (document.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file() and target not in seen:
                waiting.append(target)
    missed = {path.relative_to(REPOSITORY).as_posix() for path in set(DOCUMENTS) - seen}
    assert missed == set(), "no link leads to these"


def test_pictures_are_small_and_used():
    linked = {(path.parent / link).resolve() for path in DOCUMENTS for link in read_links(path)}
    urls = cmake_value("EXTENSION_SCREENSHOTURLS").split()
    linked |= {REPOSITORY / url.partition("/main/")[2] for url in urls}
    folders = (REPOSITORY / "docs", REPOSITORY / "Resources" / "Screenshots")
    pictures = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".svg")]
    for picture in pictures:
        assert picture.stat().st_size <= LARGEST_PICTURE, picture
        assert picture in linked, f"no document shows {picture.relative_to(REPOSITORY)}"
    assert sum(picture.stat().st_size for picture in pictures) <= LARGEST_SUM_OF_PICTURES
