"""The worker as a child process: JSON lines out of it, `cancel` into it, and never a wait on the GUI's thread.

Imports nothing of Slicer.
"""

import collections
import json
import logging
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, List, Optional

LONGEST_LINE = 1 << 20  # a line beyond this is garbage and is read in pieces, so that memory stays bounded
KEPT_LINES = 80  # of stderr and of output that is not an event, for the details


class Signal:
    """A signal in plain Python, since qt.Signal can't be used from Slicer's PythonQt: calls every connected slot.

    A slot that raises is logged and never stops the sender or the other slots.
    """

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


@dataclass(frozen=True)
class Progress:
    """Where the worker stands. Printing it gives one line."""

    stage: str
    step: int
    total: int
    etaSeconds: Optional[float] = None
    losses: Dict[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        return min(max(self.step / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    def __str__(self) -> str:
        text = f"{self.stage} {self.step}/{self.total}"
        if self.etaSeconds is not None:
            text += f", {self.etaSeconds:.0f} s left"
        return text + "".join(f", {name} {value:.3f}" for name, value in self.losses.items())


class WorkerProcess:
    """Starts `command`, writes one JSON line to it, and collects its lines in a queue read by `takeEvents`.

    The reader threads handle nothing but text: objects made there would now and then start Python's garbage collection,
    which would delete Qt and VTK objects outside of the GUI's thread.
    """

    def __init__(self, command: List[str], environment: Dict[str, str], firstLine: Optional[Dict[str, Any]]) -> None:
        self._command = command
        self._environment = environment
        self._firstLine = firstLine
        self._process: Optional[subprocess.Popen] = None
        self._lines: "queue.SimpleQueue[str]" = queue.SimpleQueue()
        self._noise: Deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._readers: List[threading.Thread] = []

    def start(self) -> None:
        options: Dict[str, Any] = {}
        if os.name == "nt":
            options["creationflags"] = subprocess.CREATE_NO_WINDOW
        else:
            # Own process group: a launcher (PythonSlicer is one) and the worker behind it can be ended together.
            options["start_new_session"] = True
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            encoding="utf-8",
            errors="replace",
            **options,
        )
        for stream, reader in ((self._process.stdout, self._readLines), (self._process.stderr, self._readErrors)):
            thread = threading.Thread(target=reader, args=(stream,), daemon=True)
            thread.start()
            self._readers.append(thread)
        if self._firstLine is not None:
            self._write(json.dumps(self._firstLine) + "\n")

    @property
    def pid(self) -> Optional[int]:
        return self._process.pid if self._process else None

    def takeEvents(self, most: int = 100) -> List[Dict[str, Any]]:
        """Events that have arrived, oldest first. Never waits."""
        events = []
        for _count in range(most):
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
            event = _parseEvent(line)
            if event is not None:
                events.append(event)
            elif line.strip():
                self._noise.append(line.rstrip()[:500])
        return events

    def exitCode(self) -> Optional[int]:
        """None while the process runs or while its last output is still being read."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is None or any(reader.is_alive() for reader in self._readers) or not self._lines.empty():
            return None
        return code

    def hasEnded(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def requestCancel(self) -> None:
        """Asks in two ways: by the word, and by the end of its input."""
        self._write("cancel\n")
        self._closeInput()

    def kill(self) -> None:
        """Ends the process and all that it started. Returns when they are gone."""
        if self._process is None:
            return
        self._closeInput()
        if os.name == "nt":
            if self._process.poll() is None:
                subprocess.run(
                    ["taskkill", "/F", "/T", "/PID", str(self._process.pid)],
                    creationflags=subprocess.CREATE_NO_WINDOW,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
        else:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # the whole group has gone already
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass  # stuck in the kernel (a dead network drive, say): nothing more can be done from here
        self._closeOutputs()

    def noise(self) -> List[str]:
        """The last lines that were not events: the worker's stderr and stray output."""
        return list(self._noise)

    def _write(self, text: str) -> None:
        try:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(text)
                self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # the worker has ended already; its exit code says why

    def _closeInput(self) -> None:
        try:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
        except OSError:
            pass

    def _closeOutputs(self) -> None:
        for reader in self._readers:
            reader.join(timeout=1)
        for stream in (self._process.stdout, self._process.stderr):
            # A reader that is still blocked owns its stream: closing it here would wait for that reader.
            if stream is not None and not any(reader.is_alive() for reader in self._readers):
                stream.close()

    def _readLines(self, stream: Any) -> None:
        for line in iter(lambda: stream.readline(LONGEST_LINE), ""):
            self._lines.put(line)

    def _readErrors(self, stream: Any) -> None:
        for line in iter(lambda: stream.readline(LONGEST_LINE), ""):
            if line.strip():
                self._noise.append(line.rstrip()[:500])


def _parseEvent(line: str) -> Optional[Dict[str, Any]]:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def parseProgress(event: Dict[str, Any]) -> Progress:
    """Out of a `progress` event. Raises TypeError or ValueError for one of the wrong kind."""
    eta = event.get("eta_s")
    return Progress(
        stage=str(event.get("stage", "")),
        step=int(event.get("step", 0)),
        total=int(event.get("total", 0)),
        etaSeconds=None if eta is None else float(eta),
        losses={str(name): float(value) for name, value in (event.get("losses") or {}).items()},
    )
