"""ConFUDASegment: adapts a network to one cardiac MR volume and segments it. Thin: the work is in ConFUDASegmentLib."""

import logging
import os
import time
from typing import Any, Callable, Dict, List, Optional

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

MODULE_FOLDER = os.path.dirname(os.path.abspath(__file__))
RESOURCES_FOLDER = os.path.join(MODULE_FOLDER, "Resources")
SAMPLE = os.path.join(RESOURCES_FOLDER, "SampleData", "SimulatedLGE.nrrd")
DOCUMENTS = "https://github.com/ConFUDA/SlicerConFUDA/blob/main/docs"


class ConFUDASegment(ScriptedLoadableModule):
    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "ConFUDASegment"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Cardiac")]
        parent.dependencies = []
        parent.contributors = ["ConFUDA developers"]
        parent.helpText = _(
            "Segments the myocardium and the left and right ventricle in short-axis cardiac MR, for example with late "
            "gadolinium enhancement. The network was trained on another kind of images; where it is in doubt of your "
            "volume it adapts itself to it, without labels: choose a volume and press <b>Adapt &amp; Segment</b>. "
            "Everything runs on this computer; no image leaves it.<br><br>Check the first and the last slices: "
            "outlines may go on where the heart has ended. Read on: <a href='{page}/tutorial.md'>tutorial</a>, "
            "<a href='{page}/slicer.md'>panel and Python console</a>, <a href='{page}/limits.md'>where it fails</a>."
            "<br><br><b>Not a medical device.</b> "
            "Research software: do not use it for diagnosis or treatment, and let a trained person check each "
            "segmentation. The bundled network is for non-commercial use (CC BY-NC-SA 4.0), as the data are that it "
            "was trained on; the program itself is under Apache-2.0."
        ).format(page=DOCUMENTS)
        parent.acknowledgementText = _(
            "Implements the method of M. Gu, S. Vesal, M. Thies, Z. Pan, F. Wagner, M. Rusu, A. Maier, R. Kosti: "
            "ConFUDA: Contrastive Fewshot Unsupervised Domain Adaptation for Medical Image Segmentation, "
            "arXiv:2206.03888, 2022. The bundled network derives from the data sets ACDC (O. Bernard et al., IEEE "
            "Transactions on Medical Imaging 37, 2018) and M&amp;Ms (V. M. Campello et al., IEEE Transactions on "
            "Medical Imaging 40, 2021), the sample volume from ACDC; both are under CC BY-NC-SA 4.0. Please cite these "
            "works when you use it."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """What needs the other modules: our terminology (Slicer's own has no myocardium) and the sample volume."""
    from ConFUDASegmentLib.installing import loadTerminology, registerSampleData

    loadTerminology(RESOURCES_FOLDER)
    registerSampleData(RESOURCES_FOLDER)


class ConFUDASegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Optional[ConFUDASegmentLogic] = None
        self.panel: Any = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from ConFUDASegmentLib.installing import Dependencies
        from ConFUDASegmentLib.job import startTimer
        from ConFUDASegmentLib.machine import DeviceProbe, TimeEstimate
        from ConFUDASegmentLib.panel import Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ConFUDASegment.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ConFUDASegmentLogic()
        self.panel = Panel(
            ui=slicer.util.childWidgetVariables(uiWidget),
            logic=self.logic,
            probe=DeviceProbe(self.logic.makeProbeProcess, startTimer, time.monotonic),
            dependencies=Dependencies(),
            estimate=TimeEstimate(qt.QSettings()),
            ask=lambda question: slicer.util.confirmOkCancelDisplay(question, windowTitle="ConFUDA"),
            clipboard=lambda text: slicer.app.clipboard().setText(text),
        )
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneRenewed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneRenewed)
        self.useParameterNode()

    def cleanup(self) -> None:
        """Slicer quits, or the module is reloaded."""
        self.removeObservers()
        if self.logic is not None:
            self.logic.close()
        if self.panel is not None:
            self.panel.close()

    def enter(self) -> None:
        self.useParameterNode()
        self.panel.findDevices()

    def onReload(self) -> None:
        """Slicer reloads this file only; our packages go too, so that all code is new."""
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] in ("ConFUDASegmentLib", "confuda")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        self.panel.setParameterNode(None)

    def onSceneRenewed(self, _caller: Any, _event: Any) -> None:
        self.useParameterNode()

    def useParameterNode(self) -> None:
        from ConFUDASegmentLib.volumes import offeredVolumes

        parameters = self.logic.getParameterNode()
        if parameters.inputVolume is None:
            parameters.inputVolume = next(iter(offeredVolumes()), None)
        self.panel.setParameterNode(parameters)


class ConFUDASegmentLogic(ScriptedLoadableModuleLogic):
    """Console API: `adaptAndSegment` waits for the result, `start` gives a job to watch, cancel or wait for."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from ConFUDASegmentLib.worker import Signal

        self.jobStarted = Signal()
        self.job: Any = None
        slicer.app.connect("aboutToQuit()", self.close)

    def getParameterNode(self) -> Any:
        from ConFUDASegmentLib.parameters import ConFUDASegmentParameterNode

        return ConFUDASegmentParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def adaptAndSegment(self, volumeNode: Any, outputNode: Any = None, **options: Any) -> Any:
        """Segments a volume and returns the segmentation node. Options as in `start`. The window stays alive."""
        return self.start(volumeNode, outputNode, **options).wait()

    def start(
        self,
        volumeNode: Any,
        outputNode: Any = None,
        onProgress: Optional[Callable[[Any], None]] = None,
        **options: Any,
    ) -> Any:
        """Starts a run and returns its job at once: `job.cancel()`, `job.wait()`, `job.state`, `job.progress`.

        options: mode, slice, method, preset, bundle, device, seed, center, settings as `confuda.app.job.Job` declares
        them (docs/slicer.md lists them), preview, and uncertainty: `job.uncertaintyNode` is then a volume that tells
        where the network doubts (0 to 1); it is not shown by itself. onProgress: called with a Progress, which prints
        as one line. Raises ConFUDAError (a RuntimeError) with one sentence if the input can't be used.
        """
        from ConFUDASegmentLib.installing import Dependencies
        from ConFUDASegmentLib.parameters import SegmentationRequest

        Dependencies().check()
        return self.startRequest(volumeNode, outputNode, SegmentationRequest(**options), onProgress)

    def startRequest(
        self, volumeNode: Any, outputNode: Any, request: Any, onProgress: Optional[Callable[[Any], None]] = None
    ) -> Any:
        """One job at a time."""
        from ConFUDASegmentLib.errors import InvalidInputError
        from ConFUDASegmentLib.job import SegmentationJob
        from ConFUDASegmentLib.scene_in import checkOutput, checkVolume

        if self.job is not None and self.job.isRunning:
            raise InvalidInputError(_("A segmentation is running already: cancel it or wait for its end."))
        checkVolume(volumeNode)
        outputNode = None if request.isCine else outputNode  # several frames always make a new one
        checkOutput(outputNode)
        job = SegmentationJob(self.makeTools(), volumeNode, outputNode, request)
        if onProgress is not None:
            job.progressed.connect(onProgress)
        job.start()
        self.job = job
        self.jobStarted.emit(job)
        return job

    def close(self) -> None:
        """Ends a running job and removes its files."""
        if self.job is not None:
            self.job.abandon(_("Slicer or the module was closed, so the segmentation was cancelled."))

    def makeTools(self) -> Any:
        """What jobs work with; tests replace single parts."""
        from ConFUDASegmentLib.job import JobTools, startTimer
        from ConFUDASegmentLib.machine import Workspace

        return JobTools(
            scene=slicer.mrmlScene,
            makeWorkspace=lambda: Workspace(slicer.app.temporaryPath),
            makeProcess=lambda job: self.makeProcess("confuda.app.worker", job),
            makeTimer=startTimer,
            processEvents=slicer.app.processEvents,
        )

    def makeProbeProcess(self) -> Any:
        return self.makeProcess("confuda.app.probe", None)

    @staticmethod
    def makeProcess(module: str, firstLine: Optional[Dict[str, Any]]) -> Any:
        """`python -m module`, with this module's folder on its path."""
        from ConFUDASegmentLib.machine import findInterpreter, workerEnvironment
        from ConFUDASegmentLib.worker import WorkerProcess

        return WorkerProcess([findInterpreter(), "-m", module], workerEnvironment(MODULE_FOLDER), firstLine)


class ConFUDASegmentTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer; the project's host without desktop runs the same cases."""

    def runTest(self) -> None:
        self.runCases(ConFUDASegmentLogic())

    def runCases(self, logic: ConFUDASegmentLogic) -> List[str]:
        """Runs the cases and returns their names. Two need PyTorch and the bundle, which a build machine lacks."""
        from ConFUDASegmentLib.installing import Dependencies

        cases: List[Callable[[Any], None]] = [self.checkBadInput, self.checkSegments]
        bundle = os.path.join(RESOURCES_FOLDER, "Models", "confuda-acdc", "bundle.json")
        if not Dependencies().missing() and os.path.isfile(bundle):
            cases += [self.checkRun, self.checkCancel]
        else:
            logging.warning("ConFUDASegmentTest: PyTorch or the bundle is missing, so no true run was tested")
        for case in cases:
            slicer.mrmlScene.Clear(0)
            case(logic)
            logging.info(f"ConFUDASegmentTest: {case.__name__} passed")
        slicer.mrmlScene.Clear(0)
        return [case.__name__ for case in cases]

    def checkBadInput(self, logic: ConFUDASegmentLogic) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        before = slicer.mrmlScene.GetNumberOfNodes()
        for volume in (None, empty):
            with self.assertRaises(RuntimeError) as caught:
                logic.start(volume)
            self.assertTrue(str(caught.exception), "an error without a message")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before, "the scene was changed by a refused volume")

    def checkSegments(self, _logic: ConFUDASegmentLogic) -> None:
        import numpy as np

        from confuda.labels import STRUCTURES
        from ConFUDASegmentLib.scene_in import geometryOf
        from ConFUDASegmentLib.scene_out import SegmentationWriter

        labels = np.zeros((4, 20, 24), np.uint8)
        labels[1:3, 5:15, 5:15] = 1
        labels[1:3, 8:12, 8:12] = 2
        labels[1:3, 5:10, 16:20] = 3
        matrix = vtk.vtkMatrix4x4()
        for index, value in enumerate((0, -1.5, 0, 10, 1.4, 0, 0, 20, 0, 0, 8, -30)):
            matrix.SetElement(index // 4, index % 4, value)
        volume = slicer.util.addVolumeFromArray(labels, matrix, "Selftest")
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        volume.SetAndObserveTransformNodeID(transform.GetID())
        node = SegmentationWriter(slicer.mrmlScene).write(volume.GetImageData(), geometryOf(volume), volume)
        self.checkSegmentation(node, volume)
        for structure in STRUCTURES:
            found = slicer.util.arrayFromSegmentBinaryLabelmap(node, structure.name, volume)
            self.assertTrue(np.array_equal(found > 0, labels == structure.label), f"{structure.name} is misplaced")

    def checkRun(self, logic: ConFUDASegmentLogic, sample: str = SAMPLE) -> None:
        volume = slicer.util.loadVolume(sample)
        lines: List[str] = []
        node = logic.adaptAndSegment(volume, preset="fast", onProgress=lambda progress: lines.append(str(progress)))
        self.checkSegmentation(node, volume)
        self.assertTrue(lines, "no progress was told")
        self.assertEqual(logic.job.tableNode.GetNumberOfRows(), 3, "the table of volumes is incomplete")
        volumes = logic.job.summary["volumes_ml"]
        self.assertTrue(all(volumes[name] > 1 for name in ("MYO", "LV", "RV")), f"implausible volumes {volumes}")

    def checkCancel(self, logic: ConFUDASegmentLogic, sample: str = SAMPLE) -> None:
        from ConFUDASegmentLib.errors import JobCancelledError

        volume = slicer.util.loadVolume(sample)
        before = slicer.mrmlScene.GetNumberOfNodes()
        job = logic.start(volume)
        job.cancel()
        with self.assertRaises(JobCancelledError):
            job.wait(10.0)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before, "the scene was changed by a cancelled run")

    def checkSegmentation(self, node: Any, volume: Any) -> None:
        from confuda.labels import STRUCTURES

        self.assertEqual(
            node.GetTransformNodeID(), volume.GetTransformNodeID(), "the volume's transform is not followed"
        )
        for structure in STRUCTURES:
            segment = node.GetSegmentation().GetSegment(structure.name)
            self.assertIsNotNone(segment, f"{structure.name} is missing")
            self.assertEqual(segment.GetName(), structure.display_name)
            tag = vtk.reference("")
            self.assertTrue(
                segment.GetTag(segment.GetTerminologyEntryTagName(), tag), f"{structure.name}: no terminology"
            )
            self.assertIn(structure.code, str(tag), f"{structure.name} has a wrong terminology")
