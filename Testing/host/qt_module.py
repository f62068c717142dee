"""The `qt` and `ctk` modules as PythonQt offers them, made of PySide6.

The code under test sees properties as attributes (`button.enabled = False`): PySide6 switches that on by the name of
the calling module, so it holds for the extension alone and the host keeps ordinary PySide6.
"""

import re
import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from shibokensupport import feature
from Testing.host import widgets

_PLAIN, _TRUE_PROPERTY = 0x00, 0x02
_EXTENSION = ("ConFUDASegment", "ConFUDASegmentLib")


def installModules() -> None:
    qt = types.ModuleType("qt")
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if name.startswith(("Q", "Qt")):
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = UiLoader
    ctk = types.ModuleType("ctk")
    for name in dir(widgets):
        if name.startswith("ctk"):
            setattr(ctk, name, getattr(widgets, name))
    sys.modules["qt"] = qt
    sys.modules["ctk"] = ctk
    _startSwitching()
    for name in ("__main__", *(name for name in sys.modules if name.startswith("Testing.host"))):
        usePlainQt(name)
    usePropertyQt("ConFUDASegment")
    usePropertyQt("slicer.util")
    sys.meta_path.insert(0, _PropertySwitch())


def _startSwitching() -> None:
    """At its first use PySide6's switch reads the source of every loaded module. Those that only pretend to be modules
    (torch.classes) answer that with errors of their own, so they step aside for the moment."""
    pretenders = {name: module for name, module in sys.modules.items() if type(module) is not types.ModuleType}
    for name in pretenders:
        del sys.modules[name]
    try:
        usePlainQt(__name__)
    finally:
        sys.modules.update(pretenders)


def usePlainQt(moduleName: str) -> None:
    """PySide6 as it is, for the module of this name (one it was not told of gets what the last caller had)."""
    feature.set_selection(_PLAIN, moduleName)


def usePropertyQt(moduleName: str) -> None:
    """Properties as attributes, as in PythonQt, for the module of this name."""
    feature.set_selection(_TRUE_PROPERTY, moduleName)


class _PropertySwitch:
    """Chooses for each module just before it is imported."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] in _EXTENSION:
            usePropertyQt(name)
        elif name.startswith("Testing.") or name.startswith(("test_", "conftest")):
            usePlainQt(name)
        return None


class UiLoader(QtUiTools.QUiLoader):
    """Knows Slicer's widgets; Designer's plugins do this in the application."""

    def __init__(self) -> None:
        super().__init__()
        for name in dir(widgets):
            if name.startswith(("ctk", "qMRML")):
                self.registerCustomWidget(getattr(widgets, name))

    def load(self, file: Any) -> Any:
        # Connections between Slicer's own signals and slots are made by qMRMLWidget of the host instead.
        # A property of an enumeration that only CTK declares can't be read here.
        text = bytes(file.readAll()).decode("utf-8")
        for pattern in (r"<connections>.*</connections>", r'<property name="filters">.*?</property>'):
            text = re.sub(pattern, "", text, flags=re.DOTALL)
        buffer = QtCore.QBuffer()
        buffer.setData(text.encode("utf-8"))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer)
        # PythonQt gives each widget its object name as `name`.
        for child in [widget, *widget.findChildren(QtWidgets.QWidget)]:
            child.name = child.objectName()
        return widget
