"""Real runs of the command line and of the worker for the cases: started, disturbed, and looked at afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

import SimpleITK as sitk
from Testing.toy_bundle import make_heart, share_toy_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "ConFUDASegment"
PATIENCE_S = 600
"""For what must end at some time; a busy machine may take long to start a process."""

PAUSED = "PAUSED"
"""Written to stderr by :mod:`Testing.torture.injected` when the program has come to the stage that it is to stay in."""


class Place:
    """A folder with a volume, a folder for outputs with an earlier output in it, and a temporary folder of its own."""

    def __init__(self, folder: Path, ending: str = ".seg.nrrd") -> None:
        self.folder = folder
        self.volume = folder / "volume.nrrd"
        self.outputs = folder / "outputs"
        self.temporary = folder / "temporary"
        self.output = self.outputs / f"out{ending}"
        self.outputs.mkdir()
        self.temporary.mkdir()
        sitk.WriteImage(make_heart()[0], str(self.volume))
        self.earlier = b"an earlier output"
        self.output.write_bytes(self.earlier)

    def describe_job(self, **fields: Any) -> Dict[str, Any]:
        job = {"volume": str(self.volume), "output": str(self.output), "bundle": str(share_toy_bundle())}
        return {**job, "device": "cpu", "settings": {"steps": 2, "strength": 1.0}, **fields}

    def list_arguments(self, *more: str, steps: int = 2) -> List[str]:
        fixed = ["adapt", str(self.volume), "-o", str(self.output), "--bundle", str(share_toy_bundle())]
        return [*fixed, "--device", "cpu", "--set", f"steps={steps}", "--set", "strength=1", *more]

    def check_untouched(self) -> None:
        """The earlier output is there byte for byte, and nothing else is, here or in the temporary folder."""
        assert self.output.read_bytes() == self.earlier, "the earlier output was changed"
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        left = sorted(path.name for path in self.outputs.iterdir() if path != self.output)
        assert not left, f"left beside the output: {', '.join(left)}"
        left = sorted(path.name for path in self.temporary.iterdir())
        assert not left, f"left in the temporary folder: {', '.join(left)}"

    def check_written(self) -> None:
        """A complete new output, and nothing else."""
        size = sitk.ReadImage(str(self.volume)).GetSize()
        assert sitk.ReadImage(str(self.output)).GetSize() == size, "the output is not on the volume's grid"
        self.check_nothing_left()


class Run:
    """One process in a session of its own, in a place. What it says goes to files, to be read at any time."""

    def __init__(
        self,
        place: Place,
        command: List[str],
        environment: Optional[Dict[str, str]] = None,
        answer: Optional[int] = None,
    ) -> None:
        """answer: a descriptor for stdout instead of the file."""
        self.place = place
        self._log = place.folder / f"stderr-{time.monotonic_ns()}.txt"
        self._answer = self._log.with_suffix(".out")
        # torch sets the first by itself, in this process too: it must not hide from a run what torch does there.
        inherited = {key: text for key, text in os.environ.items() if key not in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR")}
        paths = os.pathsep.join([str(PACKAGE), str(REPOSITORY)])
        own = {
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(place.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with open(self._log, "wb") as log, open(self._answer, "wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=place.folder,
                env={**inherited, **own, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=file if answer is None else answer,
                stderr=log,
                encoding="utf-8",
                start_new_session=True,
            )

    @property
    def errors(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def answer(self) -> str:
        return self._answer.read_text(encoding="utf-8", errors="replace")

    def send(self, line: Any) -> None:
        self.process.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.process.stdin.flush()

    def wait_for(self, text: str, where: str = "errors") -> None:
        """Until ``text`` is on stderr, or on stdout (``where="answer"``)."""
        limit = time.monotonic() + PATIENCE_S
        while text not in getattr(self, where):
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode} before {text}: {self.errors[-300:]}"
            )
            assert time.monotonic() < limit, f"{text} did not come"
            time.sleep(0.02)

    def wait_until_paused(self) -> None:
        self.wait_for(PAUSED)

    def finish(self, patience_s: float = PATIENCE_S) -> int:
        """The exit code; nothing of the run is alive afterwards, or that is the finding."""
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"it was still running after {patience_s:.0f} s") from None
        finally:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        strays = list(find_session(self.process.pid))
        assert not strays, f"processes left: {strays}"
        assert "Traceback" not in self.errors, f"a traceback: {self.errors[-500:]}"
        return self.process.returncode

    def read_events(self) -> List[Dict[str, Any]]:
        return [json.loads(line) for line in self.answer.splitlines()]


def start_worker(place: Place, fault: str = "none", **fields: Any) -> Run:
    """A worker with its job."""
    run = Run(place, [sys.executable, "-m", "Testing.torture.injected", fault, "worker"])
    run.send(place.describe_job(**fields))
    return run


def start_command(
    place: Place, arguments: Iterable[str], fault: str = "none", environment: Optional[Dict[str, str]] = None
) -> Run:
    """The command line."""
    command = [sys.executable, "-m", "Testing.torture.injected", fault, "confuda", *arguments]
    return Run(place, command, environment)


def find_session(leader: int) -> Iterable[int]:
    """Processes of the session that ``leader`` began (Linux; nothing is found elsewhere), without zombies."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            yield int(entry.name)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
