"""How long a run will take here: first from the speed of this computer, then from what runs here truly took."""

from typing import Any, Dict, Optional

from slicer.i18n import tr as _

from confuda.adaptation.settings import make_settings

from .request import SegmentationRequest

# In units of the probe's step, so that they hold for any machine: measured with the shipped bundle on the bundled
# sample, two idle CPU cores (60 steps 35 s with bfloat16 and 66 s without, 8 slices 0.8 s, the probe's step 0.035 s).
ADAPT_PER_IMAGE = 1.5
PREDICT_PER_SLICE = 2.8
START_SECONDS = 5.0  # importing torch and reading the bundle, on any device
_UNCERTAINTY = 1.6  # the first estimate is given as a range this much below and above


class TimeEstimate:
    """`settings` is a qt.QSettings or anything with `value` and `setValue`."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def describe(self, request: SegmentationRequest, sliceCount: int, secondsPerStep: Optional[float]) -> str:
        """One honest line for the panel."""
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
