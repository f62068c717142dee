"""What a command prints, and what it prints to: a terminal, a file, a pipe closed early, a full disk, or nothing."""

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, Optional

from confuda.privacy import hide_paths

LINE_EVERY_S, LOOK_EVERY_S = 10.0, 1.0
_LONGEST_REASON = 200


class TolerantStream:
    """A text stream whose first error is kept in ``error``, after which everything written to it is dropped: nothing
    that is printed is worth the work that it tells about."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: Optional[OSError] = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, do: Any, *arguments: Any) -> None:
        if self.error is not None:
            return
        try:
            do(*arguments)
        except OSError as error:
            self.error = error
            # What the stream still holds is written when the program ends: into nothing, then, without an error.
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), self._stream.fileno())


@contextmanager
def tolerant_streams() -> Iterator[TolerantStream]:
    """Make stdout and stderr tolerant as long as a command runs; gives stdout's, to ask for its error at the end."""
    fill_closed_descriptors()
    former = sys.stdout, sys.stderr
    for stream in former:
        # A console may not know all letters of a name; that is no reason to fail when the work is done.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = TolerantStream(sys.stdout), TolerantStream(sys.stderr)  # type: ignore[assignment]
    try:
        yield sys.stdout  # type: ignore[misc]
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = former


def fill_closed_descriptors() -> None:
    """Where a program is started with a closed stdin, stdout or stderr, the next file that it opens gets that number,
    and with it all that libraries print there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))


def make_printable(text: str) -> str:
    """One line, without the line ends and terminal commands that a file's name may bring along."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe_unexpected(error: BaseException, paths: Iterable[object] = ()) -> str:
    """What an error that nobody foresaw says, and what helps where that is known; without any path, of which ``paths``
    may occur."""
    lines = hide_paths(str(error), paths).splitlines()
    reason = make_printable(lines[0])[:_LONGEST_REASON] if lines else ""
    text = f"An unexpected error ({type(error).__name__}{': ' if reason else ''}{reason})"
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"{text}; install what is missing with 'pip install {package}'" if package else text


class ProgressLine:
    """Progress on stderr: on a terminal one line that renews itself; elsewhere a line every ten seconds, and one as
    soon as it is known how long the job will take."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._text = ""
        self._shown = 0
        self._left_s: Optional[float] = None
        self._told_at = self._printed_at = float("-inf")
        self._ended = threading.Event()

    def show(
        self, stage: str, step: int, total: int, left_s: Optional[float], losses: Optional[Dict[str, float]]
    ) -> None:
        """See :meth:`confuda.segmenter.Observer.progress`."""
        with self._lock:
            begins = not self._text
            estimated = self._left_s is None and left_s is not None
            self._text = f"{stage} {step}/{total}" if total > 1 else stage
            if losses:
                self._text += f", loss {losses['total']:.3f}"
            self._left_s, self._told_at = left_s, time.monotonic()
            if self._live or begins or estimated:
                self._print()
        if begins:
            threading.Thread(target=self._repeat, daemon=True).start()

    def finish(self) -> None:
        """Nothing follows but other output."""
        with self._lock:
            self._ended.set()
            if self._live and self._text:
                sys.stderr.write("\n")
            self._text = ""
            sys.stderr.flush()

    def interrupt(self, message: str) -> None:
        """Print a line of its own."""
        with self._lock:
            sys.stderr.write(self._overwrite(message) + "\n" if self._live else f"{message}\n")
            self._shown = 0
            sys.stderr.flush()

    def _repeat(self) -> None:
        """A step may take minutes on a slow machine, and a stage tell nothing in between."""
        while not self._ended.wait(LOOK_EVERY_S):
            with self._lock:
                if self._text and not self._ended.is_set():
                    if self._live or time.monotonic() - self._printed_at >= LINE_EVERY_S:
                        self._print()

    def _print(self) -> None:
        text, now = self._text, time.monotonic()
        if self._left_s is not None:
            text += f", {describe_time(max(self._left_s - (now - self._told_at), 0.0))} left"
        sys.stderr.write(self._overwrite(text) if self._live else f"{text}\n")
        sys.stderr.flush()
        self._shown, self._printed_at = len(text), now

    def _overwrite(self, text: str) -> str:
        """``text`` over what the line shows; with blanks, since older consoles print a terminal's commands."""
        return "\r" + text.ljust(self._shown)


def describe_time(seconds: float) -> str:
    """A time as a reader takes it in: seconds below two minutes, then minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def report_line(line: str) -> None:
    """Tell one line on stderr, where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)
