"""Run examples/confuda.ipynb from top to bottom and keep it with its outputs.

python examples/run_notebook.py
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("confuda.ipynb")


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # From its own folder, where a reader starts it. A bar is kept as it is in the end, and no time of day.
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    client = NotebookClient(notebook, timeout=None, resources=where, coalesce_streams=True, record_timing=False)
    client.execute()
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
