"""The examples of docs/slicer.md run as they stand."""

import re
from pathlib import Path

import pytest
from Testing.packaging.documents import run_examples

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "slicer.md"


def test_console_examples_run_one_after_the_other(bench, phantom, capsys):
    import slicer

    phantom.addVolume()
    assert run_examples(DOCUMENT, {"slicer": slicer}) >= 5
    printed = capsys.readouterr().out
    assert "adapt 4/20" in printed and "Cancelled" in printed and "voxels" in printed


def test_pictures_of_the_document_exist():
    for link in re.findall(r"\]\((\.\./[^)]*)\)", DOCUMENT.read_text(encoding="utf-8")):
        assert (DOCUMENT.parent / link).resolve().is_file(), link


@pytest.mark.parametrize("option", ["mode", "preset", "method", "device", "seed"])
def test_defaults_of_the_table_are_the_true_ones(bench, option):
    from ConFUDASegmentLib.parameters import SegmentationRequest

    default = getattr(SegmentationRequest(), option)
    shown = re.search(rf"^\| `{option}` \| `([^`]*)`", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE).group(1)
    assert shown == (f'"{default}"' if isinstance(default, str) else str(default))
