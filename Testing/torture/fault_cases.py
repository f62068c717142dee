"""Faults while running: whatever happens, the earlier output is intact and nothing is left lying about."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple
from unittest import mock

from Testing.torture.case import Case
from Testing.torture.runs import CANCEL_S, PATIENCE_S, Place, Run, is_alive, start_command, start_worker
from Testing.toy_bundle import share_toy_bundle

STAGES = ("load", "find", "adapt", "predict", "write")
UNTOUCHED = "earlier output intact, no half file, no process, no temporary folder"


# --- Cancel ---


def _cancel_worker(stage: str, how: str, folder: Path) -> str:
    place = Place(folder)
    run = start_worker(place, f"stay:{stage}")
    run.wait_until_paused()
    began = time.monotonic()
    if how == "cancel":
        run.send("cancel")
    elif how == "end of stdin":
        run.process.stdin.close()
    else:
        run.process.send_signal(getattr(signal, how))
    code = run.finish()
    seconds = time.monotonic() - began
    assert code == 130, f"code {code}"
    last = run.read_events()[-1]
    assert last["event"] == "failed" and last["code"] == 130, f"the last event was {last}"
    assert seconds < 10 * CANCEL_S, f"it took {seconds:.1f} s"
    place.check_untouched()
    return f"code 130 after {seconds:.1f} s, {UNTOUCHED}"


def _cancel_listening_worker(folder: Path) -> str:
    place = Place(folder)
    run = start_worker(place, settings={"steps": 100000})
    run.wait_for('"adapt"', "answer")
    run.send("cancel")
    assert run.finish() == 130
    place.check_untouched()
    return f"code 130, {UNTOUCHED}"


def _cancel_command(stage: str, how: str, folder: Path) -> str:
    place = Place(folder)
    run = start_command(place, place.list_arguments(), f"stay:{stage}")
    run.wait_until_paused()
    run.process.send_signal(getattr(signal, how))
    code = run.finish()
    assert code == 130, f"code {code}"
    said = run.errors.strip().splitlines()[-1]
    assert said == "confuda: Cancelled.", f"it said {said}"
    place.check_untouched()
    return f"code 130, {UNTOUCHED}"


def _cancel_swallowed(folder: Path) -> str:
    """A signal that comes while some library's ``except Exception`` or ``__del__`` is at work must not get lost."""
    from confuda.app import cli
    from confuda.app.pipeline import read_volume

    place = Place(folder)

    def interrupt_and_swallow(*arguments: Any, **named: Any) -> Any:
        with contextlib.suppress(Exception):
            signal.raise_signal(signal.SIGTERM)
        return read_volume(*arguments, **named)

    with mock.patch("confuda.app.pipeline.read_volume", interrupt_and_swallow):
        _, code = _listen(lambda: cli.main(place.list_arguments()))
    assert code == 130, f"code {code}"
    place.check_untouched()
    return f"code 130, {UNTOUCHED}"


# --- Killed ---


def _kill(stage: str, program: str, folder: Path) -> str:
    place = Place(folder)
    if program == "worker":
        run = start_worker(place, f"stay:{stage}")
    else:
        run = start_command(place, place.list_arguments(), f"stay:{stage}")
    run.wait_until_paused()
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.finish() == -9
    left = [path.name for path in place.outputs.iterdir() if path != place.output]
    assert place.output.read_bytes() == place.earlier, "the earlier output was changed"
    assert all(name.startswith(".confuda-") for name in left), f"left: {left}"
    assert not list(place.temporary.iterdir()), "a temporary folder was left"
    again = start_command(place, place.list_arguments("--method", "none"))
    assert again.finish() == 0, again.errors[-300:]
    place.check_written()
    return f"earlier output intact, {len(left)} hidden draft left; gone after the next run"


def _kill_parent(folder: Path) -> str:
    """Slicer dies: the worker hears the end of its stdin."""
    place = Place(folder)
    program = (
        "import json, sys, time\n"
        "from ConFUDASegmentLib.worker import WorkerProcess\n"
        "import os\n"
        "command = [sys.executable, '-m', 'Testing.torture.injected', 'stay:adapt', 'worker']\n"
        "process = WorkerProcess(command, dict(os.environ), json.loads(sys.argv[1]))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "while not any('PAUSED' in line for line in process.noise()): time.sleep(0.02)\n"
        "print('PAUSED', file=sys.stderr, flush=True)\n"
        "time.sleep(1000)\n"
    )
    run = Run(place, [sys.executable, "-c", program, json.dumps(place.describe_job())])
    run.wait_until_paused()
    worker = int(run.answer.split()[0])
    os.kill(run.process.pid, signal.SIGKILL)
    began = time.monotonic()
    while is_alive(worker):
        if time.monotonic() - began > 10 * CANCEL_S:
            os.kill(worker, signal.SIGKILL)
            raise AssertionError("the worker lives on")
        time.sleep(0.05)
    seconds = time.monotonic() - began
    run.finish()
    place.check_untouched()
    return f"the worker ended {seconds:.1f} s after its parent, {UNTOUCHED}"


def _stop_reading(folder: Path) -> str:
    """A parent that lives but reads no more, with the pipe full, and then cancels."""
    place = Place(folder)
    reader, writer = os.pipe()
    program = (
        "import sys, threading\n"
        "from confuda.app import worker\n"
        "class Flood(worker.EventWriter):\n"
        "    def write(self, event, **fields):\n"
        "        super().write(event, **fields)\n"
        "        if event == 'progress':\n"
        "            print('PAUSED', file=sys.stderr, flush=True)\n"
        "            while True: super().write('warning', message='x' * 10000)\n"
        "worker.EventWriter = Flood\n"
        "import os; os._exit(worker.main())\n"
    )
    run = Run(place, [sys.executable, "-c", program], answer=writer)
    os.close(writer)
    try:
        run.send(place.describe_job())
        run.wait_until_paused()
        time.sleep(0.5)
        run.send("cancel")
        assert run.finish(60) == 130
    finally:
        os.close(reader)
    place.check_untouched()
    return f"code 130, {UNTOUCHED}"


# --- Memory ---


def _short_of_memory(megabytes: int, settings: Any, done: bool, folder: Path) -> str:
    place = Place(folder)
    run = start_command(place, place.list_arguments("--json", *settings), f"memory:{megabytes}", GLIBC_GIVES_BACK)
    code = run.finish()
    if done:
        assert code == 0, f"code {code}: {run.errors[-300:]}"
        warnings = json.loads(run.answer)["warnings"]
        assert any("Memory was short" in warning for warning in warnings), f"warnings {warnings}"
        place.check_written()
        return "code 0, a warning: " + next(warning for warning in warnings if "Memory was short" in warning)
    assert code == 5, f"code {code}: {run.errors[-300:]}"
    place.check_untouched()
    return f"code 5, '{run.errors.strip().splitlines()[-1]}', {UNTOUCHED}"


@contextlib.contextmanager
def _small_gpu(batch: int, cpu_batch: int = 10**6) -> Iterator[None]:
    """A GPU that holds no more than ``batch`` images in one go, and a CPU that holds ``cpu_batch``.

    It is the CPU under its other name, "cpu:0", which torch tells from "cpu"; what it raises is torch's own error.
    """
    import torch

    from confuda import device
    from confuda.adaptation import loop as adapt
    from confuda.app import pipeline
    from confuda.networks.drunet import DRUNet

    gpu = torch.device("cpu:0")
    most = [cpu_batch]
    choose, encode = device.choose_device, DRUNet.encode

    def choose_small_gpu(name: str) -> Tuple[torch.device, str]:
        most[0] = cpu_batch if name == "cpu" else batch
        return choose("cpu") if name == "cpu" else (gpu, "")

    def encode_or_fail(self: DRUNet, images: torch.Tensor) -> List[torch.Tensor]:
        if len(images) > most[0]:
            if most[0] == batch:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return encode(self, images)

    with (
        mock.patch.object(pipeline, "choose_device", choose_small_gpu),
        mock.patch.object(DRUNet, "encode", encode_or_fail),
        mock.patch.object(adapt, "CPU", torch.device("cpu")),
    ):
        yield


def _run_here(place: Place, **fields: Any) -> Tuple[dict, List[str]]:
    from confuda.app.pipeline import Job, Observer, run_job

    class Listener(Observer):
        warnings: List[str] = []

        def warning(self, message: str) -> None:
            self.warnings.append(message)

    listener = Listener()
    listener.warnings = []
    job = Job(place.volume, place.output, bundle=share_toy_bundle(), settings={"steps": 2}, **fields)
    return run_job(job, listener), listener.warnings


def _predict_in_halves(folder: Path) -> str:
    place = Place(folder, ".nrrd")
    _run_here(place, method="none")
    whole = place.output.read_bytes()
    with _small_gpu(1):
        summary, warnings = _run_here(place, method="none")
    assert summary["device"] == "cpu:0" and not warnings, f"{summary['device']}, {warnings}"
    assert place.output.read_bytes() == whole, "the labels differ"
    return "the same labels byte for byte, on the GPU, one slice at a time"


def _adapt_in_halves(folder: Path) -> str:
    place = Place(folder)
    with _small_gpu(4):  # a step looks at 2 sources, 2 stylised, 2 targets, 2 copies
        summary, warnings = _run_here(place)
    assert summary["device"] == "cpu:0" and summary["steps"] == 2
    assert any("1 source and 1 target images" in warning for warning in warnings), f"{warnings}"
    assert summary["warnings"] == warnings
    place.check_written()
    return f"done on the GPU, with a warning: {warnings[0]}"


def _fall_back_to_cpu(folder: Path) -> str:
    place = Place(folder, ".nrrd")
    _run_here(place, device="cpu")
    plain = place.output.read_bytes()
    with _small_gpu(0):
        summary, warnings = _run_here(place, device="auto")
    assert summary["device"] == "cpu" and any("CPU is used" in warning for warning in warnings), f"{warnings}"
    assert place.output.read_bytes() == plain, "other labels than of the CPU alone"
    return "done on the CPU with a warning, the labels of a CPU run byte for byte"


def _nowhere_memory(folder: Path) -> str:
    from confuda.errors import MemoryExhausted

    place = Place(folder)
    try:
        with _small_gpu(0, cpu_batch=0):
            _run_here(place)
    except MemoryExhausted as error:
        assert error.exit_code == 5
        place.check_untouched()
        return f"code 5, '{error}', {UNTOUCHED}"
    raise AssertionError("it went on")


def _true_gpu_memory(folder: Path) -> str:
    import torch

    if not torch.cuda.is_available():
        return "not tried: no GPU here"
    place = Place(folder)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0005)
    try:
        summary, warnings = _run_here(place, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    place.check_written()
    return f"done on {summary['device']}, warnings: {'; '.join(warnings) or 'none'}"


# --- Disk ---


@contextlib.contextmanager
def _full_disk(folder: Path, megabytes: int = 1) -> Iterator[Optional[Callable[[], None]]]:
    """Mount a small file system over ``folder`` (empty) and give a function that fills it; None where one may not."""
    mounted = sys.platform.startswith("linux") and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True
        ).returncode
        == 0
    )

    def fill() -> None:
        with open(folder / "filler", "wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096):
                    pass
            except OSError:
                pass

    try:
        yield fill if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill_disk(ending: str, folder: Path) -> str:
    place = Place(folder, ending)
    full = folder / "full"
    full.mkdir()
    with _full_disk(full) as fill:
        fault = "none"
        if fill is None:
            fault = "files:500"
        else:
            shutil.copy(place.output, full / place.output.name)
            place.outputs, place.output = full, full / place.output.name
            fill()
        run = start_command(place, place.list_arguments(), fault)
        code = run.finish()
        assert code == 3, f"code {code}: {run.errors[-300:]}"
        (full / "filler").unlink(missing_ok=True)
        place.check_untouched()
    kind = "a full tmpfs" if fill is not None else "a limit on file sizes, no file system may be mounted here"
    return f"{kind}: code 3, '{_shorten(run.errors.strip().splitlines()[-1], folder)}', {UNTOUCHED}"


def _limit_file_size(folder: Path) -> str:
    place = Place(folder, ".nii")  # Not compressed, so larger than the limit.
    run = start_command(place, place.list_arguments(), "files:20000")
    code = run.finish()
    assert code == 3, f"code {code}: {run.errors[-300:]}"
    place.check_untouched()
    return f"code 3, '{_shorten(run.errors.strip().splitlines()[-1], folder)}', {UNTOUCHED}"


def _fill_disk_with_bundle(replace: bool, folder: Path) -> str:
    """The adapted bundle does not fit; an earlier one of the same name stays as it was."""
    place = Place(folder)
    bundle = place.folder / "kept" / "adapted"
    bundle.parent.mkdir()
    if replace:
        shutil.copytree(share_toy_bundle(), bundle)
    before = _read_all(bundle)
    run = start_command(place, place.list_arguments("--save-bundle", str(bundle)), "files:30000")
    code = run.finish()
    assert code == 3, f"code {code}: {run.errors[-300:]}"
    assert _read_all(bundle) == before, "the earlier bundle was changed"
    left = [path.name for path in bundle.parent.iterdir() if path != bundle]
    assert not left, f"left: {left}"
    place.check_untouched()
    return f"code 3, '{_shorten(run.errors.strip().splitlines()[-1], folder)}', {UNTOUCHED}"


def _fill_disk_with_preview(folder: Path) -> str:
    from confuda.app import pipeline

    place = Place(folder)
    with mock.patch.object(pipeline, "PREVIEW_EVERY_S", 0.0):
        summary, warnings = _run_here(place, preview_folder=folder / "no such folder")
    assert summary["steps"] == 2
    place.check_written()
    return "done: a preview that cannot be written does not stop the run"


def _read_all(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def _shorten(text: str, folder: Path) -> str:
    return text.replace(str(folder), "...")


# --- Bundles ---


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _take_of_another(path: Path) -> None:
    from confuda.bundle.format import SHIPPED_BUNDLE

    shutil.copy(SHIPPED_BUNDLE / path.name, path)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BUNDLE_DAMAGES = {
    "missing": _remove,
    "truncated": _truncate,
    "empty": _empty,
    "bit-flipped": _flip_bit,
    "of another bundle": _take_of_another,
    "a folder": _make_folder,
}


def _damage_bundle(name: str, damage: Callable[[Path], None], folder: Path) -> str:
    from confuda.app import cli

    bundle = shutil.copytree(share_toy_bundle(), folder / "bundle")
    damage(bundle / name)
    place = Place(folder)
    arguments = place.list_arguments()
    arguments[arguments.index("--bundle") + 1] = str(bundle)
    said, code = _listen(lambda: cli.main(arguments))
    if name == "bundle.json" and damage is _flip_bit and code == 0:
        return "loads: the flipped bit is in a text that decides nothing"
    assert code == 4, f"code {code}"
    place.check_untouched()
    return f"code 4, '{_shorten(said, folder)}'"


def _listen(call: Callable[[], int]) -> Tuple[str, int]:
    """The last line that ``call`` writes to stderr, and what it returns."""
    import io

    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        code = call()
    lines = errors.getvalue().strip().splitlines()
    return lines[-1] if lines else "", code


def _describe_differently(fields: dict, word: str, folder: Path) -> str:
    from confuda.bundle.format import load_bundle
    from confuda.errors import BundleError

    bundle = shutil.copytree(share_toy_bundle(), folder / "bundle")
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    try:
        load_bundle(bundle)
    except BundleError as error:
        assert word in str(error), f"it said: {error}"
        return f"code 4, '{_shorten(str(error), folder)}'"
    raise AssertionError("it was loaded")


# --- Two at once, and clocks ---


def _two_jobs(folder: Path) -> str:
    place = Place(folder)
    expected = []
    for seed in ("1", "2"):
        run = start_command(place, place.list_arguments("--seed", seed))
        assert run.finish() == 0, run.errors[-300:]
        expected.append(place.output.read_bytes())
    runs = [start_command(place, place.list_arguments("--seed", seed)) for seed in ("1", "2")]
    codes = [run.finish() for run in runs]
    assert codes == [0, 0], f"codes {codes}: {[run.errors[-200:] for run in runs]}"
    assert place.output.read_bytes() in expected, "the output is of neither job"
    place.check_written()
    return "both end with 0; the output is one of the two, whole; nothing else is left"


def _two_bundles(folder: Path) -> str:
    """Two jobs keep their adapted network under one name, where an earlier bundle lies."""
    from confuda.bundle.format import load_bundle

    place = Place(folder)
    bundle = folder / "kept" / "adapted"
    shutil.copytree(share_toy_bundle(), bundle)
    runs = [start_command(place, place.list_arguments("--save-bundle", str(bundle), "--seed", s)) for s in ("1", "2")]
    codes = [run.finish() for run in runs]
    assert codes == [0, 0], f"codes {codes}: {[run.errors[-200:] for run in runs]}"
    load_bundle(bundle)
    left = [path.name for path in bundle.parent.iterdir() if path != bundle]
    assert not left, f"left: {left}"
    place.check_written()
    return "both end with 0; one whole bundle, nothing else"


def _jump_clock(program: str, folder: Path) -> str:
    place = Place(folder, ".nrrd")
    run = start_command(place, place.list_arguments("--json"))
    assert run.finish() == 0, run.errors[-300:]
    plain = place.output.read_bytes()
    place.output.write_bytes(place.earlier)
    if program == "worker":
        run = start_worker(place, "clock:1")
        assert run.finish() == 0, run.errors[-300:]
        summary = run.read_events()[-1]["summary"]
        etas = [event["eta_s"] for event in run.read_events() if event.get("eta_s") is not None]
    else:
        run = start_command(place, place.list_arguments("--json"), "clock:1")
        assert run.finish() == 0, run.errors[-300:]
        summary, etas = json.loads(run.answer), []
    times = [*summary["seconds"].values(), *etas]
    assert all(0 <= value < PATIENCE_S for value in times), f"times {times}"
    assert place.output.read_bytes() == plain, "other labels"
    place.check_written()
    return "code 0, the same labels byte for byte, sensible times"


def _left_by_another(folder: Path) -> str:
    """Drafts that are being written by a live process, or came after the job had begun, stay."""
    from confuda.io.atomic import TargetFolder, name_draft

    outputs = folder / "outputs"
    outputs.mkdir()
    old, other = outputs / f"{name_draft()}.nrrd", outputs / ".confuda-notes.txt"
    old.write_bytes(b"half")
    other.write_bytes(b"mine")
    first, second = TargetFolder(outputs), TargetFolder(outputs)
    young = outputs / f"{name_draft()}.nrrd"
    young.write_bytes(b"being written")
    with first.hold():
        assert not old.exists() and young.exists() and other.exists()
        old.write_bytes(b"being written")
        third = TargetFolder(outputs)
        with second.hold(), third.hold():
            assert old.exists() and young.exists(), "a draft was removed while its writer held the folder"
    with third.hold():
        assert not old.exists() and not young.exists() and other.exists()
    return "removed where nobody writes, kept otherwise; other hidden files stay"


def _exchange_fails(folder: Path) -> str:
    """No atomic exchange of folders here, and the second of two renames fails."""
    from confuda.bundle import format as bundle
    from confuda.errors import InputError

    place = folder / "kept" / "adapted"
    shutil.copytree(share_toy_bundle(), place)
    before = _read_all(place)
    replace = os.replace

    def fail(source: Any, target: Any) -> None:
        if Path(target) == place and Path(source).name.startswith(".confuda-"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    with mock.patch.object(bundle, "_exchange", lambda one, other: False):
        with mock.patch.object(bundle.os, "replace", fail):
            try:
                bundle.save_bundle(bundle.load_bundle(place), place)
            except InputError as error:
                said = str(error)
            else:
                raise AssertionError("no error")
        assert _read_all(place) == before, "the earlier bundle is not as it was"
        bundle.save_bundle(bundle.load_bundle(place), place)
        bundle.load_bundle(place)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    return f"'{_shorten(said, folder)}', the earlier bundle intact"


# --- The list ---


def _list_cancels() -> List[Case]:
    cases = []
    for stage in STAGES:
        for how in ("cancel", "end of stdin", "SIGTERM", "SIGINT"):
            cases.append(
                Case(
                    "fault",
                    f"worker cancelled in {stage} by {how}",
                    f"{how} while the stage is deaf" + (", half of the file written" if stage == "write" else ""),
                    f"code 130 soon, {UNTOUCHED}",
                    partial(_cancel_worker, stage, how),
                    fast=(stage, how) == ("write", "end of stdin"),
                )
            )
        for how in ("SIGTERM", "SIGINT"):
            cases.append(
                Case(
                    "fault",
                    f"command cancelled in {stage} by {how}",
                    f"{how} in the middle of the stage",
                    f"code 130, one line, {UNTOUCHED}",
                    partial(_cancel_command, stage, how),
                    fast=(stage, how) == ("write", "SIGINT"),
                )
            )
    return cases


def _list_bundle_damages() -> List[Case]:
    cases = []
    for name in ("bundle.json", "segmenter.safetensors", "rain.safetensors", "source.safetensors"):
        for kind, damage in BUNDLE_DAMAGES.items():
            cases.append(
                Case(
                    "fault",
                    f"bundle: {name} {kind}",
                    f"adapt with a bundle whose {name} is {kind}",
                    "code 4, one sentence, earlier output intact",
                    partial(_damage_bundle, name, damage),
                    fast=True,
                )
            )
    descriptions = (
        ("of a newer format", {"format_version": 2}, "update ConFUDA"),
        ("of another program", {"format": "other"}, "ConFUDA bundle"),
        ("with a network of 60 GB", {"segmenter": {"width": 1024, "normalisation": "instance"}}, "does not fit"),
        ("with a RAIN of 1000 layers", {"rain": {"widths": [8] * 1000, "latent": 4}}, "out of range"),
        ("with sizes that are no list", {"rain": {"widths": 8, "latent": 4}}, "out of range"),
        ("with an unheard normalisation", {"segmenter": {"width": 4, "normalisation": []}}, "does not fit"),
        ("with half a letter", {"name": "\ud800"}, "JSON"),
    )
    for kind, fields, word in descriptions:
        cases.append(
            Case(
                "fault",
                f"bundle {kind}",
                f"bundle.json {kind}",
                "code 4, one sentence",
                partial(_describe_differently, fields, word),
                fast=True,
            )
        )
    return cases


GLIBC_GIVES_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""What is freed leaves the address space too, as it leaves the memory that the limit stands for."""

BIG_STEP = ("--set", "source_batch=128", "--set", "target_batch=128", "--set", "steps=1")
"""Needs about 0.9 GB of address space; a step of half as many images fits into 0.7 GB."""

CASES: List[Case] = [
    *_list_cancels(),
    Case(
        "fault",
        "worker cancelled while it listens",
        "cancel in the middle of adaptation",
        f"code 130, {UNTOUCHED}",
        _cancel_listening_worker,
    ),
    Case(
        "fault",
        "cancel swallowed by a library",
        "SIGTERM whose exception an 'except Exception' catches",
        f"code 130 at the next step all the same, {UNTOUCHED}",
        _cancel_swallowed,
        fast=True,
    ),
    *[
        Case(
            "fault",
            f"{program} killed in {stage}",
            "kill -9" + (" with half of the file written" if stage == "write" else ""),
            "earlier output intact; a hidden draft at most, which the next run removes",
            partial(_kill, stage, program),
            fast=(program, stage) == ("confuda", "write"),
        )
        for program in ("worker", "confuda")
        for stage in ("adapt", "write")
    ],
    Case(
        "fault",
        "parent killed",
        "kill -9 of the process that started the worker",
        f"the worker ends soon, {UNTOUCHED}",
        _kill_parent,
    ),
    Case(
        "fault",
        "parent stops reading",
        "the pipe of events full, then cancel",
        f"code 130, {UNTOUCHED}",
        _stop_reading,
    ),
    Case(
        "fault",
        "draft left by a killed process",
        "drafts of dead and of living writers in one folder",
        "only the dead one's is removed",
        _left_by_another,
        fast=True,
    ),
    Case(
        "fault",
        "no memory at all",
        "10 MB of address space for the job",
        f"code 5, one line, {UNTOUCHED}",
        partial(_short_of_memory, 10, (), False),
        fast=True,
    ),
    Case(
        "fault",
        "memory for smaller batches only",
        "address space for half of a large step",
        "done with smaller batches and a warning",
        partial(_short_of_memory, 700, BIG_STEP, True),
    ),
    Case(
        "fault",
        "GPU memory for one slice",
        "torch.OutOfMemoryError for more than 1 image, no adaptation",
        "one slice at a time, the same labels",
        _predict_in_halves,
        fast=True,
    ),
    Case(
        "fault",
        "GPU memory for half a step",
        "torch.OutOfMemoryError for more than 8 images",
        "smaller batches and a warning, on the GPU",
        _adapt_in_halves,
        fast=True,
    ),
    Case(
        "fault",
        "GPU memory for nothing",
        "torch.OutOfMemoryError for any image",
        "the CPU and a warning; labels of a CPU run byte for byte",
        _fall_back_to_cpu,
        fast=True,
    ),
    Case(
        "fault",
        "memory nowhere",
        "errors of memory on the GPU and then on the CPU",
        f"code 5, one line, {UNTOUCHED}",
        _nowhere_memory,
        fast=True,
    ),
    Case(
        "fault",
        "true GPU with little memory",
        "0.05 % of the GPU's memory, where there is a GPU",
        "done, on the GPU or the CPU",
        _true_gpu_memory,
    ),
    *[
        Case(
            "fault",
            f"disk full while writing {ending}",
            "no byte free on the file system of the output",
            f"code 3, one line, {UNTOUCHED}",
            partial(_fill_disk, ending),
            fast=ending == ".seg.nrrd",
        )
        for ending in (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")
    ],
    Case(
        "fault",
        "disk full in the middle of the file",
        "no file may grow beyond 20 kB",
        f"code 3, one line, {UNTOUCHED}",
        _limit_file_size,
    ),
    Case(
        "fault",
        "disk full while keeping a bundle",
        "--save-bundle where no file may grow beyond 30 kB",
        f"code 3, one line, {UNTOUCHED}",
        partial(_fill_disk_with_bundle, False),
    ),
    Case(
        "fault",
        "disk full while replacing a bundle",
        "--save-bundle over an earlier bundle, no file beyond 30 kB",
        f"code 3, the earlier bundle intact, {UNTOUCHED}",
        partial(_fill_disk_with_bundle, True),
        fast=True,
    ),
    Case(
        "fault",
        "bundle cannot be exchanged",
        "two renames, of which the second fails",
        "one sentence, the earlier bundle intact",
        _exchange_fails,
        fast=True,
    ),
    Case(
        "fault",
        "preview cannot be written",
        "the folder of the previews is gone",
        "done without a preview",
        _fill_disk_with_preview,
        fast=True,
    ),
    *_list_bundle_damages(),
    Case(
        "fault",
        "two jobs on one output",
        "at the same time, other seeds",
        "both done, the output is whole and of one of them",
        _two_jobs,
    ),
    Case(
        "fault",
        "two jobs on one bundle",
        "--save-bundle at the same time over an earlier one",
        "both done, one whole bundle",
        _two_bundles,
    ),
    *[
        Case(
            "fault",
            f"clock jumps under the {program}",
            "time.time jumps by up to 3 years at every look",
            "the same labels byte for byte, sensible times",
            partial(_jump_clock, program),
        )
        for program in ("command", "worker")
    ],
]
