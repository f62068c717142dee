"""The devices offered in the panel, found by a child process while the user looks at the panel."""

from dataclasses import dataclass
from typing import Any, Callable, List, Optional

from slicer.i18n import tr as _

from .plain_signal import Signal
from .process import WorkerProcess

PROBE_SECONDS = 90.0  # importing torch from a slow disk takes long; beyond this it is taken for hung


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
