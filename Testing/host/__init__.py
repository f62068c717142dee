"""Slicer without its desktop: real MRML and real slicer.util (wheel slicer-core) with real Qt (PySide6, offscreen).

`start()` supplies what the wheel lacks: application, scene, module logics, scripted-module classes and the few widgets
that the panel uses. It stands in for the application only: no result is imitated.
"""

from Testing.host.startup import HostMissingError, start

__all__ = ["HostMissingError", "start"]
