"""The example notebook runs as it stands, with the shipped network, and is kept with pictures that are small."""

import re

import pytest
from Testing.packaging.description import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "confuda.ipynb"
LARGEST = 300_000


def read_notebook():
    return pytest.importorskip("nbformat").read(NOTEBOOK, as_version=4)


def collect_outputs(notebook, kind):
    return [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == kind]


def test_notebook_is_kept_with_its_outputs():
    notebook = read_notebook()
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom: make notebook"
    pictures = [output for output in collect_outputs(notebook, "display_data") if "image/jpeg" in output.data]
    assert len(pictures) == 2 and not collect_outputs(notebook, "error")
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert not re.search(r"/(home|root|Users|tmp|work)/", text), "it names folders of the machine that ran it"


@pytest.mark.slow
def test_notebook_runs_as_it_stands():
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = read_notebook()
    # From its own folder, where a reader starts it.
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", resources=resources).execute()
    printed = "".join(output.text for output in collect_outputs(notebook, "stream") if output.name == "stdout")
    scores = [float(score) for score in re.findall(r"Dice (0\.\d+)", printed)]
    # The sample's truth is known: without adaptation the shipped network has 0.896 on it.
    assert len(scores) == 3 and scores[0] > 0.88 and min(scores) > 0.8
    assert re.search(r"'MYO': \d+\.\d", printed) and "views agree" in printed
