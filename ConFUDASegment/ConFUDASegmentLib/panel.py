"""The panel: shows the parameters, starts and cancels the jobs, shows their progress and result."""

from typing import Any, Callable, List, Optional

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from . import controls, errors, views
from .controls import ERROR, INFO, SUCCESS, WARNING
from .errors import ConFUDAError, InvalidInputError, JobCancelledError
from .installing import Dependencies
from .job import CANCELLING, FINISHED, SegmentationJob
from .machine import DeviceProbe, TimeEstimate, duration
from .parameters import SegmentationRequest, replaceUnknownChoices, requestOf
from .scene_in import browserOf, checkVolume, frameCount, sliceAtView
from .scene_out import uncertaintyOf, volumeOf
from .views import Overlay, ResultDisplay
from .volumes import Batch, JoinSuggestion, VolumeList


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
        self._batch: Optional[Batch] = None
        self._overlay = Overlay()
        self._setUpNote = ""
        self._status = controls.StatusLine(ui.statusLabel)
        self._run = controls.RunDisplay(ui)
        self._folding = controls.Folding(ui)
        self._result = ResultDisplay(ui)
        self._several = VolumeList(ui.severalButton, ui.severalList)
        self._several.changed.connect(self._refresh)
        self._joining = JoinSuggestion(ui, self._onJoined)
        self._clock = qt.QTimer()
        self._clock.timeout.connect(self._showTime)
        controls.fillChoices(ui)
        controls.fillDevices(ui.deviceCombo, [])
        self._bindings = controls.Bindings(controls.bindControls(ui), self._refresh)
        ui.severalList.visible = False
        ui.severalButton.clicked.connect(self._onSeveral)
        ui.inputsButton.contentsCollapsed.connect(self._refresh)
        ui.applyButton.clicked.connect(self._onApply)
        ui.currentSliceButton.clicked.connect(self._onCurrentSlice)
        ui.copyButton.clicked.connect(self._onCopy)
        # Clicked, not toggled: a scene that is loaded brings its own views and must not have them changed.
        ui.uncertaintyCheck.clicked.connect(self._onShowUncertainty)
        probe.found.connect(self._onDevices)
        logic.jobStarted.connect(self._onJobStarted)
        self._refresh()

    def setParameterNode(self, parameters: Optional[Any]) -> None:
        """Shows these parameters; None while a scene closes."""
        if self._parameters is not None and self._observation is not None:
            self._parameters.RemoveObserver(self._observation)
        self._observation = None
        if parameters is None:
            self._overlay.forget()
            self._several.close()
        self._parameters = parameters
        self._bindings.use(parameters)
        if parameters is not None:
            self._observation = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onParameters)
        self._onParameters()

    def findDevices(self) -> None:
        """Once, and only where PyTorch is there to be asked."""
        if not self._probe.devices and not self._dependencies.missing():
            self._probe.start()
        self._setUpNote = self._dependencies.note()
        self._joining.look()
        self._refresh()

    def close(self) -> None:
        """The module is unloaded or Slicer quits."""
        self._clock.stop()
        self._probe.stop()
        self._probe.found.disconnect(self._onDevices)
        self._logic.jobStarted.disconnect(self._onJobStarted)
        self._joining.close()
        self.setParameterNode(None)

    # Controls to request

    def request(self) -> SegmentationRequest:
        """What the controls ask for."""
        return requestOf(self._parameters, self._several.isOpen)

    def volumes(self) -> List[Any]:
        """What one press segments: the ticked volumes, else the chosen one."""
        if self._several.isOpen:
            return self._several.chosen()
        volume = self._parameters.inputVolume if self._parameters is not None else None
        return [volume] if volume is not None else []

    # What the user does

    def _onApply(self, *_arguments: Any) -> None:
        if self._job is not None:
            self._job.cancel()
            self._refresh()
            return
        volumes = self.volumes()
        try:
            self._provideDependencies()
            request = self.request()
            if len(volumes) > 1:
                self._batch = Batch(volumes, lambda node: self._logic.startRequest(node, None, request))
                if not self._batch.startNext():
                    self._endBatch()
            else:
                chosen = volumes[0] if volumes else None
                self._logic.startRequest(chosen, self._parameters.outputSegmentation, request)
        except ConFUDAError as error:
            self._showFailure(error)
            self._refresh()

    def _provideDependencies(self) -> None:
        self._dependencies.checkVersions()
        missing = self._dependencies.missing()
        if not missing:
            return
        if not self._ask(self._dependencies.question(missing)):
            self._dependencies.check()
        self._dependencies.install(missing)
        self.findDevices()

    def _onSeveral(self, *_arguments: Any) -> None:
        if self._several.isOpen and self._parameters is not None:
            self._several.tick(self._parameters.inputVolume)
        self._refresh()

    def _onJoined(self, volumeNode: Any) -> None:
        if self._parameters is not None:
            self._several.close()
            self._parameters.inputVolume = volumeNode
            views.showVolume(volumeNode)

    def _onCurrentSlice(self, *_arguments: Any) -> None:
        sliceNode = views.redSliceNode()
        if sliceNode is None or self._parameters is None or self._parameters.inputVolume is None:
            return
        self._parameters.sliceIndex = sliceAtView(self._parameters.inputVolume, sliceNode)
        self._parameters.automaticSlice = False

    def _onShowUncertainty(self, *_arguments: Any) -> None:
        if self._parameters is not None:
            self._layUncertainty()

    def _layUncertainty(self) -> None:
        """Over the volume of the last result, if the user wants it and that run made a map."""
        segmentation = self._parameters.resultSegmentation
        node = uncertaintyOf(segmentation)
        if node is None or not self._parameters.showUncertainty:
            self._overlay.hide(slicer.mrmlScene, node)
        else:
            self._overlay.show(slicer.mrmlScene, node, volumeOf(segmentation))

    def _onCopy(self, *_arguments: Any) -> None:
        self._clipboard(self.ui.detailsText.plainText)

    # What the job does

    def _onJobStarted(self, job: SegmentationJob) -> None:
        self._job = job
        job.progressed.connect(self._run.advance)
        job.warned.connect(self._onWarning)
        job.ended.connect(self._onJobEnded)
        self._run.begin(self._placeInBatch())
        self._folding.fold()
        self.ui.detailsText.plainText = ""
        self._status.show(INFO, "")
        for warning in job.warnings:
            self._onWarning(warning)
        self._clock.start(500)
        self._showTime()
        self._refresh()

    def _placeInBatch(self) -> str:
        if self._batch is None:
            return ""
        return _("Volume {place} of {total}").format(place=self._batch.place, total=self._batch.total)

    def _onWarning(self, message: str) -> None:
        self._status.show(WARNING, message)

    def _onJobEnded(self, job: SegmentationJob) -> None:
        self._job = None
        self._clock.stop()
        self.ui.detailsText.plainText = job.report()
        if job.state == FINISHED:
            self._showResult(job)
        if self._batch is not None:
            self._batch.take(job)
            if not self._batch.startNext():
                self._endBatch()
            return
        self._folding.end(job.state == FINISHED)
        if job.state != FINISHED:
            self._showFailure(job.error, keepDetails=True)
        self._refresh()

    def _endBatch(self) -> None:
        batch, self._batch = self._batch, None
        self._folding.end(batch.isComplete)
        self._status.show(SUCCESS if batch.isComplete else WARNING, batch.report())
        self._refresh()

    def _showResult(self, job: SegmentationJob) -> None:
        if job.summary.get("steps") or job.request.method == "none":
            # A run that found no need to adapt says nothing of one that will.
            slices = job.sliceCount * job.frameCount
            self._estimate.learn(job.request, slices, job.device, job.summary.get("seconds") or {})
        if self._parameters is not None:
            self._parameters.resultSegmentation = job.segmentationNode
            self._parameters.resultTable = job.tableNode
            self._layUncertainty()
        done = _("Done in {time}.").format(time=duration(job.elapsedSeconds))
        adaptation = job.summary.get("adaptation") or {}
        told = [str(adaptation["text"])] if "text" in adaptation else []
        self._status.show(WARNING if job.warnings else SUCCESS, "\n".join([done, *told, *job.warnings]))
        views.showHeart(job.segmentationNode, volumeOf(job.segmentationNode))

    def _showFailure(self, error: ConFUDAError, keepDetails: bool = False) -> None:
        self._status.show(INFO if isinstance(error, JobCancelledError) else ERROR, error.message)
        self._status.reveal()
        if not keepDetails:
            text = [error.message] + ([error.details] if error.details else [])
            self.ui.detailsText.plainText = errors.report({}, type(error).__name__, text)
        if not isinstance(error, (JobCancelledError, InvalidInputError)):
            self.ui.detailsButton.collapsed = False

    def _showTime(self) -> None:
        if self._job is not None:
            self._run.tick(self._job.elapsedSeconds, self._job.progress)

    # Parameters and devices to controls

    def _onParameters(self, *_arguments: Any) -> None:
        if self._parameters is not None:
            replaceUnknownChoices(self._parameters, [gpu.id for gpu in self._probe.devices if gpu.usable])
        self._setSliceRange()
        self._bindings.toControls()
        self._refresh()

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
        controls.fillDevices(self.ui.deviceCombo, self._probe.devices)
        self._onParameters()

    # How things look

    def _refresh(self, *_arguments: Any) -> None:
        """Everything that follows from the parameters and from whether a job runs."""
        ui, job, chosen = self.ui, self._job, self._parameters
        running, count = job is not None, len(self.volumes())
        ready = chosen is not None and count > 0
        for part in (ui.inputsButton, ui.advancedButton):
            part.enabled = chosen is not None and not running
        volume = chosen.inputVolume if chosen is not None else None
        ui.inputsButton.text = controls.inputsHeader(volume, count, bool(ui.inputsButton.collapsed))
        ui.progressPanel.visible = running
        if running and job.state == CANCELLING:
            self._setApply(_("Cancelling…"), False, _("The run is being stopped."))
        elif running:
            self._setApply(_("&Cancel"), True, _("Stop the run. The scene stays as it was."))
        elif ready:
            self._setApply(_("&Adapt && Segment"), True, _("Adapt the network to this volume and segment it."))
        else:
            self._setApply(_("&Adapt && Segment"), False, _("Choose a volume first."))
        # Of several volumes each gets a new segmentation, and the slice is chosen in each.
        several = self._several.isOpen
        ui.inputSelector.enabled = not several
        isSequence = chosen is not None and browserOf(volume) is not None and not several
        for part in (ui.framesLabel, ui.framesCombo):
            part.visible = isSequence
        isCine = isSequence and self.request().isCine
        ui.scarCombo.enabled = not isCine
        ui.outputSelector.enabled = count < 2 and not isCine
        oneShot = chosen is not None and chosen.mode == "one-shot"
        for part in (ui.automaticSliceCheck, ui.sliceLabel, ui.sliceSlider, ui.currentSliceButton):
            part.visible = oneShot
        for part in (ui.sliceLabel, ui.sliceSlider):
            part.enabled = ready and not chosen.automaticSlice and not several
        ui.currentSliceButton.enabled = ready and not several
        ui.deviceNote.text = self._setUpNote or self._probe.note
        ui.deviceNote.visible = bool(ui.deviceNote.text)
        ui.estimateLabel.text = self._estimateText(count) if ready else _("Choose a volume first.")
        self._result.show(
            chosen.resultSegmentation if chosen is not None else None,
            chosen.resultTable if chosen is not None else None,
        )

    def _setApply(self, text: str, enabled: bool, toolTip: str) -> None:
        self.ui.applyButton.text = text
        self.ui.applyButton.enabled = enabled
        self.ui.applyButton.toolTip = toolTip

    def _estimateText(self, count: int) -> str:
        device = self._probe.device(self._parameters.device)
        if device is None and self._probe.isRunning:
            return _("Looking at this computer…")
        request = self.request()
        slices = self._sliceCount() * (frameCount(self._parameters.inputVolume) if request.isCine else 1)
        text = self._estimate.describe(request, slices, device.secondsPerStep if device else None)
        return _("{time}, for each of {count} volumes").format(time=text, count=count) if count > 1 else text
