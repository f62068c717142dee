"""The errors a user can meet: each carries one clear sentence and its exit code (docs/command-line.md)."""

import errno
from contextlib import contextmanager
from typing import Iterator, Optional

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA, by torch or by the driver
    "can't allocate memory",  # torch on Linux and macOS
    "not enough memory",  # torch on Windows
    "cannot allocate memory",  # the C library, also where a program's library is to be loaded
    "failed to allocate memory",  # ITK
    "failed to map segment",  # the loader of shared libraries
    "bad_alloc",  # C++
    "alloc_failed",  # cuBLAS and cuDNN
    "could not create a primitive",  # oneDNN, which gives no reason; for layers as plain as ours there is no other
    "could not execute a primitive",
    "could not create a memory",
    "can't start new thread",  # no room for its stack
)


class ConfudaError(Exception):
    """Base of all errors that are told to the user as one sentence, without a traceback."""

    exit_code = 1


class UsageError(ConfudaError):
    """A wrong option or argument."""

    exit_code = 2


class InputError(ConfudaError):
    """A volume or label file that cannot be used, or a place that cannot be written to."""

    exit_code = 3


class BundleError(ConfudaError):
    """A bundle that is missing, damaged, foreign or of a newer format."""

    exit_code = 4


class MemoryExhausted(ConfudaError):
    """The work does not fit into memory, even in its smallest portions."""

    exit_code = 5


def is_out_of_memory(error: Optional[BaseException]) -> bool:
    """Whether ``error``, or what it was raised from, says that memory ran out.

    Each library says it in its own way: Python by a class, torch, ITK and the loader by a RuntimeError or an
    ImportError whose text differs by system.
    """
    if error is None:
        return False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, (RuntimeError, ImportError, OSError)):
        text = str(error).lower()
        if any(known in text for known in _OUT_OF_MEMORY_TEXTS):
            return True
    return is_out_of_memory(error.__cause__)


@contextmanager
def explain_memory_errors() -> Iterator[None]:
    """Whatever tells that memory ran out leaves as :class:`MemoryExhausted`: a reader's "the file is damaged", say,
    may have been memory that ran out while it was read."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryExhausted("Not enough memory, even for small portions: close other programs.") from error
        raise


class Cancelled(ConfudaError):
    """The user asked to stop."""

    exit_code = 130
