"""The widgets of Slicer and CTK that the panel uses, as thin as can be: names, properties and signals are real."""

from typing import Any, Callable, List, Optional

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        """Hands the scene to all children, as the connections in the .ui file do in Slicer."""
        for child in self.findChildren(QtWidgets.QWidget):
            if hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the nodes of the scene by class."""

    nodeChosen = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observations: List[int] = []
        self._nodeTypes: List[str] = []
        self._flags = {"addEnabled": True, "removeEnabled": True, "renameEnabled": False, "noneEnabled": False}
        self._flags["showChildNodeTypes"] = True
        self._noneDisplay = "None"
        self.currentIndexChanged.connect(lambda _index: self.nodeChosen.emit(self.currentNode()))

    def connect(self, signature: str, slot: Callable[..., Any]) -> None:  # type: ignore[override]
        if signature != "currentNodeChanged(vtkMRMLNode*)":
            raise ValueError(f"qMRMLNodeComboBox of the host has no signal {signature}")
        self.nodeChosen.connect(slot)

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        self._observations = []
        if scene is None:
            return
        self._observations = [
            scene.AddObserver(event, lambda _caller, _event: self._fill())
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent)
        ]
        self._fill()

    def currentNode(self) -> Optional[Any]:
        identifier = self.itemData(self.currentIndex())
        return self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None

    def setCurrentNode(self, node: Optional[Any]) -> None:
        self._select(node.GetID() if node is not None else None)

    def _select(self, identifier: Optional[str]) -> None:
        self.setCurrentIndex(next((i for i in range(self.count()) if self.itemData(i) == identifier), -1))

    def _fill(self) -> None:
        chosen = self.itemData(self.currentIndex())
        blocked = self.blockSignals(True)
        self.clear()
        if self._flags["noneEnabled"]:
            self.addItem(self._noneDisplay, None)
        for nodeType in self._nodeTypes:
            for node in slicer.util.getNodesByClass(nodeType, self._scene):
                exact = self._flags["showChildNodeTypes"] or node.GetClassName() in self._nodeTypes
                if exact and not node.GetHideFromEditors():
                    self.addItem(node.GetName(), node.GetID())
        self._select(chosen)
        if self.currentIndex() < 0 and self.count() > 0:
            self.setCurrentIndex(0)  # as any Qt combo box whose list was empty
        self.blockSignals(blocked)
        if self.itemData(self.currentIndex()) != chosen:
            self.nodeChosen.emit(self.currentNode())

    def _setNodeTypes(self, types: List[str]) -> None:
        self._nodeTypes = list(types)

    def _setNoneDisplay(self, text: str) -> None:
        self._noneDisplay = text

    def _flag(name: str) -> Any:  # noqa: N805 - makes the class's properties
        return Property(bool, lambda self: self._flags[name], lambda self, value: self._flags.__setitem__(name, value))

    nodeTypes = Property("QStringList", lambda self: self._nodeTypes, _setNodeTypes)
    noneDisplay = Property(str, lambda self: self._noneDisplay, _setNoneDisplay)
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    renameEnabled = _flag("renameEnabled")
    noneEnabled = _flag("noneEnabled")
    showChildNodeTypes = _flag("showChildNodeTypes")


class qMRMLTableView(QtWidgets.QTableWidget):
    """Shows a table node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self.verticalHeader().hide()
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)

    def setMRMLScene(self, scene: Any) -> None:
        pass

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        self.setRowCount(node.GetNumberOfRows() if node is not None else 0)
        self.setColumnCount(node.GetNumberOfColumns() if node is not None else 0)
        for column in range(self.columnCount()):
            self.setHorizontalHeaderItem(column, QtWidgets.QTableWidgetItem(node.GetColumnName(column)))
            for row in range(self.rowCount()):
                self.setItem(row, column, QtWidgets.QTableWidgetItem(node.GetCellText(row, column)))
        self.resizeColumnsToContents()


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that folds its contents away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._forcing = False
        self._header = QtWidgets.QToolButton(self)
        self._header.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setAutoRaise(True)
        self._header.setStyleSheet("QToolButton { background: #dfe3e8; border: 0; padding: 4px; text-align: left; }")
        self._header.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._header.clicked.connect(lambda: self._setCollapsed(not self._collapsed))
        self._header.move(0, 0)
        self.setContentsMargins(0, self._header.sizeHint().height() + 4, 0, 0)
        self._showArrow()

    def resizeEvent(self, event: Any) -> None:
        self._header.resize(self.width(), self._header.sizeHint().height())
        super().resizeEvent(event)

    def childEvent(self, event: Any) -> None:
        super().childEvent(event)
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)
            if self._collapsed:
                QtCore.QTimer.singleShot(0, self, self._reapply)

    def eventFilter(self, child: Any, event: Any) -> bool:
        """As CTK does: what is shown or hidden while folded takes effect when unfolded."""
        if self._collapsed and not self._forcing and child is not self._header:
            if event.type() == QtCore.QEvent.Type.ShowToParent:
                self._forcing = True
                child.setProperty("hostHidden", True)
                child.hide()
                self._forcing = False
            elif event.type() == QtCore.QEvent.Type.HideToParent:
                child.setProperty("hostHidden", False)
        return False

    def showEvent(self, event: Any) -> None:
        self._setCollapsed(self._collapsed)
        super().showEvent(event)

    def _showArrow(self) -> None:
        arrows = QtCore.Qt.ArrowType
        self._header.setArrowType(arrows.RightArrow if self._collapsed else arrows.DownArrow)

    def _setCollapsed(self, collapsed: bool) -> None:
        self._forcing = True
        self._fold(collapsed)
        self._forcing = False
        self.contentsCollapsed.emit(collapsed)

    def _fold(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._showArrow()
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and child is not self._header:
                hidden = child.property("hostHidden")
                if collapsed and not child.isHidden():
                    child.setProperty("hostHidden", True)
                    child.hide()
                elif not collapsed and hidden:
                    child.setProperty("hostHidden", False)
                    child.show()
        self.setMaximumHeight(self._header.sizeHint().height() + 4 if collapsed else 16777215)

    def _reapply(self) -> None:
        self._setCollapsed(self._collapsed)

    def _text(self) -> str:
        return self._header.text()

    def _setText(self, text: str) -> None:
        self._header.setText(text)
        self._header.setFixedHeight(self._header.sizeHint().height())

    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)
    text = Property(str, _text, _setText)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box beside it."""

    valueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self.setFocusProxy(self._spin)
        self._slider.valueChanged.connect(self._spin.setValue)
        self._spin.valueChanged.connect(lambda value: self._slider.setValue(int(value)))
        self._spin.valueChanged.connect(self.valueChanged.emit)

    def _setMinimum(self, value: float) -> None:
        self._slider.setMinimum(int(value))
        self._spin.setMinimum(value)

    def _setMaximum(self, value: float) -> None:
        self._slider.setMaximum(int(value))
        self._spin.setMaximum(value)

    value = Property(float, lambda self: self._spin.value(), lambda self, v: self._spin.setValue(v))
    minimum = Property(float, lambda self: self._spin.minimum(), _setMinimum)
    maximum = Property(float, lambda self: self._spin.maximum(), _setMaximum)
    decimals = Property(int, lambda self: self._spin.decimals(), lambda self, v: self._spin.setDecimals(v))
    singleStep = Property(float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v))
    pageStep = Property(float, lambda self: self._slider.pageStep(), lambda self, v: self._slider.setPageStep(int(v)))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path, with a button to browse."""

    currentPathChanged = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit = QtWidgets.QLineEdit(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        button = QtWidgets.QToolButton(self)
        button.setText("…")
        layout.addWidget(button)
        self.setFocusProxy(self._edit)
        self._edit.textChanged.connect(self.currentPathChanged.emit)

    currentPath = Property(str, lambda self: self._edit.text(), lambda self, text: self._edit.setText(text))
