"""The panel's controls: each shows and changes one parameter; and how a run looks, the coloured line and the bar.

Each control is tied to its parameter here instead of by parameterNodeWrapper's own GUI connection: that one can't hold
an int on a slider before Slicer 5.10, nor a combo box whose shown text is a translation of its value.
"""

import os
from typing import Any, Callable, Dict, List, Optional

import qt
from slicer.i18n import tr as _

from confuda.adaptation.settings import METHODS, MODES, PRESETS
from confuda.measure.function import ALL_FRAMES

from .machine import Device, duration
from .parameters import CURRENT_FRAME, FRAMES, SCAR_METHODS
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
_LONGEST_NAME, _LONGEST_RESULT = 24, 36  # letters in a header: a longer one would widen the panel


class Binding:
    """`read` and `write` move one value between a control and its parameter."""

    def __init__(
        self, control: Any, name: str, read: Callable[[], Any], write: Callable[[Any], None], changed: Any
    ) -> None:
        self.control = control
        self.name = name
        self.read = read
        self.write = write
        self._changed = changed

    def connect(self, callback: Callable[[], None]) -> None:
        self._changed(lambda *_arguments: callback())


def nodeBinding(control: Any, name: str) -> Binding:
    # The signal has two forms; a string picks the right one in PythonQt.
    def changed(slot: Any) -> None:
        control.connect("currentNodeChanged(vtkMRMLNode*)", slot)

    return Binding(control, name, control.currentNode, control.setCurrentNode, changed)


def choiceBinding(control: Any, name: str) -> Binding:
    """A combo box whose item data is the value. A value that it lacks (from another version) takes the first."""

    def write(value: Any) -> None:
        control.currentIndex = max(control.findData(value), 0)

    return Binding(
        control, name, lambda: control.itemData(control.currentIndex), write, control.currentIndexChanged.connect
    )


def checkBinding(control: Any, name: str) -> Binding:
    def write(value: bool) -> None:
        control.checked = value

    return Binding(control, name, lambda: bool(control.checked), write, control.toggled.connect)


def numberBinding(control: Any, name: str, kind: Callable[[Any], Any], offset: int = 0) -> Binding:
    """A spin box or slider; `offset` is what the control shows beyond the parameter (1 for counting from one)."""

    def write(value: Any) -> None:
        control.value = value + offset

    return Binding(control, name, lambda: kind(control.value) - offset, write, control.valueChanged.connect)


def pathBinding(control: Any, name: str) -> Binding:
    def write(value: str) -> None:
        if control.currentPath != value:
            control.currentPath = value

    return Binding(control, name, lambda: control.currentPath.strip(), write, control.currentPathChanged.connect)


class Bindings:
    """All of them, with one parameter node at a time."""

    def __init__(self, bindings: List[Binding], changed: Callable[[], None]) -> None:
        self._bindings = bindings
        self._changed = changed
        self._parameters = None
        self._updating = False
        for binding in bindings:
            binding.connect(lambda binding=binding: self._toParameters(binding))

    def use(self, parameters: Any) -> None:
        self._parameters = parameters

    def toControls(self) -> None:
        if self._parameters is None or self._updating:
            return
        self._updating = True
        try:
            for binding in self._bindings:
                binding.write(getattr(self._parameters, binding.name))
        finally:
            self._updating = False

    def _toParameters(self, binding: Binding) -> None:
        if self._updating or self._parameters is None:
            return
        value = binding.read()
        if getattr(self._parameters, binding.name) != value:
            setattr(self._parameters, binding.name, value)
            self._changed()


def bindControls(ui: Any) -> List[Binding]:
    """The bindings of all controls."""
    return [
        nodeBinding(ui.inputSelector, "inputVolume"),
        nodeBinding(ui.outputSelector, "outputSegmentation"),
        choiceBinding(ui.modeCombo, "mode"),
        checkBinding(ui.automaticSliceCheck, "automaticSlice"),
        numberBinding(ui.sliceSlider, "sliceIndex", int, offset=1),
        choiceBinding(ui.presetCombo, "preset"),
        choiceBinding(ui.deviceCombo, "device"),
        choiceBinding(ui.methodCombo, "method"),
        numberBinding(ui.contrastSpin, "lambdaContrast", float),
        numberBinding(ui.normSpin, "lambdaNorm", float),
        numberBinding(ui.partitionsSpin, "partitions", int),
        numberBinding(ui.temperatureSpin, "temperature", float),
        numberBinding(ui.seedSpin, "seed", int),
        pathBinding(ui.bundlePath, "bundleFolder"),
        checkBinding(ui.previewCheck, "livePreview"),
        checkBinding(ui.uncertaintyCheck, "showUncertainty"),
        choiceBinding(ui.framesCombo, "frames"),
        checkBinding(ui.wallCheck, "measureWall"),
        choiceBinding(ui.scarCombo, "scar"),
        numberBinding(ui.heightSpin, "heightCm", float),
        numberBinding(ui.weightSpin, "weightKg", float),
    ]


def fillChoices(ui: Any) -> None:
    """The combo boxes whose choices never change; each item's data is the parameter's value."""
    for combo, values, texts in (
        (ui.modeCombo, MODES, _modeNames()),
        (ui.presetCombo, PRESETS, _presetNames()),
        (ui.methodCombo, METHODS, _methodNames()),
        (ui.framesCombo, FRAMES, {CURRENT_FRAME: _("Current frame"), ALL_FRAMES: _("All frames")}),
        (ui.scarCombo, SCAR_METHODS, _scarNames()),
    ):
        for value in values:
            combo.addItem(texts.get(value, value), value)


def fillDevices(combo: Any, devices: List[Device]) -> None:
    """Automatic, the processor, and each graphics card that torch can use. The parameters are not touched."""
    choices = [("auto", _("Automatic")), ("cpu", _("CPU ({count} cores)").format(count=os.cpu_count() or 1))]
    choices += [(gpu.id, gpu.name) for gpu in devices if gpu.usable and gpu.id != "cpu"]
    wasBlocked = combo.blockSignals(True)
    combo.clear()
    for value, text in choices:
        combo.addItem(text, value)
    combo.blockSignals(wasBlocked)


def _modeNames() -> Dict[str, str]:
    return {"one-shot": _("One slice (one-shot)"), "few-shot": _("All slices (few-shot)")}


def _presetNames() -> Dict[str, str]:
    return {
        "fast": _("Fast"),
        "balanced": _("Balanced"),
        "thorough": _("Thorough"),
        "paper": _("As published (slow)"),
    }


def _scarNames() -> Dict[str, str]:
    return {
        "": _("No scar"),
        "fwhm": _("Scar: half maximum"),
        "5sd": _("Scar: 5 SD"),
        "2sd": _("Scar: 2 SD"),
    }


def _methodNames() -> Dict[str, str]:
    return {
        "confuda": _("ConFUDA"),
        "fuda": _("FUDA"),
        "blockcl": _("Block contrastive"),
        "advent": _("ADVENT"),
        "adaptseg": _("AdaptSegNet"),
        "none": _("None (no adaptation)"),
    }


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


def inputsHeader(volumeNode: Optional[Any], count: int, folded: bool) -> str:
    """The header of the inputs: folded, it tells what is segmented."""
    header = _("Volume and result")
    if not folded or volumeNode is None:
        return header
    if count > 1:
        return _("Volumes: {count}").format(count=count)
    return _("Volume: {name}").format(name=_shortened(volumeNode.GetName() or "", _LONGEST_NAME))


def resultsHeader(segmentationNode: Optional[Any]) -> str:
    """The header of the results: it tells whose they are, for another volume may be chosen by now."""
    name = (segmentationNode.GetName() or "") if segmentationNode is not None else ""
    return _("Results: {name}").format(name=_shortened(name, _LONGEST_RESULT)) if name else _("Results")


def _shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _stageName(stage: str) -> str:
    names = {
        "load": _("Loading"),
        "find": _("Finding the heart"),
        "adapt": _("Adapting"),
        "predict": _("Segmenting"),
        "write": _("Writing the result"),
    }
    return names.get(stage, stage)
