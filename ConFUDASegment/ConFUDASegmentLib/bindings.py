"""Ties each control of the panel to one parameter, both ways.

Written out instead of parameterNodeWrapper's own GUI connection: that one can't hold an int on a slider before Slicer
5.10, nor a combo box whose shown text is a translation of its value.
"""

from typing import Any, Callable, List


class Binding:
    """`read` and `write` move one value between a control and its parameter."""

    def __init__(
        self, control: Any, name: str, read: Callable[[], Any], write: Callable[[Any], None], changed: Any
    ) -> None:
        self.control = control
        self.name = name
        self.read = read
        self.write = write
        self._changed = changed

    def connect(self, callback: Callable[[], None]) -> None:
        self._changed(lambda *_arguments: callback())


def nodeBinding(control: Any, name: str) -> Binding:
    # The signal has two forms; a string picks the right one in PythonQt.
    def changed(slot: Any) -> None:
        control.connect("currentNodeChanged(vtkMRMLNode*)", slot)

    return Binding(control, name, control.currentNode, control.setCurrentNode, changed)


def choiceBinding(control: Any, name: str) -> Binding:
    """A combo box whose item data is the value. A value that it lacks (from another version) takes the first."""

    def write(value: Any) -> None:
        control.currentIndex = max(control.findData(value), 0)

    return Binding(
        control, name, lambda: control.itemData(control.currentIndex), write, control.currentIndexChanged.connect
    )


def checkBinding(control: Any, name: str) -> Binding:
    def write(value: bool) -> None:
        control.checked = value

    return Binding(control, name, lambda: bool(control.checked), write, control.toggled.connect)


def numberBinding(control: Any, name: str, kind: Callable[[Any], Any], offset: int = 0) -> Binding:
    """A spin box or slider; `offset` is what the control shows beyond the parameter (1 for counting from one)."""

    def write(value: Any) -> None:
        control.value = value + offset

    return Binding(control, name, lambda: kind(control.value) - offset, write, control.valueChanged.connect)


def pathBinding(control: Any, name: str) -> Binding:
    def write(value: str) -> None:
        if control.currentPath != value:
            control.currentPath = value

    return Binding(control, name, lambda: control.currentPath.strip(), write, control.currentPathChanged.connect)


class Bindings:
    """All of them, with one parameter node at a time."""

    def __init__(self, bindings: List[Binding], changed: Callable[[], None]) -> None:
        self._bindings = bindings
        self._changed = changed
        self._parameters = None
        self._updating = False
        for binding in bindings:
            binding.connect(lambda binding=binding: self._toParameters(binding))

    def use(self, parameters: Any) -> None:
        self._parameters = parameters

    def toControls(self) -> None:
        if self._parameters is None or self._updating:
            return
        self._updating = True
        try:
            for binding in self._bindings:
                binding.write(getattr(self._parameters, binding.name))
        finally:
            self._updating = False

    def _toParameters(self, binding: Binding) -> None:
        if self._updating or self._parameters is None:
            return
        value = binding.read()
        if getattr(self._parameters, binding.name) != value:
            setattr(self._parameters, binding.name, value)
            self._changed()
