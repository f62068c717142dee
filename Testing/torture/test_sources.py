"""What the sources may not do: unpickle, evaluate text, start a shell, reach the network, ask the wall clock."""

import ast
from functools import lru_cache
from pathlib import Path
from typing import Iterator, List, Set, Tuple

from Testing.torture.runs import REPOSITORY

UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "yaml"}
FORBIDDEN_CALLS = {
    "eval": "evaluates text",
    "exec": "evaluates text",
    "compile": "evaluates text",
    "__import__": "imports by a text",
    "os.system": "a shell",
    "os.popen": "a shell",
    "subprocess.getoutput": "a shell",
    "subprocess.getstatusoutput": "a shell",
    "torch.load": "unpickles",
    "torch.jit.load": "unpickles",
    "torch.hub.load": "loads code",
    "pandas.read_pickle": "unpickles",
}
NETWORK_MODULES = {"socket", "urllib", "http", "requests", "ftplib", "smtplib", "aiohttp", "httpx", "asyncio"}
CLOCK_CALLS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
TEMPORARY_CALLS = {"tempfile.mkdtemp", "tempfile.TemporaryDirectory", "tempfile.gettempdir"}
ALL = ("ConFUDASegment", "benchmarks", "examples")
RUNNING = ("ConFUDASegment/confuda", "ConFUDASegment/ConFUDASegmentLib")


def list_sources(folders: Tuple[str, ...]) -> List[Path]:
    sources = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    assert len(sources) > 30, "the sources were not found"
    return sources


@lru_cache(maxsize=None)
def parse(path: Path) -> Tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def name_call(node: ast.Call) -> str:
    parts, function = [], node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    parts.append(function.id if isinstance(function, ast.Name) else "?")
    return ".".join(reversed(parts))


def find_calls(path: Path) -> Iterator[Tuple[str, ast.Call]]:
    return ((name_call(node), node) for node in parse(path) if isinstance(node, ast.Call))


def find_imports(path: Path) -> Set[str]:
    names: Set[str] = set()
    for node in parse(path):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def test_none_unpickles() -> None:
    """All sources parsed: no module that unpickles, no numpy.load that may."""
    for path in list_sources(ALL):
        assert not find_imports(path) & UNPICKLERS, path
        for name, node in find_calls(path):
            allowed = {option.arg: option.value for option in node.keywords}.get("allow_pickle")
            if name.endswith("np.load"):
                assert isinstance(allowed, ast.Constant) and allowed.value is False, f"{path}:{node.lineno}"


def test_none_evaluates_text_or_starts_a_shell() -> None:
    """All sources parsed: no eval, exec, or shell."""
    for path in list_sources(ALL):
        for name, node in find_calls(path):
            assert name not in FORBIDDEN_CALLS, f"{path}:{node.lineno} {name}: {FORBIDDEN_CALLS[name]}"
            for option in node.keywords:
                if option.arg == "shell":
                    assert isinstance(option.value, ast.Constant) and not option.value.value, f"{path}:{node.lineno}"


def test_none_imports_the_network() -> None:
    """Package and Slicer's side parsed: no module of the network."""
    for path in list_sources(RUNNING):
        assert not find_imports(path) & NETWORK_MODULES, path


def test_none_asks_the_wall_clock() -> None:
    """Package and Slicer's side parsed: no time.time, no now()."""
    for path in list_sources(RUNNING):
        for name, node in find_calls(path):
            assert ".".join(name.split(".")[-2:]) not in CLOCK_CALLS, f"{path}:{node.lineno}"


def test_temporary_folders_come_from_tempfile() -> None:
    """Package and Slicer's side parsed: temporary folders come from tempfile, which makes them private."""
    for path in list_sources(RUNNING):
        calls = {name for name, _ in find_calls(path) if name.startswith("tempfile.")}
        assert calls <= TEMPORARY_CALLS, path
