"""What a caller of a :class:`confuda.Segmenter` may hear while it works, and how it cancels."""

from typing import Callable, Dict, Optional

import SimpleITK as sitk


class Observer:
    """Hears what a segmenter does. The base class is silent; :meth:`check_cancelled` may raise Cancelled."""

    def started(self, device: str, total: int) -> None:
        """The work is done on ``device`` and will take ``total`` adaptation steps."""

    def progress(
        self, stage: str, step: int, total: int, eta_s: Optional[float], losses: Optional[Dict[str, float]] = None
    ) -> None:
        """``stage`` is find, adapt or predict; ``eta_s`` the seconds left to the labels, if known."""

    def offer_preview(self, step: int, total: int, draw: Callable[[], sitk.Image]) -> None:
        """After each step of an adaptation to one volume: ``draw()`` gives an early label map, and takes a while."""

    def warning(self, message: str) -> None:
        """Something the user should know."""

    def check_cancelled(self) -> None:
        """Called often."""
