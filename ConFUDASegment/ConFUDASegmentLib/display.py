"""How a run and its result look in the panel: the coloured line, the bar, the table with what is said about it."""

from typing import Any, Optional

import qt
from slicer.i18n import tr as _

from .devices import duration
from .results import hasOwnColors, massCaveatOf
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
_LONGEST_NAME = 24  # in a header: a longer one would widen the panel


class StatusLine:
    """One coloured message under the button."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self.show(INFO, "")

    def show(self, level: str, text: str) -> None:
        background, edge = _COLORS[level]
        self._label.text = text
        self._label.styleSheet = (
            f"background: {background}; color: #202020; border-left: 4px solid {edge}; padding: 6px;"
        )
        self._label.visible = bool(text)

    def reveal(self) -> None:
        """Scrolls the module's panel so that the message is seen, once its place is known."""
        qt.QTimer.singleShot(0, self._scroll)

    def _scroll(self) -> None:
        area = self._label.parentWidget()
        while area is not None and not hasattr(area, "ensureWidgetVisible"):
            area = area.parentWidget()
        if area is not None:
            area.ensureWidgetVisible(self._label)


class RunDisplay:
    """The bar, what is being done, and the time."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._place = ""

    def begin(self, place: str = "") -> None:
        """place: which of several volumes this is, or nothing."""
        self._place = place
        self._ui.progressBar.value = 0
        self._ui.stageLabel.text = self._said(_("Starting"))

    def advance(self, progress: Progress) -> None:
        begin, end = _STAGES.get(progress.stage, (0, 0))
        percent = int(begin + (end - begin) * progress.fraction)
        self._ui.progressBar.value = max(percent, self._ui.progressBar.value)
        text = _("{stage}: step {step} of {total}").format(
            stage=_stageName(progress.stage), step=progress.step, total=progress.total
        )
        losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        self._ui.stageLabel.text = self._said(f"{text}\n{losses}" if losses else text)

    def tick(self, elapsedSeconds: float, progress: Optional[Progress]) -> None:
        minutes, rest = divmod(int(elapsedSeconds), 60)
        text = _("{time} so far").format(time=f"{minutes}:{rest:02d}")
        if progress is not None and progress.etaSeconds is not None:
            text += ", " + _("about {time} left").format(time=duration(progress.etaSeconds))
        self._ui.timeLabel.text = text

    def _said(self, text: str) -> str:
        return f"{self._place}\n{text}" if self._place else text


class Folding:
    """While a job runs its inputs fold away, so that button, progress and result fit a small window.

    They stay so after a result, which would else be pushed out of sight; after a failure they come back as they were.
    """

    def __init__(self, ui: Any) -> None:
        self._parts = (ui.inputsButton, ui.advancedButton, ui.detailsButton)
        self._former: Optional[tuple] = None

    def fold(self) -> None:
        if self._former is None:
            self._former = tuple(bool(part.collapsed) for part in self._parts)
        for part in self._parts:
            part.collapsed = True

    def end(self, finished: bool) -> None:
        if not finished and self._former is not None:
            for part, collapsed in zip(self._parts, self._former):
                part.collapsed = collapsed
        self._former = None


class ResultDisplay:
    """The table of the last result and what goes with it."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui

    def show(self, segmentation: Optional[Any], table: Optional[Any]) -> None:
        ui = self._ui
        ui.resultsTable.setMRMLTableNode(table)
        ui.resultsTable.visible = table is not None
        ui.resultsButton.visible = segmentation is not None or table is not None
        caveat = massCaveatOf(table)
        ui.caveatLabel.text = caveat
        ui.caveatLabel.visible = bool(caveat)
        for button in (ui.show3DButton, ui.colorsButton):
            button.enabled = segmentation is not None
        display = segmentation.GetDisplayNode() if segmentation is not None else None
        ui.show3DButton.checked = display is not None and bool(display.GetVisibility3D())
        ui.colorsButton.checked = segmentation is not None and not hasOwnColors(segmentation)


def inputsHeader(volumeNode: Optional[Any], count: int, folded: bool) -> str:
    """The header of the inputs: folded, it tells what is segmented."""
    header = _("Volume and result")
    if not folded or volumeNode is None:
        return header
    if count > 1:
        return _("Volumes: {count}").format(count=count)
    name = volumeNode.GetName() or ""
    return _("Volume: {name}").format(name=name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…")


def _stageName(stage: str) -> str:
    names = {
        "load": _("Loading"),
        "find": _("Finding the heart"),
        "adapt": _("Adapting"),
        "predict": _("Segmenting"),
        "write": _("Writing the result"),
    }
    return names.get(stage, stage)
