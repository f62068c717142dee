"""Fixtures for tests on the host: the module with a scripted worker, and a check that nothing is left behind."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
from Testing.host import HostMissingError, start

SCRIPTED_WORKER = Path(__file__).with_name("scripted_worker.py")
ONE_CPU = {
    "event": "devices",
    "torch": "2",
    "devices": [{"id": "cpu", "name": "CPU", "usable": True, "secondsPerStep": 0.05}],
}


class Bench:
    """The module in a clean scene. `worker` is how the scripted worker behaves; None runs the true one."""

    def __init__(self, host: Any) -> None:
        import slicer

        self.host = host
        self.worker: Optional[str] = "succeed"
        self.devices: Dict[str, Any] = ONE_CPU
        self.processes: List[Any] = []
        self.answers: List[str] = []  # questions that were asked
        self.reply = True
        self.clear()
        self.widget = host.loadModule()
        self.logic = self.widget.logic
        self.panel = self.widget.panel
        self.ui = self.panel.ui
        self._makeTrueProcess = self.logic.makeProcess
        self.logic.makeProcess = self._makeProcess
        self.panel._ask = self._ask
        self._nodesBefore = self.nodeNames()
        self.scene = slicer.mrmlScene

    def clear(self) -> None:
        import slicer

        slicer.mrmlScene.Clear(0)

    def rememberScene(self) -> None:
        """What a failed or cancelled run must leave as it is."""
        self._nodesBefore = self.nodeNames()

    def nodeNames(self) -> List[str]:
        import slicer

        nodes = slicer.util.getNodesByClass("vtkMRMLNode", slicer.mrmlScene)
        return sorted(f"{node.GetClassName()} {node.GetID()}" for node in nodes)

    def run(self, until: Callable[[], bool], seconds: float = 120.0) -> None:
        if not self.host.process(seconds, until):
            raise AssertionError(f"not within {seconds} s")

    def press(self, button: Any) -> None:
        """A left click of the mouse, as the window system sends it."""
        from PySide6 import QtCore, QtTest, QtWidgets

        self.widget.parent.show()
        self.host.process(0.02)
        place = button.rect().center()
        if isinstance(button, QtWidgets.QCheckBox):
            place.setX(10)  # the box: to the right of a short text nothing is hit
        QtTest.QTest.mouseClick(button, QtCore.Qt.MouseButton.LeftButton, pos=place)

    def runFromPanel(self, seconds: float = 120.0) -> Any:
        """Presses the button and waits for the end; returns the job."""
        self.press(self.ui.applyButton)
        job = self.logic.job
        self.run(lambda: not job.isRunning, seconds)
        return job

    def assertNothingLeft(self) -> None:
        """No process, no temporary file, no timer."""
        for process in self.processes:
            assert process.hasEnded()
            assert not isAlive(process.pid)
        assert [name for name in os.listdir(self.host.temporaryPath)] == []

    def assertSceneUnchanged(self) -> None:
        assert self.nodeNames() == self._nodesBefore

    def _ask(self, question: str) -> bool:
        self.answers.append(question)
        return self.reply

    def _makeProcess(self, module: str, firstLine: Any) -> Any:
        from ConFUDASegmentLib.worker import WorkerProcess

        if module.endswith("probe"):
            command = [sys.executable, "-c", f"print({json.dumps(json.dumps(self.devices))})"]
            process = WorkerProcess(command, dict(os.environ), None)
        elif self.worker is None:
            process = self._makeTrueProcess(module, firstLine)
        else:
            command = [sys.executable, "-E", "-S", str(SCRIPTED_WORKER), self.worker]
            process = WorkerProcess(command, dict(os.environ), firstLine)
        self.processes.append(process)
        return process


def isAlive(pid: int) -> bool:
    """Whether a process of this number runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z")


@pytest.fixture(scope="session")
def host() -> Any:
    try:
        return start()
    except HostMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def phantom(host: Any) -> Any:
    from Testing.host import phantom as module

    return module


@pytest.fixture
def bench(host: Any, monkeypatch: Any, request: Any) -> Any:
    """The module, loaded anew, all packages taken as installed. After the test nothing may be left."""
    from PySide6 import QtCore
    from Testing.host.qt_module import usePlainQt

    from ConFUDASegmentLib import installing

    usePlainQt(request.module.__name__)
    monkeypatch.setattr(installing, "_isPresent", lambda name: True)
    monkeypatch.setattr(installing, "_versionOf", lambda name: "99.0")
    QtCore.QSettings().clear()
    made = Bench(host)
    yield made
    host.unloadModule()
    made.assertNothingLeft()
    made.clear()
