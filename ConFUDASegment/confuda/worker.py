"""The one door for Slicer and for tests: ``python -m confuda.worker`` does one job and tells about it in JSON lines.

stdin: the first line is the job (the fields of ``confuda.pipeline.Job``); a later line ``cancel``, or the end of
stdin, ends the worker within two seconds. stdout: events ``started``, ``progress``, ``preview``, ``warning``,
``finished``, ``failed``.
"""

import dataclasses
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Dict, Optional, TextIO

from confuda.errors import Cancelled, ConfudaError, UsageError

GRACE_S = 1.5
"""A job that has not noticed a cancel after this long is ended without asking."""

LARGEST_JOB_CHARACTERS = 1_000_000
_PATH_FIELDS = ("volume", "output", "bundle", "preview_folder", "save_bundle")


class EventWriter:
    """Writes events as JSON lines; what other code prints goes to stderr, so that the lines stay clean."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **fields}, allow_nan=False, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def parse_job(line: str) -> Any:
    """A ``Job`` from its JSON line.

    Raises:
        UsageError: if it is no JSON object, lacks or misnames a field, or a field is of the wrong kind.
    """
    from confuda.pipeline import Job

    try:
        fields = json.loads(line)
    except ValueError as error:
        raise UsageError("The job is not valid JSON.") from error
    if not isinstance(fields, dict):
        raise UsageError("The job must be a JSON object.")
    known = {field.name for field in dataclasses.fields(Job)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise UsageError(f"The job has unknown fields: {', '.join(unknown)[:200]}.")
    for name in ("volume", "output"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise UsageError(f"The job needs a path in '{name}'.")
    _check_kinds(fields)
    values = {
        name: Path(value) if name in _PATH_FIELDS and value is not None else value for name, value in fields.items()
    }
    if values.get("center") is not None:
        values["center"] = tuple(values["center"])
    return Job(**values)


def _check_kinds(fields: Dict[str, Any]) -> None:
    def is_whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    for name, value in fields.items():
        if name in _PATH_FIELDS:
            good = value is None or isinstance(value, str)
        elif name in ("mode", "method", "preset", "device"):
            good = isinstance(value, str)
        elif name == "seed":
            good = is_whole(value) and 0 <= value < 2**63
        elif name == "slice":
            good = value is None or is_whole(value)
        elif name == "center":
            good = value is None or (
                isinstance(value, list)
                and len(value) == 2
                and all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e6 for v in value)
            )
        else:
            good = isinstance(value, dict)
        if not good:
            raise UsageError(f"The job's field '{name}' has a value of the wrong kind.")


class CancelWatch(threading.Thread):
    """Waits for ``cancel`` or the end of stdin; then ends the process even where the job is deep in a library call."""

    def __init__(self, stream: TextIO, events: EventWriter) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._events = events
        self.cancelled = threading.Event()
        self.finished = threading.Event()

    def run(self) -> None:
        for line in self._stream:
            if line.strip() == "cancel":
                break
        self.cancelled.set()
        if not self.finished.wait(GRACE_S):
            # The reader may be gone (its end of the pipe closed): nobody to tell then.
            try:
                self._events.write("failed", code=Cancelled.exit_code, message="Cancelled.", details="")
            except OSError:
                pass
            os._exit(Cancelled.exit_code)


def make_observer(events: EventWriter, watch: CancelWatch) -> Any:
    """An observer that writes events and stops the job when the watch says so."""
    from confuda.pipeline import Observer

    class EventObserver(Observer):
        def started(self, device: str, total: int) -> None:
            events.write("started", device=device, total=total)

        def progress(
            self,
            stage: str,
            step: int,
            total: int,
            eta_s: Optional[float],
            losses: Optional[Dict[str, float]] = None,
        ) -> None:
            # JSON knows no NaN: a loss that is none is left out, and acceptance deals with it.
            finite = {name: value for name, value in (losses or {}).items() if abs(value) < float("inf")}
            events.write("progress", stage=stage, step=step, total=total, eta_s=eta_s, losses=finite)

        def preview(self, path: Path) -> None:
            events.write("preview", path=str(path))

        def warning(self, message: str) -> None:
            events.write("warning", message=message)

        def check_cancelled(self) -> None:
            if watch.cancelled.is_set():
                raise Cancelled("Cancelled.")

    return EventObserver()


def serve(stdin: TextIO, stdout: TextIO) -> int:
    """Do the job that ``stdin`` gives; returns the exit code."""
    events = EventWriter(stdout)
    line = stdin.readline(LARGEST_JOB_CHARACTERS + 1)
    watch = CancelWatch(stdin, events)
    try:
        if not line.strip():
            raise Cancelled("Cancelled.")
        if len(line) > LARGEST_JOB_CHARACTERS:
            raise UsageError("The job is too long.")
        watch.start()
        job = parse_job(line)
        from confuda.pipeline import run_job

        summary = run_job(job, make_observer(events, watch))
        watch.finished.set()
        events.write("finished", path=summary["output"], summary=summary)
        return 0
    except ConfudaError as error:
        watch.finished.set()
        events.write("failed", code=error.exit_code, message=str(error), details="")
        return error.exit_code
    except BrokenPipeError:
        return Cancelled.exit_code
    except Exception as error:
        watch.finished.set()
        details = "".join(traceback.format_exception(type(error), error, error.__traceback__)[-6:])
        events.write(
            "failed",
            code=1,
            message=f"An unexpected error ({type(error).__name__}): please report it.",
            details=details,
        )
        return 1


def main() -> int:
    stdin = open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False)
    stdout = open(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    # Anything that a library prints to stdout must not mix with the events.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return serve(stdin, stdout)


if __name__ == "__main__":
    code = main()
    # A thread may still wait on stdin: interpreter shutdown must not wait for it.
    sys.stderr.flush()
    os._exit(code)
