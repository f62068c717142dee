"""What is changed for the whole process while something is read, where several threads may read at the same time."""

import threading
from contextlib import contextmanager
from typing import Callable, ContextManager, Iterator, Optional


class ProcessState:
    """A change of the process: the first thread that wants it makes it, and the last one takes it back. If each did so
    for itself, one that leaves later would put back what it found, and that is the other's change."""

    def __init__(self, change: Callable[[], ContextManager[None]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._made: Optional[ContextManager[None]] = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The change lasts at least as long as the context."""
        with self._lock:
            if self._made is None:
                made = self._change()
                made.__enter__()
                self._made = made
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._made is not None:
                    made, self._made = self._made, None
                    made.__exit__(None, None, None)
