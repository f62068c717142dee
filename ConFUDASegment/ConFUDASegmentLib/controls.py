"""The parameters, kept in the scene, and the controls of the panel that show and change them.

Each control is tied to one parameter here instead of by parameterNodeWrapper's own GUI connection: that one can't hold
an int on a slider before Slicer 5.10, nor a combo box whose shown text is a translation of its value.
"""

import os
from typing import Any, Callable, Dict, List

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper

from confuda.adaptation.settings import METHODS, MODES, PRESETS
from confuda.measure.function import ALL_FRAMES

from .cine import browserOf
from .devices import Device
from .request import SegmentationRequest

CURRENT_FRAME = "current"
FRAMES = (CURRENT_FRAME, ALL_FRAMES)
SCAR_METHODS = ("", "fwhm", "5sd", "2sd")
_OTHER_CHOICES = (("frames", FRAMES), ("scar", SCAR_METHODS))
_DEFAULTS = {"mode": "few-shot", "preset": "balanced", "method": "confuda", "frames": CURRENT_FRAME, "scar": ""}


@parameterNodeWrapper
class ConFUDASegmentParameterNode:
    """
    inputVolume - The volume to adapt to and to segment.
    outputSegmentation - Where the segments go; none makes a new node for each run.
    resultSegmentation, resultTable - What the last run made.
    sliceIndex - 0-based slice for one-shot; used when automaticSlice is off.
    lambdaContrast, lambdaNorm - Weights; negative takes the preset's own.
    partitions, temperature - Zero takes the preset's own.
    frames - Of a sequence: its current frame, or all.
    scar - How scar is measured; empty for not at all.
    heightCm, weightKg - Of the patient, for what is given by body surface; zero where not known.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    resultSegmentation: vtkMRMLSegmentationNode
    resultTable: vtkMRMLTableNode
    mode: str = "few-shot"
    automaticSlice: bool = True
    sliceIndex: int = 0
    preset: str = "balanced"
    device: str = "auto"
    method: str = "confuda"
    lambdaContrast: float = -1.0
    lambdaNorm: float = -1.0
    partitions: int = 0
    temperature: float = 0.0
    seed: int = 0
    bundleFolder: str = ""
    livePreview: bool = True
    showUncertainty: bool = False
    frames: str = CURRENT_FRAME
    measureWall: bool = False
    scar: str = ""
    heightCm: float = 0.0
    weightKg: float = 0.0


def requestOf(chosen: ConFUDASegmentParameterNode) -> SegmentationRequest:
    """What the parameters ask for."""
    isCine = chosen.frames == ALL_FRAMES and browserOf(chosen.inputVolume) is not None
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
        frames=ALL_FRAMES if isCine else None,
        wall=chosen.measureWall,
        # Scar shows on late enhancement, of which there are no cines.
        scar=chosen.scar or None if not isCine else None,
        height_cm=chosen.heightCm or None if isCine else None,
        weight_kg=chosen.weightKg or None if isCine else None,
    )


def replaceUnknownChoices(parameters: ConFUDASegmentParameterNode) -> None:
    """A scene saved by another version may hold values that this one does not have: they take the default."""
    for name, known in (("mode", MODES), ("preset", PRESETS), ("method", METHODS), *_OTHER_CHOICES):
        if getattr(parameters, name) not in known:
            setattr(parameters, name, _DEFAULTS[name])


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
