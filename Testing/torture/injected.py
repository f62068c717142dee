"""``python -m Testing.torture.injected FAULT worker|confuda ARGUMENTS``: the real program with one thing gone wrong.

Each fault is put in before the program starts and lives in this process alone.
"""

import os
import sys
import time
from importlib import import_module
from typing import Any, Callable, Dict

from Testing.torture import seal
from Testing.torture.runs import PAUSED

_STAGES = {
    "load": ("confuda.app.run", "read_volume"),
    "find": ("confuda.segmenter", "find_heart"),
    "adapt": ("confuda.segmenter", "adapt"),
    "predict": ("confuda.segmenter", "judge_adaptation"),
}


def _pause() -> None:
    print(PAUSED, file=sys.stderr, flush=True)
    while True:
        time.sleep(0.05)


def stay_in(stage: str) -> None:
    """The stage never ends and never asks whether it was cancelled; in "write", half of the file is written by then."""
    if stage != "write":
        module, function = _STAGES[stage]
        setattr(import_module(module), function, lambda *arguments, **named: _pause())
        return
    import SimpleITK as sitk

    write = sitk.WriteImage

    def write_half(image: Any, path: str, **named: Any) -> None:
        write(image, path, **named)
        os.truncate(path, os.path.getsize(path) // 2)
        _pause()

    sitk.WriteImage = write_half


def limit_memory(megabytes: str) -> None:
    """Address space for so many MB more than the program has when its job begins."""
    import resource

    from confuda.app.job import Job

    check = Job.check

    def check_and_limit(job: Any) -> None:
        check(job)
        with open("/proc/self/statm", encoding="utf-8") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        limit = now + int(megabytes) * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    Job.check = check_and_limit


def limit_files(size: str) -> None:
    """No file may grow beyond so many bytes, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


def jump_clock(seed: str) -> None:
    """The wall clock jumps by up to years, mostly backwards, at every look at it; the monotonic clock goes on."""
    import random

    draw = random.Random(int(seed))
    now = time.time

    def jumping() -> float:
        return now() + draw.choice((-1e8, -4000.0, -1.0, 0.0, 60.0, 1e8))

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


FAULTS: Dict[str, Callable[[str], None]] = {
    "stay": stay_in,
    "memory": limit_memory,
    "files": limit_files,
    "clock": jump_clock,
    "seal": seal.close_network,
    "watch": seal.write_down_deeds,
    "none": lambda _: None,
}


def main() -> int:
    fault, program, *arguments = sys.argv[1:]
    name, _, value = fault.partition(":")
    FAULTS[name](value)
    if program == "worker":
        from confuda.app import worker

        code = worker.main()
        sys.stderr.flush()
        os._exit(code)
    from confuda.app import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
