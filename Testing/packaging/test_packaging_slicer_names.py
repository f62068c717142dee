"""Every name that the extension takes from Slicer exists in a real Slicer (the list was dumped inside one), and nothing
is imported at start-up that a Slicer without torch lacks. Names that only PySide6 or only our host has are bugs."""

import ast
import gzip
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "ConFUDASegment"
SOURCES = [MODULE / "ConFUDASegment.py", *sorted((MODULE / "ConFUDASegmentLib").glob("*.py"))]
NAMES = Path(os.environ.get("CONFUDA_SLICER_NAMES", REPOSITORY.parent / "shared" / "reference" / "slicer-api.json.gz"))
# Used only behind a test of their presence: 5.12 has it and older ones do not.
GUARDED = {"slicer.packaging"}


@pytest.fixture(scope="session")
def names():
    if not NAMES.is_file():
        pytest.skip(f"needs the list of names of a real Slicer, which is not at {NAMES}")
    with gzip.open(NAMES, "rt", encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(params=SOURCES, ids=lambda path: path.name)
def source(request):
    return ast.parse(request.param.read_text(encoding="utf-8"), str(request.param))


def dotted(node):
    """`qt.QTimer.singleShot` as a list of names, or None."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None


def used_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = dotted(node)
            if parts and parts[0] in ("qt", "ctk", "slicer"):
                yield parts
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "slicer":
            for alias in node.names:
                yield [*node.module.split("."), alias.name]


def test_names_exist_in_slicer(source, names):
    for parts in used_names(source):
        if ".".join(parts[:2]) in GUARDED:
            continue
        module, name, *members = parts
        assert name in names[module], ".".join(parts)
        known = names[module][name]
        if members and name not in ("mrmlScene", "modules") or name == "modules" and members:
            assert not known or members[0] in known, ".".join(parts)
        elif members:
            assert members[0] in names["slicer"]["vtkMRMLScene"], ".".join(parts)


def test_only_pythonqt_ways(source):
    """qt.Signal crashes, exec_ and QRegExp go with Qt 6, and a class made in Python from a Qt class gets no slots."""
    for parts in used_names(source):
        assert parts[1] not in ("Signal", "Slot", "QTextCodec", "QRegExp", "Property"), ".".join(parts)
    for node in ast.walk(source):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                assert (dotted(base) or [""])[0] not in ("qt", "ctk"), f"{node.name} derives from Qt"
        if isinstance(node, ast.Attribute):
            assert node.attr != "exec_", ast.dump(node)


def test_controls_have_the_members_that_are_used(names):
    """`ui.NAME.MEMBER`, where the .ui file tells the class of NAME."""
    ui = ElementTree.parse(MODULE / "Resources" / "UI" / "ConFUDASegment.ui")
    classes = {widget.get("name"): widget.get("class") for widget in ui.iter("widget")}
    used = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = dotted(node) if isinstance(node, ast.Attribute) else None
            parts = ["ui" if part == "_ui" else part for part in parts or []]
            if "ui" in parts[:-1]:
                name, *members = parts[parts.index("ui") + 1 :]
                assert name in classes, f"{path.name} uses ui.{name}, which the .ui file lacks"
                used.add(name)
                for member in members[:1]:
                    module = {"q": "slicer", "c": "ctk", "Q": "qt"}[classes[name][0]]
                    assert member in names[module][classes[name]], f"{path.name}: {classes[name]} has no {member}"
    assert len(used) > 20


def test_properties_of_the_ui_file_exist(names):
    ui = ElementTree.parse(MODULE / "Resources" / "UI" / "ConFUDASegment.ui")
    for widget in ui.iter("widget"):
        kind = widget.get("class")
        module = {"q": "slicer", "c": "ctk", "Q": "qt"}[kind[0]]
        for prop in widget.findall("property"):
            name = prop.get("name")
            setter = "set" + name[0].upper() + name[1:]
            known = names[module][kind]
            assert name in known or setter in known or name == "buddy", f"{kind}.{name}"


def test_enumerations_of_the_ui_file_exist(names):
    text = (MODULE / "Resources" / "UI" / "ConFUDASegment.ui").read_text(encoding="utf-8")
    for element in ElementTree.fromstring(text).iter():
        if element.tag in ("enum", "set"):
            for value in element.text.split("|"):
                kind, _, member = value.partition("::")
                module = {"c": "ctk", "Q": "qt"}[kind[0]]
                assert member in names[module][kind], value


def test_controls_of_the_panel_wait_for_no_scene(names):
    """Each MRML widget of the .ui file gets the scene through a connection, as Slicer expects."""
    ui = ElementTree.parse(MODULE / "Resources" / "UI" / "ConFUDASegment.ui")
    wanted = {w.get("name") for w in ui.iter("widget") if w.get("class").startswith("qMRML")} - {"ConFUDASegment"}
    assert wanted == {connection.findtext("receiver") for connection in ui.iter("connection")}


def test_start_up_imports_nothing_heavy():
    """At import scope: Slicer, Qt, VTK and the standard library. All else is imported when it is wanted."""
    allowed = {"qt", "ctk", "slicer", "vtk"}
    for node in ast.parse((MODULE / "ConFUDASegment.py").read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in modules:
                assert module.split(".")[0] in allowed | set(sys.stdlib_module_names), module


def test_slicer_side_imports_no_torch(source):
    for node in ast.walk(source):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module]
        for module in modules:
            top = module.split(".")[0]
            assert top != "torch"
            if top == "confuda":
                allowed = ("confuda.labels", "confuda.adaptation.settings", "confuda.errors", "confuda.privacy")
                allowed += ("confuda.inference.plausibility", "confuda.imaging.parallel_slices")
                allowed += (
                    "confuda.app.job",
                    "confuda.threads",
                    "confuda.measure.bulls_eye",
                    "confuda.measure.function",
                )
                assert module in allowed, module


def test_written_for_python_3_9(source):
    """Slicer 5.8 has it: no match, no X | Y in what is evaluated, no parenthesised with."""
    ast.parse(ast.unparse(source), feature_version=(3, 9))
    for node in ast.walk(source):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if annotation is not None:
            assert not any(isinstance(part, ast.BinOp) for part in ast.walk(annotation)), ast.unparse(annotation)
        assert not isinstance(node, ast.ExceptHandler) or node.type is not None


STARTED_PANEL = """
import subprocess
import sys
sys.path.insert(0, {repository!r})
from Testing.host import start
host = start()
host.loadModule().enter()
print("LOADED", *sorted(name for name in sys.modules if name.split(".")[0] in ("confuda", "torch", "SimpleITK")))
host.unloadModule()
"""


def test_the_panel_loads_nothing_of_training_benchmark_or_cohort(host):
    """In a fresh process: opening the panel must be quick, and works where torch is not yet installed."""
    answer = subprocess.run(
        [sys.executable, "-c", STARTED_PANEL.format(repository=str(REPOSITORY))],
        capture_output=True,
        text=True,
        timeout=600,
    )
    loaded = answer.stdout.partition("LOADED")[2].split()
    assert "confuda.labels" in loaded, answer.stdout + answer.stderr
    for name in loaded:
        assert name.split(".")[0] == "confuda", name
        assert name.split(".")[1:2] not in (["training"], ["benchmark"], ["cohort"], ["report"]), name
