"""This computer: the Python that Slicer offers for the worker, its environment and a temporary folder; the devices
offered in the panel, found by a child process while the user looks at it; and how long a run will take on them,
first from their speed, then from what runs here truly took."""

import logging
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional

import qt
from slicer.i18n import tr as _

from confuda.adaptation.settings import make_settings
from confuda.threads import let_threads_sleep

from .errors import JobFailedError
from .parameters import SegmentationRequest
from .worker import Signal, WorkerProcess

PREFIX = "confuda-"
_LOCK = "owner.lock"
# All that a run writes into its folder. What holds anything else is somebody's own, whatever its name is.
_OWN_FILES = re.compile(r"owner\.lock.*|preview|volume\..*|labels[.-].*|uncertainty\..*|TempWrite.*|\.confuda-.*")
_SETTLING_SECONDS = 60.0  # a folder without a lock may be another Slicer's that is just being made

_firstSeen: Dict[str, float] = {}  # folders without a lock, by this process's own clock: file times and clocks may jump

PROBE_SECONDS = 90.0  # importing torch from a slow disk takes long; beyond this it is taken for hung

# In units of the probe's step, so that they hold for any machine: measured with bundle 0.1.0 on the bundled sample, two
# idle CPU cores (60 steps 35 s with bfloat16 and 66 s without, 8 slices 0.8 s, the probe's step 0.035 s). It is a first
# guess only: the next one is what a run took.
ADAPT_PER_IMAGE = 1.5
PREDICT_PER_SLICE = 2.8
START_SECONDS = 5.0  # importing torch and reading the bundle, on any device
_UNCERTAINTY = 1.6  # the first estimate is given as a range this much below and above


def findInterpreter() -> str:
    """PythonSlicer where Slicer offers it, else a true Python interpreter of the same installation.

    Inside Slicer `sys.executable` may be the application itself: started with `-m`, it would open a second Slicer.
    """
    fromPath = shutil.which("PythonSlicer")
    if fromPath:
        return fromPath
    suffix = ".exe" if os.name == "nt" else ""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates: List[Optional[str]] = [sys.executable]
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix):
        candidates.append(os.path.join(prefix, "bin", "PythonSlicer" + suffix))
        candidates.append(os.path.join(prefix, "bin", "python" + version + suffix))
        # Slicer's own Python on Windows, and a plain installation there.
        candidates.append(os.path.join(prefix, "bin", "python" + suffix))
        candidates.append(os.path.join(prefix, "python" + suffix))
    for candidate in candidates:
        if candidate and isPython(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise JobFailedError(
        _("Slicer's Python interpreter (PythonSlicer) was not found, so the segmentation can't be started."),
        details=f"looked on PATH and at: {[os.path.basename(c) for c in candidates if c]}",
    )


def isPython(path: str) -> bool:
    name = os.path.basename(path).lower()
    return os.path.isfile(path) and name.startswith("python")


def workerEnvironment(moduleFolder: str) -> Dict[str, str]:
    """This process's environment, where the worker finds the module folder and the same packages as Slicer."""
    environment = dict(os.environ)
    folders = [moduleFolder]
    for folder in sys.path:
        if folder and folder not in folders and os.path.isdir(folder):
            folders.append(folder)
    environment["PYTHONPATH"] = os.pathsep.join(folders)
    environment["PYTHONIOENCODING"] = "utf-8"
    environment["PYTHONUTF8"] = "1"
    # `-m` would look for modules in the current folder first, which may be any (Python 3.11 and later know this).
    environment["PYTHONSAFEPATH"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    # No bytecode is written into an extension folder, which may be read-only.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    let_threads_sleep(environment)
    return environment


class Workspace:
    """Folder with mode 0700. The lock inside tells other Slicers that its owner is alive."""

    def __init__(self, baseFolder: Optional[str] = None) -> None:
        base = baseFolder or tempfile.gettempdir()
        os.makedirs(base, exist_ok=True)
        removeOrphans(base)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=base)
        self._lock = qt.QLockFile(os.path.join(self.path, _LOCK))
        self._lock.setStaleLockTime(0)  # a long job is not a dead one
        self._lock.tryLock(0)
        self.previewFolder = self.file("preview")
        os.mkdir(self.previewFolder)

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def remove(self) -> None:
        """Safe to call twice."""
        self._lock.unlock()
        shutil.rmtree(self.path, ignore_errors=True)
        if os.path.exists(self.path):
            logging.warning("ConFUDA: a temporary folder could not be removed; the next run tries again")


def removeOrphans(baseFolder: str) -> None:
    """Removes job folders whose owner no longer runs (a crashed or killed Slicer could not do it itself)."""
    for name in os.listdir(baseFolder):
        path = os.path.join(baseFolder, name)
        if not name.startswith(PREFIX) or os.path.islink(path) or not os.path.isdir(path):
            continue
        lockPath = os.path.join(path, _LOCK)
        if not os.path.exists(lockPath):
            if not _isOurs(path):
                continue
            now = time.monotonic()
            if now - _firstSeen.setdefault(path, now) < _SETTLING_SECONDS:
                continue
        lock = qt.QLockFile(lockPath)
        lock.setStaleLockTime(0)
        if lock.tryLock(0):
            lock.unlock()
            shutil.rmtree(path, ignore_errors=True)


def _isOurs(folder: str) -> bool:
    try:
        return all(_OWN_FILES.fullmatch(name) for name in os.listdir(folder))
    except OSError:
        return False  # another user's, or gone meanwhile


@dataclass(frozen=True)
class Device:
    id: str
    name: str
    usable: bool = True
    reason: str = ""
    secondsPerStep: Optional[float] = None


class DeviceProbe:
    """`found` is emitted with nothing; read `devices` and `note` then."""

    def __init__(
        self,
        makeProcess: Callable[[], WorkerProcess],
        makeTimer: Callable[[Callable[[], None]], Any],
        clock: Callable[[], float],
    ) -> None:
        self.found = Signal()
        self.devices: List[Device] = []
        self.note = ""
        self._makeProcess = makeProcess
        self._makeTimer = makeTimer
        self._clock = clock
        self._process: Optional[WorkerProcess] = None
        self._timer: Optional[Any] = None
        self._deadline = 0.0

    @property
    def isRunning(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        if self.isRunning:
            return
        self._process = self._makeProcess()
        self._process.start()
        self._deadline = self._clock() + PROBE_SECONDS
        self._timer = self._makeTimer(self._poll)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._process is not None:
            self._process.kill()
            self._process = None

    def device(self, deviceId: str) -> Optional[Device]:
        """The device that `auto` or an ID stands for."""
        usable = [device for device in self.devices if device.usable]
        if deviceId == "auto":
            gpus = [device for device in usable if device.id != "cpu"]
            return (gpus or usable or [None])[0]
        return next((device for device in usable if device.id == deviceId), None)

    def _poll(self) -> None:
        if self._process is None:
            return
        for event in self._process.takeEvents():
            if event["event"] == "devices":
                self._accept(event)
                return
        if self._process.exitCode() is not None or self._clock() > self._deadline:
            self._accept({"devices": [], "error": _("the check of this computer's devices did not answer")})

    def _accept(self, event: Any) -> None:
        self.stop()
        self.devices = [Device(**entry) for entry in event["devices"]]
        self.note = ""
        broken = [device for device in self.devices if not device.usable]
        if event.get("error"):
            self.note = _("PyTorch can't be used: {reason}").format(reason=event["error"])
        elif broken:
            self.note = _(
                "{name} is present, but the installed PyTorch can't use it ({reason}). The CPU is used instead. "
                "Reinstalling PyTorch with the PyTorch Util module usually helps."
            ).format(name=broken[0].name, reason=broken[0].reason)
        self.found.emit()


class TimeEstimate:
    """`settings` is a qt.QSettings or anything with `value` and `setValue`."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def describe(self, request: SegmentationRequest, sliceCount: int, secondsPerStep: Optional[float]) -> str:
        """One line for the panel."""
        measured = self._measured(request, sliceCount)
        if measured is not None:
            return _("About {time} (from the last run on this computer)").format(time=duration(measured))
        if secondsPerStep is None:
            return _("Not known before the first run on this computer")
        work = ADAPT_PER_IMAGE * _imagesToAdapt(request) + PREDICT_PER_SLICE * sliceCount
        guess = START_SECONDS + secondsPerStep * work
        return _("{low} to {high} (a first guess for this computer)").format(
            low=duration(guess / _UNCERTAINTY), high=duration(guess * _UNCERTAINTY)
        )

    def learn(self, request: SegmentationRequest, sliceCount: int, device: str, seconds: Dict[str, float]) -> None:
        """Keeps what a finished run took, for the device asked for and the one used."""
        try:
            adapt, total = float(seconds["adapt"]), float(seconds["total"])
            predict = float(seconds["predict"]) / max(sliceCount, 1)
        except (KeyError, TypeError, ValueError):
            return
        rest = max(total - adapt - predict * sliceCount, 0.0)
        for name in {request.device, device}:
            self._settings.setValue(_key(request, name), f"{adapt:.2f} {predict:.4f} {rest:.2f}")

    def _measured(self, request: SegmentationRequest, sliceCount: int) -> Optional[float]:
        try:
            adapt, predict, rest = (
                float(part) for part in str(self._settings.value(_key(request, request.device))).split()
            )
        except ValueError:
            return None
        return adapt + predict * sliceCount + rest


def _imagesToAdapt(request: SegmentationRequest) -> int:
    """Images that pass through the network in training: sources and targets, each with its changed twin."""
    if request.method == "none":
        return 0
    settings = make_settings(request.preset, request.settings)
    return 2 * settings.steps * (settings.source_batch + settings.target_batch)


def duration(seconds: float) -> str:
    """A rounded time as people say it."""
    if seconds < 55:
        return _("{count} s").format(count=max(int(round(seconds / 5.0)) * 5, 5))
    if seconds < 3000:
        return _("{count} min").format(count=max(int(round(seconds / 60.0)), 1))
    return _("{count} h").format(count=round(seconds / 3600.0, 1))


def _key(request: SegmentationRequest, device: str) -> str:
    return f"ConFUDA/Seconds/{request.method}/{request.mode}/{request.preset}/{device.replace(':', '')}"
