"""Threads of the processor: how they wait for each other, and how many are used. Loads torch only to set them."""

import os
from typing import MutableMapping, Optional

from confuda.errors import UsageError

MOST_THREADS = 4096
"""More than any machine has: what a number that is asked for is checked against."""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables that say how OpenMP's threads wait, in GNU's library (Linux) and in Intel's and LLVM's (the others)."""


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait; nothing is changed where the user has set any of ``WAITING``.

    By default they keep asking, which saves microseconds on an idle machine. Where other programs want the same cores,
    as Slicer's own window does, each takes the other's time: a run then took five times as long as with sleeping
    threads (docs/speed.md). The libraries read these variables when torch is loaded, and never again.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        environment["KMP_BLOCKTIME"] = "0"


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(number: Optional[int] = None) -> None:
    """Let torch and SimpleITK compute with so many threads.

    number: None for the default: a user's own OMP_NUM_THREADS, else all cores, less one for other programs where there
    are more than two.

    Raises:
        UsageError: if it is less than 1.
    """
    if number is not None and not 1 <= number <= MOST_THREADS:
        raise UsageError(f"threads must lie between 1 and {MOST_THREADS}.")
    import SimpleITK as sitk
    import torch

    if number is None:
        if os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip().isdecimal():
            return
        # torch counts a core once, even where it runs two threads at a time.
        cores = min(count_cores(), torch.get_num_threads())
        number = cores - 1 if cores > 2 else cores
    torch.set_num_threads(number)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
