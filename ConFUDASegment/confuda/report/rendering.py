"""Pages from the templates beside this module: every text that is put into one is escaped.

Needs jinja2, which torch brings along, and for its drawings matplotlib, which Slicer has not.
"""

import importlib.util
import sys
from typing import Any, List

from confuda.errors import UsageError

GENERATOR = "ConFUDA report"
"""Told near the beginning of every page of ours."""


def check_drawing_library(purpose: str) -> None:
    """Make sure, before any work is done, that pages with drawings can be made here.

    Raises:
        UsageError: naming ``purpose`` ("A report", say) and the packages that are missing.
    """
    missing: List[str] = [name for name in ("jinja2", "matplotlib") if not _is_there(name)]
    if missing:
        raise UsageError(
            f"{purpose} needs {' and '.join(missing)}, which this Python lacks: 'pip install {' '.join(missing)}'."
        )


def _is_there(name: str) -> bool:
    # A test, or a user, may have put None in the place of a package.
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None


def render(template: str, **values: Any) -> str:
    """The page of ``template`` (a file's name in the folder ``templates``) with ``values`` filled in."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("confuda.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(generator=GENERATOR, **values)
