"""A signal in plain Python: qt.Signal can't be used from Slicer's PythonQt."""

import logging
from typing import Any, Callable, List


class Signal:
    """Calls every connected slot. A slot that raises is logged and never stops the sender or the other slots."""

    def __init__(self) -> None:
        self._slots: List[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        if slot not in self._slots:
            self._slots.append(slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        if slot in self._slots:
            self._slots.remove(slot)

    def emit(self, *args: Any) -> None:
        for slot in list(self._slots):
            try:
                slot(*args)
            except Exception:
                logging.exception("ConFUDA: a listener failed")
