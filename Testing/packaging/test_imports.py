"""Who may import whom (docs/architecture.md): no package imports one above it, and no module itself by a detour."""

import ast
import re
from pathlib import Path
from typing import Dict, Set

import pytest
from Testing.packaging.description import REPOSITORY

PACKAGE = REPOSITORY / "ConFUDASegment" / "confuda"
SLICER_SIDE = REPOSITORY / "ConFUDASegment" / "ConFUDASegmentLib"

BASE = {"__init__", "errors", "labels", "device", "threads", "privacy"}
MAY_IMPORT: Dict[str, Set[str]] = {
    "imaging": set(),
    "networks": set(),
    "losses": set(),
    "measure": {"imaging"},
    "io": {"imaging"},
    "bundle": {"networks", "losses", "io"},
    "inference": {"networks", "imaging", "measure", "bundle"},
    "adaptation": {"networks", "losses", "imaging", "measure", "inference", "bundle"},
    "result": {"networks", "imaging", "measure", "io", "bundle", "inference", "adaptation"},
}
MAY_IMPORT["observer"] = set()
MAY_IMPORT["segmenter"] = {*MAY_IMPORT["result"], "result", "observer"}
MAY_IMPORT["cine"] = {*MAY_IMPORT["segmenter"], "segmenter"}
CORE = {*MAY_IMPORT["cine"], "cine", "losses"}
MAY_IMPORT["report"] = CORE
MAY_IMPORT["training"] = CORE
MAY_IMPORT["benchmark"] = {*CORE, "report", "training"}
MAY_IMPORT["cohort"] = {*CORE, "report"}
MAY_IMPORT["app"] = {*CORE, "report", "training", "benchmark", "cohort"}
MAY_IMPORT["__main__"] = {"app"}
"""What each package, or module beside the packages, may import in addition to itself and the base."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(path: Path, late: bool) -> Set[str]:
    """The modules of ours that a module imports when it is loaded; with ``late`` also those that it imports later."""
    names = {name_module(module) for module in MODULES}
    found: Set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if late else _walk_at_load(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*name_module(path).split(".")[: -node.level], *base.split(".")])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base for alias in node.names}
    return found & names


def _walk_at_load(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _walk_at_load(node)


def name_package(module: str) -> str:
    return (module.split(".") + ["__init__"])[1]


@pytest.mark.parametrize("path", MODULES, ids=name_module)
def test_no_import_runs_upwards(path) -> None:
    own = name_package(name_module(path))
    if own == "__init__":
        return  # The public face loads what is asked for, and nothing before.
    allowed = (MAY_IMPORT[own] if own not in BASE else set()) | BASE | {own}
    upwards = {module for module in find_imports(path, late=True) if name_package(module) not in allowed}
    assert not upwards, f"{name_module(path)} may not import {', '.join(sorted(upwards))}"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {name_module(path): find_imports(path, late=False) for path in MODULES}
    done: Set[str] = set()

    def visit(module: str, way: tuple) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_the_table_of_the_documentation_is_this_one() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    told = {row[0].strip().strip("`").rstrip("/").split(".")[0]: set(row[2].replace("`", "").split()) for row in rows}
    assert told == {name: allowed for name, allowed in MAY_IMPORT.items() if name != "__main__"}


def test_modules_of_the_slicer_side_import_those_above_them_in_the_documentation() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    order = [
        line.split("`")[1][: -len(".py")] for line in page.splitlines() if re.match(r"\| `\w+\.py` \|[^|]+\|$", line)
    ]
    assert sorted(order) == sorted(path.stem for path in SLICER_SIDE.glob("*.py") if path.stem != "__init__")
    for place, name in enumerate(order):
        tree = ast.parse((SLICER_SIDE / f"{name}.py").read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
        imported = {node.module or alias.name for node in nodes for alias in node.names}
        assert imported <= set(order[:place]), f"{name} imports {', '.join(sorted(imported - set(order[:place])))}"


def test_modules_are_neither_long_nor_tiny() -> None:
    """At most 350 lines; fewer than 15 only for a package's own file, or for a method, each of which has its file."""
    paths = [*MODULES, *SLICER_SIDE.glob("*.py"), PACKAGE.parent / "ConFUDASegment.py"]
    lines = {name_module(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    inits = {name_module(path) for path in paths if path.name in ("__init__.py", "__main__.py")}
    assert {name: count for name, count in lines.items() if count > 350} == {}
    tiny = {name: count for name, count in lines.items() if count < 15 and name not in inits}
    assert {name: count for name, count in tiny.items() if not name.startswith("confuda.adaptation.methods.")} == {}
