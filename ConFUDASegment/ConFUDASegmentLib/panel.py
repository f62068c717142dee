"""The panel: shows the parameters, starts and cancels the job, shows its progress and result."""

import os
from typing import Any, Callable, Optional

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from . import errors, views
from .controls import Bindings, bindControls, fillChoices
from .devices import DeviceProbe, TimeEstimate, duration
from .errors import ConFUDAError, InvalidInputError, JobCancelledError
from .installing import Dependencies
from .job import CANCELLING, FINISHED, SegmentationJob
from .request import METHODS, MODES, PRESETS, SegmentationRequest
from .scene_in import checkVolume, sliceAtView
from .scene_out import show3D, uncertaintyOf, volumeOf
from .views import Overlay
from .worker import Progress

INFO, SUCCESS, WARNING, ERROR = "info", "success", "warning", "error"
_COLORS = {
    INFO: ("#e3eefc", "#1f5fb0"),
    SUCCESS: ("#e3f5e6", "#2b7a3b"),
    WARNING: ("#fdf3d8", "#a87400"),
    ERROR: ("#fde4e1", "#b3261e"),
}
# Where each stage begins and ends on the bar: most of the time goes into adapting.
_STAGES = {"load": (0, 3), "find": (3, 6), "adapt": (6, 85), "predict": (85, 97), "write": (97, 100)}


class Panel:
    """`ui` holds the widgets by name; `logic` starts jobs; `ask` puts one question to the user and returns a bool."""

    def __init__(
        self,
        ui: Any,
        logic: Any,
        probe: DeviceProbe,
        dependencies: Dependencies,
        estimate: TimeEstimate,
        ask: Callable[[str], bool],
        clipboard: Callable[[str], None],
    ) -> None:
        self.ui = ui
        self._logic = logic
        self._probe = probe
        self._dependencies = dependencies
        self._estimate = estimate
        self._ask = ask
        self._clipboard = clipboard
        self._parameters: Optional[Any] = None
        self._observation: Optional[int] = None
        self._job: Optional[SegmentationJob] = None
        self._overlay = Overlay()
        self._clock = qt.QTimer()
        self._clock.timeout.connect(self._showTime)
        fillChoices(ui)
        self._fillDevices()
        self._bindings = Bindings(bindControls(ui), self._refresh)
        ui.applyButton.clicked.connect(self._onApply)
        ui.currentSliceButton.clicked.connect(self._onCurrentSlice)
        ui.show3DButton.clicked.connect(self._onShow3D)
        ui.copyButton.clicked.connect(self._onCopy)
        # Clicked, not toggled: a scene that is loaded brings its own views and must not have them changed.
        ui.uncertaintyCheck.clicked.connect(self._onShowUncertainty)
        probe.found.connect(self._onDevices)
        logic.jobStarted.connect(self._onJobStarted)
        self._showStatus(INFO, "")
        self._refresh()

    def setParameterNode(self, parameters: Optional[Any]) -> None:
        """Shows these parameters; None while a scene closes."""
        if self._parameters is not None and self._observation is not None:
            self._parameters.RemoveObserver(self._observation)
        self._observation = None
        if parameters is None:
            self._overlay.forget()
        self._parameters = parameters
        self._bindings.use(parameters)
        if parameters is not None:
            self._observation = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onParameters)
        self._onParameters()

    def findDevices(self) -> None:
        """Once, and only where PyTorch is there to be asked."""
        if not self._probe.devices and not self._dependencies.missing():
            self._probe.start()
            self._refresh()

    def close(self) -> None:
        """The module is unloaded or Slicer quits."""
        self._clock.stop()
        self._probe.stop()
        self._probe.found.disconnect(self._onDevices)
        self._logic.jobStarted.disconnect(self._onJobStarted)
        self.setParameterNode(None)

    # Controls to request

    def request(self) -> SegmentationRequest:
        """What the controls ask for."""
        chosen = self._parameters
        settings = {}
        for name, value, fromPreset in (
            ("lambda_contrast", chosen.lambdaContrast, chosen.lambdaContrast < 0),
            ("lambda_norm", chosen.lambdaNorm, chosen.lambdaNorm < 0),
            ("partitions", chosen.partitions, chosen.partitions == 0),
            ("temperature", chosen.temperature, chosen.temperature == 0),
        ):
            if not fromPreset:
                settings[name] = value
        return SegmentationRequest(
            mode=chosen.mode,
            slice=None if chosen.automaticSlice or chosen.mode != "one-shot" else chosen.sliceIndex,
            method=chosen.method,
            preset=chosen.preset,
            device=chosen.device,
            seed=chosen.seed,
            bundle=chosen.bundleFolder or None,
            settings=settings,
            preview=chosen.livePreview,
            uncertainty=chosen.showUncertainty,
        )

    # What the user does

    def _onApply(self, *_arguments: Any) -> None:
        if self._job is not None:
            self._job.cancel()
            self._refresh()
            return
        try:
            self._provideDependencies()
            self._logic.startRequest(self._parameters.inputVolume, self._parameters.outputSegmentation, self.request())
        except ConFUDAError as error:
            self._showFailure(error)
            self._refresh()

    def _provideDependencies(self) -> None:
        missing = self._dependencies.missing()
        if not missing:
            return
        if not self._ask(self._dependencies.question(missing)):
            self._dependencies.check()
        self._dependencies.install(missing)
        self.findDevices()

    def _onCurrentSlice(self, *_arguments: Any) -> None:
        sliceNode = views.redSliceNode()
        if sliceNode is None or self._parameters is None or self._parameters.inputVolume is None:
            return
        self._parameters.sliceIndex = sliceAtView(self._parameters.inputVolume, sliceNode)
        self._parameters.automaticSlice = False

    def _onShow3D(self, *_arguments: Any) -> None:
        node = self._parameters.resultSegmentation if self._parameters is not None else None
        if node is not None:
            show3D(node, bool(self.ui.show3DButton.checked))
            views.centerThreeD()

    def _onShowUncertainty(self, *_arguments: Any) -> None:
        if self._parameters is not None:
            self._layUncertainty()

    def _layUncertainty(self) -> None:
        """Over the volume of the last result, if the user wants it and that run made a map."""
        segmentation = self._parameters.resultSegmentation
        node = uncertaintyOf(segmentation) if self._parameters.showUncertainty else None
        if node is None:
            self._overlay.hide(slicer.mrmlScene)
        else:
            self._overlay.show(slicer.mrmlScene, node, volumeOf(segmentation))

    def _onCopy(self, *_arguments: Any) -> None:
        self._clipboard(self.ui.detailsText.plainText)

    # What the job does

    def _onJobStarted(self, job: SegmentationJob) -> None:
        self._job = job
        job.progressed.connect(self._onProgress)
        job.warned.connect(self._onWarning)
        job.ended.connect(self._onJobEnded)
        self.ui.progressBar.value = 0
        self.ui.stageLabel.text = _("Starting")
        self.ui.detailsText.plainText = ""
        self._showStatus(INFO, "")
        for warning in job.warnings:
            self._onWarning(warning)
        self._clock.start(500)
        self._showTime()
        self._refresh()

    def _onProgress(self, progress: Progress) -> None:
        begin, end = _STAGES.get(progress.stage, (0, 0))
        percent = int(begin + (end - begin) * progress.fraction)
        self.ui.progressBar.value = max(percent, self.ui.progressBar.value)
        text = _("{stage}: step {step} of {total}").format(
            stage=_stageName(progress.stage), step=progress.step, total=progress.total
        )
        losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        self.ui.stageLabel.text = f"{text}\n{losses}" if losses else text

    def _onWarning(self, message: str) -> None:
        self._showStatus(WARNING, message)

    def _onJobEnded(self, job: SegmentationJob) -> None:
        self._job = None
        self._clock.stop()
        self.ui.detailsText.plainText = job.report()
        if job.state == FINISHED:
            self._showResult(job)
        else:
            self._showFailure(job.error, keepDetails=True)
        self._refresh()

    def _showResult(self, job: SegmentationJob) -> None:
        self._estimate.learn(job.request, job.sliceCount, job.device, job.summary.get("seconds") or {})
        if self._parameters is not None:
            self._parameters.resultSegmentation = job.segmentationNode
            self._parameters.resultTable = job.tableNode
            self._layUncertainty()
        done = _("Done in {time}.").format(time=duration(job.elapsedSeconds))
        self._showStatus(WARNING if job.warnings else SUCCESS, "\n".join([done, *job.warnings]))
        views.centerThreeD()

    def _showFailure(self, error: ConFUDAError, keepDetails: bool = False) -> None:
        self._showStatus(INFO if isinstance(error, JobCancelledError) else ERROR, error.message)
        if not keepDetails:
            text = [error.message] + ([error.details] if error.details else [])
            self.ui.detailsText.plainText = errors.report({}, type(error).__name__, text)
        if not isinstance(error, (JobCancelledError, InvalidInputError)):
            self.ui.detailsButton.collapsed = False

    # Parameters and devices to controls

    def _onParameters(self, *_arguments: Any) -> None:
        self._replaceUnknownChoices()
        self._setSliceRange()
        self._bindings.toControls()
        self._refresh()

    def _replaceUnknownChoices(self) -> None:
        """A scene saved by another version may hold values that this one does not have: they take the default."""
        if self._parameters is None:
            return
        for name, known in (("mode", MODES), ("preset", PRESETS), ("method", METHODS)):
            if getattr(self._parameters, name) not in known:
                setattr(self._parameters, name, getattr(SegmentationRequest(), name))

    def _setSliceRange(self) -> None:
        volume = self._parameters.inputVolume if self._parameters is not None else None
        if volume is None or volume.GetImageData() is None:
            return
        count = max(self._sliceCount(), 1)
        self._bindings.use(None)  # a narrower range moves the slider, which must not rewrite the parameter by itself
        self.ui.sliceSlider.maximum = count
        self._bindings.use(self._parameters)
        if self._parameters.sliceIndex >= count:
            self._parameters.sliceIndex = count // 2

    def _sliceCount(self) -> int:
        try:
            return checkVolume(self._parameters.inputVolume).sliceCount
        except InvalidInputError:
            return 0

    def _onDevices(self) -> None:
        self._fillDevices()
        self._bindings.toControls()
        self._refresh()

    def _fillDevices(self) -> None:
        choices = [("auto", _("Automatic")), ("cpu", _("CPU ({count} cores)").format(count=os.cpu_count() or 1))]
        choices += [(gpu.id, gpu.name) for gpu in self._probe.devices if gpu.usable and gpu.id != "cpu"]
        combo = self.ui.deviceCombo
        wasBlocked = combo.blockSignals(True)
        combo.clear()
        for value, text in choices:
            combo.addItem(text, value)
        combo.blockSignals(wasBlocked)

    # How things look

    def _refresh(self) -> None:
        """Everything that follows from the parameters and from whether a job runs."""
        ui, job, chosen = self.ui, self._job, self._parameters
        running = job is not None
        ready = chosen is not None and chosen.inputVolume is not None
        for part in (ui.inputsButton, ui.advancedButton):
            part.enabled = chosen is not None and not running
        ui.progressPanel.visible = running
        if running and job.state == CANCELLING:
            self._setApply(_("Cancelling…"), False, _("The run is being stopped."))
        elif running:
            self._setApply(_("&Cancel"), True, _("Stop the run. The scene stays as it was."))
        elif ready:
            self._setApply(_("&Adapt && Segment"), True, _("Adapt the network to this volume and segment it."))
        else:
            self._setApply(_("&Adapt && Segment"), False, _("Choose a volume first."))
        oneShot = chosen is not None and chosen.mode == "one-shot"
        for part in (ui.automaticSliceCheck, ui.sliceLabel, ui.sliceSlider, ui.currentSliceButton):
            part.visible = oneShot
        for part in (ui.sliceLabel, ui.sliceSlider):
            part.enabled = ready and not chosen.automaticSlice
        ui.currentSliceButton.enabled = ready
        ui.deviceNote.text = self._probe.note
        ui.deviceNote.visible = bool(self._probe.note)
        ui.estimateLabel.text = self._estimateText() if ready else _("Choose a volume first.")
        self._showResultNodes()

    def _setApply(self, text: str, enabled: bool, toolTip: str) -> None:
        self.ui.applyButton.text = text
        self.ui.applyButton.enabled = enabled
        self.ui.applyButton.toolTip = toolTip

    def _estimateText(self) -> str:
        device = self._probe.device(self._parameters.device)
        if device is None and self._probe.isRunning:
            return _("Looking at this computer…")
        return self._estimate.describe(self.request(), self._sliceCount(), device.secondsPerStep if device else None)

    def _showResultNodes(self) -> None:
        segmentation = self._parameters.resultSegmentation if self._parameters is not None else None
        table = self._parameters.resultTable if self._parameters is not None else None
        self.ui.resultsTable.setMRMLTableNode(table)
        self.ui.resultsTable.visible = table is not None
        self.ui.resultsButton.visible = segmentation is not None or table is not None
        self.ui.show3DButton.enabled = segmentation is not None
        display = segmentation.GetDisplayNode() if segmentation is not None else None
        self.ui.show3DButton.checked = display is not None and bool(display.GetVisibility3D())

    def _showStatus(self, level: str, text: str) -> None:
        background, edge = _COLORS[level]
        self.ui.statusLabel.text = text
        self.ui.statusLabel.styleSheet = (
            f"background: {background}; color: #202020; border-left: 4px solid {edge}; padding: 6px;"
        )
        self.ui.statusLabel.visible = bool(text)

    def _showTime(self) -> None:
        if self._job is None:
            return
        text = _("{time} so far").format(time=_clockTime(self._job.elapsedSeconds))
        progress = self._job.progress
        if progress is not None and progress.etaSeconds is not None:
            text += ", " + _("about {time} left").format(time=duration(progress.etaSeconds))
        self.ui.timeLabel.text = text


def _stageName(stage: str) -> str:
    names = {
        "load": _("Loading"),
        "find": _("Finding the heart"),
        "adapt": _("Adapting"),
        "predict": _("Segmenting"),
        "write": _("Writing the result"),
    }
    return names.get(stage, stage)


def _clockTime(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
