"""How a run and its result look in the panel: the coloured line, the bar, the table with what is said about it."""

from typing import Any, List, Optional, Tuple

import qt
from slicer.i18n import tr as _

from . import views
from .cine import chartOf
from .devices import duration
from .readouts import drawBullsEye, isWallTable, showWallSegments, thicknessOf, wallSegmentsOf
from .results import hasOwnColors, massCaveatOf, tablesOf, useColors
from .scene_out import show3D, volumeOf
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
    """The tables of the last result and what goes with them."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._tables: List[Tuple[str, Any]] = []
        self._segmentation: Optional[Any] = None
        ui.tableCombo.currentIndexChanged.connect(self._showTable)
        ui.show3DButton.clicked.connect(self._onShow3D)
        ui.colorsButton.clicked.connect(self._onColors)
        ui.curveButton.clicked.connect(self._onCurve)
        ui.wallButton.clicked.connect(self._onWall)

    def show(self, segmentation: Optional[Any], table: Optional[Any]) -> None:
        """`table`: what is shown where the segmentation has none, for it was removed."""
        ui = self._ui
        tables = tablesOf(segmentation)
        if not tables and table is not None:
            tables = [("", table)]
        isAnother = segmentation is not self._segmentation or [n for n, _t in tables] != [n for n, _t in self._tables]
        self._segmentation, self._tables = segmentation, tables
        if isAnother:
            wasBlocked = ui.tableCombo.blockSignals(True)
            ui.tableCombo.clear()
            for name, _table in tables:
                ui.tableCombo.addItem(name)
            # A cine's function is what was asked for; of a still volume the first table tells most.
            ui.tableCombo.currentIndex = 1 if len(tables) > 1 and chartOf(segmentation) is not None else 0
            ui.tableCombo.blockSignals(wasBlocked)
        ui.tableCombo.visible = len(tables) > 1
        ui.resultsButton.visible = segmentation is not None or bool(tables)
        for button in (ui.show3DButton, ui.colorsButton):
            button.enabled = segmentation is not None
        display = segmentation.GetDisplayNode() if segmentation is not None else None
        ui.show3DButton.checked = display is not None and bool(display.GetVisibility3D())
        ui.colorsButton.checked = segmentation is not None and not hasOwnColors(segmentation)
        ui.curveButton.visible = chartOf(segmentation) is not None
        wall = wallSegmentsOf(segmentation)
        ui.wallButton.visible = wall is not None
        wallDisplay = wall.GetDisplayNode() if wall is not None else None
        ui.wallButton.checked = wallDisplay is not None and bool(wallDisplay.GetVisibility())
        self._showTable()

    def _onShow3D(self, *_arguments: Any) -> None:
        if self._segmentation is not None:
            show3D(self._segmentation, bool(self._ui.show3DButton.checked))
            views.fitThreeD(self._segmentation, volumeOf(self._segmentation))

    def _onColors(self, *_arguments: Any) -> None:
        if self._segmentation is not None:
            useColors(self._segmentation, own=not self._ui.colorsButton.checked)

    def _onCurve(self, *_arguments: Any) -> None:
        chart = chartOf(self._segmentation)
        if chart is not None:
            views.showChart(chart)

    def _onWall(self, *_arguments: Any) -> None:
        if self._segmentation is not None:
            showWallSegments(self._segmentation, bool(self._ui.wallButton.checked))

    def _showTable(self, *_arguments: Any) -> None:
        ui = self._ui
        place = min(max(ui.tableCombo.currentIndex, 0), len(self._tables) - 1)
        table = self._tables[place][1] if self._tables else None
        ui.resultsTable.setMRMLTableNode(table)
        ui.resultsTable.visible = table is not None
        caveat = massCaveatOf(table)
        ui.caveatLabel.text = caveat
        ui.caveatLabel.visible = bool(caveat)
        isWall = table is not None and isWallTable(self._segmentation, table)
        ui.bullsEyeLabel.visible = isWall
        if isWall:
            ui.bullsEyeLabel.pixmap = drawBullsEye(thicknessOf(table), _("Wall thickness [mm]"))


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
