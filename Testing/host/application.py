"""The application: scene, logics, modules, `slicer.app`, and the extension's module loaded into it."""

import contextlib
import gc
import importlib.util
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Union

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtWidgets
from Testing.host import parameter_node, qt_module, scripted

LOGICS = (
    ("colors", "Colors", "vtkSlicerColorLogic"),
    ("terminologies", "Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    ("subjecthierarchy", "SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    ("volumes", "Volumes", "vtkSlicerVolumesLogic"),
    ("segmentations", "Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    ("sequences", "Sequences", "vtkSlicerSequencesLogic"),
    ("tables", "Tables", "vtkSlicerTablesLogic"),
)


@contextlib.contextmanager
def _quietLog() -> Iterator[None]:
    """The logics look for files of an installed Slicer (colours, terminologies) that the wheel lacks, and say so."""
    verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtk.vtkLogger.SetStderrVerbosity(verbosity)


class qSlicerScriptedLoadableModule:
    """A scripted module as the module manager holds it."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = str(path)
        self._representation: Optional[qSlicerScriptedLoadableModuleWidget] = None

    def widgetRepresentation(self) -> Any:
        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget(self.name)
        return self._representation

    def forgetWidget(self) -> None:
        """Ends the widget: its module was unloaded or is loaded anew."""
        if self._representation is not None:
            self._representation.self().cleanup()
            self._representation.container.setMRMLScene(None)
            self._representation.container.close()
            self._representation.container.deleteLater()
            self._representation = None
            # Here, on the GUI's thread: Qt's objects must not be deleted from another one.
            gc.collect()


class qSlicerScriptedLoadableModuleWidget:
    def __init__(self, name: str) -> None:
        self.container = scripted.makeContainer()
        self._widget = getattr(sys.modules[name], name + "Widget")(self.container)
        self._widget.setup()

    def self(self) -> Any:
        return self._widget


class SampleDataLogic:
    """Keeps what is registered; a test loads it."""

    sources: Dict[str, Dict[str, Any]] = {}

    @classmethod
    def registerCustomSampleDataSource(cls, **source: Any) -> None:
        cls.sources[source["sampleName"]] = source


class App:
    """`slicer.app`. A string names a signal, as in PythonQt."""

    applicationName = "Slicer host"

    def __init__(self, application: QtWidgets.QApplication, temporaryPath: str) -> None:
        self._application = application
        self._slots: Dict[str, List[Callable[[], None]]] = {"startupCompleted()": [], "aboutToQuit()": []}
        self.temporaryPath = temporaryPath
        self.applicationVersion = "5.13 (slicer-core without desktop)"
        self.isTesting = False

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        self._slots[signal].append(slot)

    def emit(self, signal: str) -> None:
        for slot in list(self._slots[signal]):
            slot()

    def processEvents(self) -> None:
        self._application.processEvents()

    def clipboard(self) -> Any:
        return self._application.clipboard()

    def testingEnabled(self) -> bool:
        return self.isTesting

    def layoutManager(self) -> None:
        return None  # there are no views

    def moduleManager(self) -> Any:
        return types.SimpleNamespace(module=lambda name: getattr(slicer.modules, name.lower(), None))

    def translate(self, _context: str, text: str) -> str:
        return text


class Host:
    def __init__(self, moduleFolder: Path) -> None:
        self.moduleFolder = moduleFolder
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["host"])
        QtCore.QCoreApplication.setOrganizationName("ConFUDA")
        QtCore.QCoreApplication.setApplicationName("host")
        self._settingsFolder = tempfile.TemporaryDirectory(prefix="host-settings-")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(
            QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, self._settingsFolder.name
        )
        self._temporary = tempfile.TemporaryDirectory(prefix="host-")
        self.application.aboutToQuit.connect(lambda: self.app.emit("aboutToQuit()"))
        qt_module.installModules()
        self.app = App(self.application, self._temporary.name)
        self._applicationLogic = slicer.vtkSlicerApplicationLogic()
        slicer.app = self.app
        slicer.mrmlScene = slicer.vtkMRMLScene()
        slicer.modules = types.SimpleNamespace(host=self)
        slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
        slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
        slicer.util.loadVolume = self.loadVolume  # the wheel's goes through a dialog manager of the application
        self._installPythonModules()
        with _quietLog():
            self._makeLogics()
        self._followSubjectHierarchy()

    @property
    def temporaryPath(self) -> Path:
        return Path(self._temporary.name)

    def loadModule(self, folder: Optional[Path] = None) -> Any:
        """Loads ConFUDASegment as Slicer does and returns its widget."""
        folder = folder or self.moduleFolder
        path = folder / "ConFUDASegment.py"
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        if not hasattr(slicer.modules, "confudasegment"):
            slicer.modules.confudasegment = qSlicerScriptedLoadableModule("ConFUDASegment", path)
            module = self._execute("ConFUDASegment", path)
            module.ConFUDASegment(types.SimpleNamespace(path=str(path)))
            self.app.emit("startupCompleted()")
        return slicer.modules.confudasegment.widgetRepresentation().self()

    def reloadModule(self, name: str) -> Any:
        """Reloads the module's file and makes its widget anew, as slicer.util.reloadScriptedModule does."""
        module = getattr(slicer.modules, name.lower())
        self._execute(name, Path(module.path))
        module.forgetWidget()
        return module.widgetRepresentation().self()

    def unloadModule(self) -> None:
        """Ends the module: as when Slicer quits."""
        module = slicer.modules.__dict__.pop("confudasegment", None)
        if module is not None:
            module.forgetWidget()
            self.application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)

    def process(self, seconds: float, until: Optional[Callable[[], bool]] = None) -> bool:
        """Runs the event loop. True as soon as `until` holds; False when the time is over."""
        timer = QtCore.QElapsedTimer()
        timer.start()
        while timer.elapsed() < seconds * 1000:
            self.application.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
            if until is not None and until():
                return True
            QtCore.QThread.msleep(2)
        return False

    @staticmethod
    def loadVolume(path: Union[str, Path], name: str = "Volume") -> Any:
        node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name)
        if node is None:
            raise RuntimeError(f"{path} could not be loaded")
        return node

    @staticmethod
    def loadSequence(path: Union[str, Path], name: str = "Cine") -> Any:
        """As `slicer.util.loadSequence` does: returns the volume that shows the first frame."""
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{name} frames")
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeSequenceStorageNode")
        storage.SetFileName(str(path))
        if not storage.ReadData(sequence):
            raise RuntimeError(f"{path} could not be loaded")
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        volume = browser.GetProxyNode(sequence)
        volume.SetName(name)
        return volume

    @staticmethod
    def _execute(name: str, path: Path) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def _makeLogics(self) -> None:
        for attribute, name, className in LOGICS:
            logic = getattr(slicer, className)()
            self._applicationLogic.SetModuleLogic(name, logic)
            logic.SetMRMLApplicationLogic(self._applicationLogic)
            logic.SetMRMLScene(slicer.mrmlScene)
            setattr(slicer.modules, attribute, types.SimpleNamespace(logic=lambda logic=logic: logic))
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)

    def _followSubjectHierarchy(self) -> None:
        """Each volume, segmentation and table has its item: a Qt plugin sees to this in the application."""

        def hierarchyFor(node: Any) -> Any:
            wanted = any(
                node.IsA(kind) for kind in ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTableNode")
            )
            return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene) if wanted else None

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onAdded(_caller: Any, _event: Any, node: Any) -> None:
            hierarchy = hierarchyFor(node)
            if hierarchy is not None and not node.GetHideFromEditors() and not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onRemoved(_caller: Any, _event: Any, node: Any) -> None:
            hierarchy = hierarchyFor(node)
            item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
            if item:
                hierarchy.RemoveItem(item, False, False)

        slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, onAdded)
        slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAboutToBeRemovedEvent, onRemoved)

    @staticmethod
    def _installPythonModules() -> None:
        i18n = types.ModuleType("slicer.i18n")
        i18n.tr = lambda text: text
        i18n.translate = lambda _context, text: text
        wrapper = types.ModuleType("slicer.parameterNodeWrapper")
        wrapper.parameterNodeWrapper = parameter_node.parameterNodeWrapper
        sampleData = types.ModuleType("SampleData")
        sampleData.SampleDataLogic = SampleDataLogic
        sys.modules["SampleData"] = sampleData
        scriptedModule = scripted.makeModule()
        for module in (i18n, wrapper, scriptedModule):
            sys.modules[module.__name__] = module
            setattr(slicer, module.__name__.split(".")[1], module)
