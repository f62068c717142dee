"""One run: volume out, worker process, progress, result in. Driven by a timer; nothing here waits on the GUI's thread
except `wait`, which keeps the window alive."""

import time
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional

import qt
import vtk
from slicer.i18n import tr as _

from confuda.measure.function import SCAR_OF_A_FRAME

from . import errors
from .errors import ConFUDAError, InvalidInputError, JobCancelledError, JobFailedError
from .machine import Workspace
from .parameters import SegmentationRequest
from .results import Result
from .scene_in import Geometry, exportCine, exportVolume, frameCount, sequenceNote
from .scene_out import Preview, SegmentationWriter, wouldMoveOthers
from .worker import Progress, Signal, WorkerProcess, parseProgress

POLL_MS = 50
CANCEL_GRACE_SECONDS = 1.5  # then the worker is killed, so that a cancel is over within two seconds
FINISH_GRACE_SECONDS = 10.0  # a worker that said "finished" but does not exit is killed after this

RUNNING, CANCELLING, FINISHED, FAILED, CANCELLED = "running", "cancelling", "finished", "failed", "cancelled"


@dataclass
class JobTools:
    """What a job works with; tests put their own in its place."""

    scene: Any
    makeWorkspace: Callable[[], Workspace]
    makeProcess: Callable[[Dict[str, Any]], WorkerProcess]
    makeTimer: Callable[[Callable[[], None]], Any]
    processEvents: Callable[[], None]
    clock: Callable[[], float] = time.monotonic


class SegmentationJob:
    """Start it with `start`. `ended` is emitted exactly once, when process and temporary files are gone."""

    def __init__(
        self, tools: JobTools, volumeNode: Any, outputNode: Optional[Any], request: SegmentationRequest
    ) -> None:
        self.progressed = Signal()  # (Progress)
        self.warned = Signal()  # (str)
        self.previewed = Signal()  # (node)
        self.ended = Signal()  # (SegmentationJob)
        self.request = request
        self.state = RUNNING
        self.device = ""
        self.progress: Optional[Progress] = None
        self.warnings: List[str] = []
        self.summary: Dict[str, Any] = {}
        self.error: Optional[ConFUDAError] = None
        self.segmentationNode: Optional[Any] = None
        self.tableNode: Optional[Any] = None
        self.uncertaintyNode: Optional[Any] = None
        self.volumeWasRemoved = False
        self.startedAt = tools.clock()
        self.sliceCount = 0
        self.frameCount = 1
        self._tools = tools
        self._volumeNode = volumeNode
        self._outputNode = outputNode
        self._secrets = [volumeNode.GetName() or "", str(request.bundle or "")]
        self._writer = SegmentationWriter(tools.scene)
        self._preview = Preview(tools.scene, self._writer)
        self._workspace: Optional[Workspace] = None
        self._process: Optional[WorkerProcess] = None
        self._timer: Optional[Any] = None
        self._geometry: Optional[Geometry] = None
        self._deadline: Optional[float] = None
        self._observations: List[int] = []
        self._finishedEvent: Optional[Dict[str, Any]] = None
        self._failedEvent: Optional[Dict[str, Any]] = None
        self._noise: List[str] = []

    @property
    def isRunning(self) -> bool:
        return self.state in (RUNNING, CANCELLING)

    @property
    def elapsedSeconds(self) -> float:
        return self._tools.clock() - self.startedAt

    @property
    def workerPid(self) -> Optional[int]:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Writes the volume and starts the worker. Raises ConFUDAError, leaving nothing behind."""
        try:
            self._workspace = self._tools.makeWorkspace()
            ending = ".seq.nrrd" if self.request.isCine else ".nrrd"
            volumePath = self._workspace.file("volume" + ending)
            export = exportCine if self.request.isCine else exportVolume
            self._geometry = export(self._volumeNode, volumePath)
            self.sliceCount = self._geometry.sliceCount
            self.frameCount = frameCount(self._volumeNode) if self.request.isCine else 1
            self.request.check(self.sliceCount)
            self._process = self._tools.makeProcess(
                self.request.toJob(
                    volumePath,
                    self._workspace.file("labels" + ending),
                    self._workspace.previewFolder,
                    self._workspace.file("uncertainty.nrrd"),
                )
            )
            self._process.start()
        except OSError as error:
            self._releaseAll()
            raise JobFailedError(
                _("The segmentation could not be started: the system refused it."), str(error)
            ) from error
        except Exception:
            self._releaseAll()
            raise
        self._observeScene()
        note = None if self.request.isCine else sequenceNote(self._volumeNode)
        if note is not None and self.request.scar:
            note = f"{note} {_(SCAR_OF_A_FRAME)}"
        if note:
            self._warn(note)
        self._timer = self._tools.makeTimer(self._poll)

    def cancel(self) -> None:
        """Returns at once; `ended` follows within two seconds."""
        if self.state == RUNNING:
            self.state = CANCELLING
            self._deadline = self._tools.clock() + CANCEL_GRACE_SECONDS
            self._process.requestCancel()

    def abandon(self, reason: str) -> None:
        """Ends everything now, without touching the scene further: Slicer quits, or the scene closes."""
        if self.isRunning:
            self._end(CANCELLED, JobCancelledError(reason))

    def wait(self, timeoutSeconds: Optional[float] = None) -> Any:
        """Waits with a live window for the segmentation node. Raises the job's error, or TimeoutError at the limit."""
        limit = None if timeoutSeconds is None else self._tools.clock() + timeoutSeconds
        while self.isRunning:
            if limit is not None and self._tools.clock() > limit:
                raise TimeoutError(_("The segmentation is still running."))
            self._tools.processEvents()
            self._poll()
            time.sleep(0.01)
        if self.error is not None:
            raise self.error
        return self.segmentationNode

    def report(self) -> str:
        """Details for a bug report."""
        outcome = f"{self.state} after {self.elapsedSeconds:.1f} s on {self.device or 'unknown device'}"
        notes = [str(self.progress)] if self.progress else []
        if self.error is not None:
            notes.append(str(self.error))
            if self.error.code is not None:
                notes.append(f"worker's code {self.error.code}")
            if self.error.details:
                notes.append(self.error.details)
        notes += [f"warning: {warning}" for warning in self.warnings]
        notes += [
            f"{name}: {self.summary[name]}"
            for name in ("steps", "seconds", "peak_memory_mb", "volumes_ml", "accepted")
            if name in self.summary
        ]
        noise = self._process.noise() if self._process else self._noise
        if noise:
            notes += ["output of the worker:", *noise]
        return errors.report(self.request.describe(), outcome, notes, self._secrets)

    def _poll(self) -> None:
        if not self.isRunning:
            return
        try:
            self._advance()
        except ConFUDAError as error:
            self._end(FAILED, error)
        except Exception as error:  # noqa: BLE001
            # A timer's slot has no caller that could catch it: the job must end, or it would run for ever.
            message = _("The segmentation failed for an unexpected reason: please report it with the details.")
            self._end(FAILED, JobFailedError(message, traceback.format_exc(limit=-4) or str(error)))

    def _advance(self) -> None:
        for event in self._process.takeEvents():
            self._handle(event)
            if not self.isRunning:  # a listener closed the scene, say
                return
        now = self._tools.clock()
        exitCode = self._process.exitCode()
        if self.state == CANCELLING:
            if exitCode is not None or self._process.hasEnded() or now > self._deadline:
                self._end(CANCELLED, JobCancelledError(_("Cancelled. Nothing was changed."), code=130))
        elif self._finishedEvent is not None:
            if exitCode is not None or now > self._deadline:
                self._importResult()
        elif exitCode is not None:
            self._fail(exitCode)

    def _handle(self, event: Dict[str, Any]) -> None:
        kind = event["event"]
        try:
            if kind == "started":
                self.device = str(event.get("device", ""))
            elif kind == "progress":
                self.progress = parseProgress(event)
                if self.state == RUNNING:
                    self.progressed.emit(self.progress)
            elif kind == "preview" and self.state == RUNNING:
                self._showPreview(str(event["path"]))
            elif kind == "warning":
                self._warn(str(event["message"]))
            elif kind == "finished":
                self._finishedEvent = {
                    "path": str(event["path"]),
                    "uncertainty": event.get("uncertainty"),
                    "summary": dict(event["summary"]),
                }
                self._deadline = self._deadline or self._tools.clock() + FINISH_GRACE_SECONDS
            elif kind == "failed":
                self._failedEvent = event
        except (KeyError, TypeError, ValueError):
            self._noise.append(f"an event of the worker could not be understood: {kind}")

    def _showPreview(self, path: str) -> None:
        try:
            self._preview.show(path, self._geometry, self._volumeNode)
        except JobFailedError:
            return  # a preview that can't be read is no reason to stop
        if self._preview.node is not None:
            self.previewed.emit(self._preview.node)

    def _importResult(self) -> None:
        result = Result(self._finishedEvent, self.request, self._geometry)
        self._forgetNodes()  # what follows changes the scene itself
        self._preview.remove()
        if self._outputNode is not None and wouldMoveOthers(self._outputNode, self._volumeNode):
            self._outputNode = None
            self._warn(
                _(
                    "The chosen output is under another transform than the volume, and its other segments would be "
                    "moved: the result is in a new segmentation."
                )
            )
        imported = result.write(self._tools.scene, self._writer, self._volumeNode, self._outputNode)
        self.segmentationNode, self.tableNode = imported.segmentationNode, imported.tableNode
        self.uncertaintyNode = imported.uncertaintyNode
        self.summary = self._finishedEvent["summary"]
        for warning in [*(self.summary.get("warnings") or []), *imported.warnings]:
            if str(warning) not in self.warnings:
                self._warn(str(warning))
        self._end(FINISHED, None)

    def _fail(self, exitCode: int) -> None:
        event = self._failedEvent or {}
        message = str(event.get("message") or "")
        details = str(event.get("details") or "")
        code = event.get("code", exitCode)
        if code == 130 and message:
            self._end(CANCELLED, JobCancelledError(message, details, 130))
            return
        if not message:
            message = _("The segmentation stopped unexpectedly (the worker ended with code {code}).").format(
                code=exitCode
            )
            if exitCode in (-9, 137, 9):
                message += " " + _("The system may have run out of memory, or the process was ended from outside.")
            message += " " + _("Try again; if it stops again, copy the details into a bug report.")
        error = InvalidInputError if code == 3 else JobFailedError
        self._end(FAILED, error(message, details, code if isinstance(code, int) else exitCode))

    def _warn(self, message: str) -> None:
        self.warnings.append(message)
        self.warned.emit(message)

    def _end(self, state: str, error: Optional[ConFUDAError]) -> None:
        self.state = state
        self.error = error
        self._releaseAll()
        self.ended.emit(self)

    def _releaseAll(self) -> None:
        """Process, timer, observers, preview and files: all go, in this order, whatever happened."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self._forgetNodes()
        if self._process is not None:
            self._process.kill()
        self._preview.remove()
        if self._workspace is not None:
            self._secrets.append(self._workspace.path)
            self._workspace.remove()
            self._workspace = None

    def _observeScene(self) -> None:
        scene = self._tools.scene
        self._observations = [
            scene.AddObserver(scene.StartCloseEvent, self._onSceneClosing),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved),
        ]

    def _forgetNodes(self) -> None:
        for tag in self._observations:
            self._tools.scene.RemoveObserver(tag)
        self._observations = []

    def _onSceneClosing(self, _caller: Any, _event: Any) -> None:
        self.abandon(_("The scene was closed, so the segmentation was cancelled."))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _caller: Any, _event: Any, node: Any) -> None:
        if node is self._volumeNode:
            self.volumeWasRemoved = True
            self.abandon(_("The volume was removed, so the segmentation was cancelled."))
        elif self._outputNode is not None and node is self._outputNode:
            self._outputNode = None
            self._warn(_("The chosen output was removed: the result goes into a new segmentation."))


def startTimer(callback: Callable[[], None]) -> Any:
    """A running Qt timer. Kept by the caller, for a timer without an owner would be collected."""
    timer = qt.QTimer()
    timer.timeout.connect(callback)
    timer.start(POLL_MS)
    return timer
