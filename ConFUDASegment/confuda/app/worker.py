"""What Slicer starts: ``python -m confuda.app.worker`` does one job and tells about it in JSON lines.

stdin: the first line is the job (the fields of ``confuda.app.job.Job``); a later line ``cancel``, the end of stdin,
SIGTERM, SIGINT or SIGHUP ends the worker within two seconds. stdout: events ``started``, ``progress``, ``preview``,
``warning``, ``finished``, ``failed``.
"""

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Dict, Optional, TextIO

from confuda.app.job import Job, parse_job
from confuda.app.terminal import describe_unexpected, fill_closed_descriptors
from confuda.errors import Cancelled, ConfudaError, MemoryExhausted, UsageError, is_out_of_memory
from confuda.io.atomic import remove_own_drafts
from confuda.privacy import hide_paths, keep_torch_from_making_folders
from confuda.threads import let_threads_sleep, use_threads

GRACE_S = 1.5
"""A job that has not noticed a cancel after this long is ended without asking."""

LARGEST_JOB_CHARACTERS = 1_000_000


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


class CancelWatch(threading.Thread):
    """Waits for ``cancel`` or the end of stdin; then ends the process even where the job is deep in a library call."""

    def __init__(self, stream: TextIO, events: EventWriter) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._events = events
        self.cancelled = threading.Event()
        self.finished = threading.Event()

    def run(self) -> None:
        # In pieces, so that a line without an end takes no memory.
        for line in iter(lambda: self._stream.readline(1000), ""):
            if line.strip() == "cancel":
                break
        self.cancel()

    def cancel(self) -> None:
        """Ask the job to stop, and end the process if it has not after ``GRACE_S``."""
        self.cancelled.set()
        if self.finished.wait(GRACE_S):
            return
        remove_own_drafts()
        # Whoever has stopped reading, with the pipe full, would keep us here: no longer than a moment then.
        telling = threading.Thread(
            target=tell_failure, args=(self._events, Cancelled.exit_code, "Cancelled."), daemon=True
        )
        telling.start()
        telling.join(0.3)
        os._exit(Cancelled.exit_code)

    def catch_signals(self) -> None:
        """Let SIGTERM, SIGINT and SIGHUP count as a cancel; the handler returns at once, for it runs in the job's
        thread."""

        def start(number: int, frame: Any) -> None:
            threading.Thread(target=self.cancel, daemon=True).start()

        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):  # Windows knows no hang-up.
                signal.signal(getattr(signal, name), start)


def tell_failure(events: EventWriter, code: int, message: str, details: str = "") -> None:
    """The last event of a job that failed. The reader may be gone (its end of the pipe closed): nobody to tell then."""
    try:
        events.write("failed", code=code, message=message, details=details)
    except OSError:
        pass


def make_observer(events: EventWriter, watch: CancelWatch) -> Any:
    """An observer that writes events and stops the job when the watch says so."""
    from confuda.app.run import JobObserver

    class EventObserver(JobObserver):
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


def serve(stdin: TextIO, stdout: TextIO, catch_signals: bool = False) -> int:
    """Do the job that ``stdin`` gives; returns the exit code."""
    events = EventWriter(stdout)
    line = stdin.readline(LARGEST_JOB_CHARACTERS + 1)
    watch = CancelWatch(stdin, events)
    job: Optional[Job] = None
    try:
        if not line.strip():
            raise Cancelled("Cancelled.")
        if len(line) > LARGEST_JOB_CHARACTERS:
            raise UsageError("The job is too long.")
        watch.start()
        if catch_signals:
            watch.catch_signals()
        job = parse_job(line)
        from confuda.app.run import run_job

        use_threads(job.threads)
        summary = run_job(job, make_observer(events, watch))
        watch.finished.set()
        asked_for = summary["uncertainty"] or {"path": None}
        events.write("finished", path=summary["output"], uncertainty=asked_for["path"], summary=summary)
        return 0
    except ConfudaError as error:
        watch.finished.set()
        tell_failure(events, error.exit_code, str(error))
        return error.exit_code
    except BrokenPipeError:
        return Cancelled.exit_code
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent is told)
        watch.finished.set()
        if is_out_of_memory(error):
            # Not even torch could be loaded, or a thread be started.
            tell_failure(events, MemoryExhausted.exit_code, "Not enough memory: close other programs.")
            return MemoryExhausted.exit_code
        known = job.list_paths() if job is not None else ()
        said = hide_paths(str(error), known)
        details = "".join(traceback.format_tb(error.__traceback__)[-6:]) + f"{type(error).__name__}: {said}"
        tell_failure(events, 1, f"{describe_unexpected(error, known)}: please report it.", details)
        return 1


def _take_stdin() -> TextIO:
    """The pipe from the parent, under another number than 0, which is empty from now on.

    On Windows a pipe serves one call at a time. The watch waits for a word in it all the while, and a library that
    looks at stdin as it is loaded would wait for that word as well: numpy's OpenBLAS does (numpy/numpy#24290), so that
    no job would ever begin.
    """
    stdin = open(os.dup(sys.stdin.fileno()), encoding="utf-8", errors="replace")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    return stdin


def main() -> int:
    fill_closed_descriptors()
    let_threads_sleep()
    keep_torch_from_making_folders()
    stdin = _take_stdin()
    stdout = open(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    # Anything that a library prints to stdout must not mix with the events.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return serve(stdin, stdout, catch_signals=True)


if __name__ == "__main__":
    code = main()
    # A thread may still wait on stdin: interpreter shutdown must not wait for it.
    sys.stderr.flush()
    os._exit(code)
