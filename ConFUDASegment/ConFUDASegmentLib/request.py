"""What is asked of the worker: checked here, so that a wrong setting is one sentence and not a failed process."""

import dataclasses
import os
from typing import Any, Dict, Optional

from slicer.i18n import tr as _

from confuda.app.job import ADAPT, check_values, list_fields
from confuda.errors import UsageError
from confuda.measure.function import ALL_FRAMES

from .errors import InvalidInputError

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
        return {**values, "bundle": self.bundle or None, "settings": dict(self.settings or {})}
