"""What is asked of the worker: the parameters, kept in the scene, and the request made of them, which is checked here
so that a wrong setting is one sentence and not a failed process."""

import dataclasses
import os
from typing import Any, Dict, Optional, Sequence

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper

from confuda.adaptation.settings import METHODS, MODES, PRESETS
from confuda.app.job import ADAPT, check_values, list_fields
from confuda.errors import UsageError
from confuda.measure.function import ALL_FRAMES

from .errors import InvalidInputError
from .scene_in import browserOf

OPTIONS = tuple(
    entry
    for entry in list_fields()
    if entry.metadata["use"] == ADAPT
    or entry.name in ("bundle", "device", "frames", "height_cm", "weight_kg", "wall", "scar")
)
"""The fields of the worker's job that say how to do it: names, defaults and bounds are declared there."""

_Options = dataclasses.make_dataclass(
    "_Options",
    [
        (entry.name, entry.type, dataclasses.field(default=entry.default, default_factory=entry.default_factory))
        for entry in OPTIONS
    ],
    frozen=True,
)

CURRENT_FRAME = "current"
FRAMES = (CURRENT_FRAME, ALL_FRAMES)
SCAR_METHODS = ("", "fwhm", "5sd", "2sd")
_OTHER_CHOICES = (("frames", FRAMES), ("scar", SCAR_METHODS))
_DEFAULTS = {"mode": "few-shot", "preset": "balanced", "method": "confuda", "frames": CURRENT_FRAME, "scar": ""}


@dataclasses.dataclass(frozen=True)
class SegmentationRequest(_Options):
    """One run: the options of a job (`confuda.app.job.Job`), and whether to show early results and the uncertainty.

    `slice` is a 0-based index along the volume's slice axis, for the one-shot mode; None lets the worker choose.
    """

    preview: bool = False
    uncertainty: bool = False

    @property
    def isCine(self) -> bool:
        """Whether all frames of a sequence are asked for, and not its current one."""
        return self.frames == ALL_FRAMES

    def check(self, sliceCount: int) -> None:
        try:
            check_values(self._values())
        except UsageError as error:
            raise InvalidInputError(str(error)) from error
        if self.slice is not None and not 0 <= self.slice < sliceCount:
            raise InvalidInputError(
                _("Slice {slice} does not exist: this volume has slices 0 to {last}.").format(
                    slice=self.slice, last=sliceCount - 1
                )
            )
        if self.frames not in (None, ALL_FRAMES):
            raise InvalidInputError(
                _(
                    "Frames are the current one (None) or '{all}': go to a frame in the Sequences module to take it."
                ).format(all=ALL_FRAMES)
            )
        if self.bundle and not os.path.isfile(os.path.join(self.bundle, "bundle.json")):
            raise InvalidInputError(_("The bundle folder has no bundle.json: choose the folder of a ConFUDA bundle."))

    def toJob(
        self, volumePath: str, outputPath: str, previewFolder: str, uncertaintyPath: Optional[str] = None
    ) -> Dict[str, Any]:
        """The worker's JSON job."""
        asked = {"uncertainty": uncertaintyPath} if self.uncertainty and not self.isCine else {}
        return {
            **asked,
            **self._values(),
            "volume": volumePath,
            "output": outputPath,
            "preview_folder": previewFolder if self.preview else None,
        }

    def describe(self) -> Dict[str, Any]:
        """The settings for a bug report: nothing in it names a patient or a folder."""
        shown = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return {**shown, "settings": dict(self.settings or {}), "bundle": "custom" if self.bundle else "shipped"}

    def _values(self) -> Dict[str, Any]:
        values = {entry.name: getattr(self, entry.name) for entry in OPTIONS}
        values["slice"] = self.slice if self.mode == "one-shot" else None
        return {**values, "bundle": str(self.bundle) if self.bundle else None, "settings": dict(self.settings or {})}


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


def requestOf(chosen: ConFUDASegmentParameterNode, several: bool) -> SegmentationRequest:
    """What the parameters ask for. several: of each of several volumes, whose slices and frames can't be chosen."""
    isCine = not several and chosen.frames == ALL_FRAMES and browserOf(chosen.inputVolume) is not None
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
        slice=None if several or chosen.automaticSlice or chosen.mode != "one-shot" else chosen.sliceIndex,
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


def replaceUnknownChoices(parameters: ConFUDASegmentParameterNode, deviceIds: Sequence[str]) -> None:
    """A scene saved by another version or on another computer may hold values that this one does not have: they take
    the default. deviceIds: what was found on this computer; nothing while that is not known."""
    for name, known in (("mode", MODES), ("preset", PRESETS), ("method", METHODS), *_OTHER_CHOICES):
        if getattr(parameters, name) not in known:
            setattr(parameters, name, _DEFAULTS[name])
    if deviceIds and parameters.device not in ("auto", *deviceIds):
        parameters.device = "auto"
