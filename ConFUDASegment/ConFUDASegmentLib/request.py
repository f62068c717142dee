"""What is asked of the worker: checked here, so that a wrong setting is one sentence and not a failed process."""

import os
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from slicer.i18n import tr as _

from confuda.adaptation.settings import METHODS, MODES, PRESETS, make_settings
from confuda.errors import UsageError

from .errors import InvalidInputError


@dataclass(frozen=True)
class SegmentationRequest:
    """One run. `slice` is a 0-based index along the volume's slice axis; None lets the worker choose."""

    mode: str = "few-shot"
    slice: Optional[int] = None
    method: str = "confuda"
    preset: str = "balanced"
    device: str = "auto"
    seed: int = 0
    bundle: Optional[str] = None
    center: Optional[Tuple[float, float]] = None
    settings: Dict[str, Any] = field(default_factory=dict)
    preview: bool = False
    uncertainty: bool = False

    def check(self, sliceCount: int) -> None:
        for value, allowed, label in (
            (self.mode, MODES, _("mode")),
            (self.method, METHODS, _("method")),
            (self.preset, PRESETS, _("preset")),
        ):
            if value not in allowed:
                raise InvalidInputError(
                    _("Unknown {label} '{value}': choose one of {allowed}.").format(
                        label=label, value=value, allowed=", ".join(allowed)
                    )
                )
        if self.slice is not None and not (isinstance(self.slice, int) and 0 <= self.slice < sliceCount):
            raise InvalidInputError(
                _("Slice {slice} does not exist: this volume has slices 0 to {last}.").format(
                    slice=self.slice, last=sliceCount - 1
                )
            )
        try:
            make_settings(self.preset, self.settings)
        except UsageError as error:
            raise InvalidInputError(str(error)) from error
        if self.bundle and not os.path.isfile(os.path.join(self.bundle, "bundle.json")):
            raise InvalidInputError(_("The bundle folder has no bundle.json: choose the folder of a ConFUDA bundle."))

    def toJob(
        self, volumePath: str, outputPath: str, previewFolder: str, uncertaintyPath: Optional[str] = None
    ) -> Dict[str, Any]:
        """The worker's JSON job."""
        asked = {"uncertainty": uncertaintyPath} if self.uncertainty else {}
        return {
            **asked,
            "volume": volumePath,
            "output": outputPath,
            "mode": self.mode,
            "slice": self.slice if self.mode == "one-shot" else None,
            "method": self.method,
            "preset": self.preset,
            "bundle": self.bundle or None,
            "device": self.device,
            "seed": self.seed,
            "center": list(self.center) if self.center else None,
            "settings": dict(self.settings),
            "preview_folder": previewFolder if self.preview else None,
        }

    def describe(self) -> Dict[str, Any]:
        """The settings for a bug report: nothing in it names a patient or a folder."""
        return {
            "mode": self.mode,
            "slice": self.slice,
            "method": self.method,
            "preset": self.preset,
            "device": self.device,
            "seed": self.seed,
            "bundle": "custom" if self.bundle else "shipped",
            "center": self.center,
            "settings": dict(self.settings),
            "preview": self.preview,
            "uncertainty": self.uncertainty,
        }
