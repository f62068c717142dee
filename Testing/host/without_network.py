"""pip where there is no way to the internet: pip itself, with an address at which nobody answers."""

import os
import subprocess
import sys
from typing import Any, Callable, Dict, List

WAYS: Dict[str, List[str]] = {
    "no network": ["--index-url", "http://127.0.0.1:9/simple"],
    "proxy": ["--index-url", "https://pypi.invalid/simple", "--proxy", "http://127.0.0.1:9"],
}


def makeInstaller(way: str) -> Callable[..., Any]:
    """What `slicer.util.pip_install` does then: each line of pip is printed, and the error holds none of them."""

    def install(*_requirement: str) -> None:
        command = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "--retries", "1", "--timeout", "3"]
        answer = subprocess.run(
            [*command, "--no-deps", *WAYS[way], "confuda-no-such-package"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
        )
        print(answer.stdout)
        raise subprocess.CalledProcessError(answer.returncode, command)

    return install
