"""What is fuzzed, and what must hold: geometry and labels come back, a bundle or job loads or is refused in a sentence.

    python -m Testing.torture.fuzzing bundles --examples 1000

Each property is a function that raises if it does not hold. The tests of ``make test`` give it a few examples, ``make
torture`` a thousand in a process of its own, so that a crash or a blow-up of memory is an outcome too.
"""

import argparse
import copy
import dataclasses
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import SimpleITK as sitk
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from confuda.adaptation.settings import METHODS, MODES, PRESETS, AdaptationSettings

LONGEST_S = 60
"""A single example that takes longer hangs."""

PATIENCE_S, PATIENCE_CPU_S = 40, 2
"""A worker that is still busy after this long, or after so much computing, is cancelled."""

MOST_MEMORY_BYTES = 1_500_000_000
"""Address space that an example may take on top of what the process has."""

WEIRD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400, 1024, 1025]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["../../etc/passwd", "\0", "\ud800", "/dev/zero", "", " ", "cpu", "cuda:0", "cuda:\u00b2", "a" * 5000]
    ),
    st.lists(st.integers(-2, 2000), max_size=6),
    st.just([1] * 3000),
    st.just([1024] * 12),
    st.dictionaries(st.text(max_size=5), st.integers(-2, 5), max_size=3),
    st.just({"classes": 10**9}),
)
"""Values that JSON can carry and no field expects."""


def hold(check: Callable[[Any], None], examples: st.SearchStrategy, count: int, number: int = 0) -> None:
    """Try ``check`` on ``count`` examples, the same ones in every run with this ``number``."""

    @seed(number)
    # What fails first is shown as it is: looking for the smallest one can take longer than all examples.
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(examples)
    def holds(example: Any) -> None:
        check(example)

    holds()


@contextmanager
def limited() -> Iterator[None]:
    """An example within reach of ``LONGEST_S`` and ``MOST_MEMORY_BYTES``; TimeoutError or MemoryError beyond."""

    def interrupt(*_: Any) -> None:
        raise TimeoutError(f"An example took longer than {LONGEST_S} s.")

    now = _measure_address_space()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


# --- Bytes and JSON, wherever they come from ---


class ByteEdit(NamedTuple):
    """A change of some bytes: where (share of the length), what is done, and with which bytes."""

    place: float
    kind: str
    content: bytes

    def apply(self, content: bytes) -> bytes:
        at = int(self.place * len(content))
        if self.kind == "cut":
            return content[:at]
        if self.kind == "insert":
            return content[:at] + self.content + content[at:]
        if self.kind == "remove":
            return content[:at] + content[at + len(self.content) :]
        return (
            content[:at] + bytes(a ^ b for a, b in zip(content[at:], self.content)) + content[at + len(self.content) :]
        )


BYTE_EDITS = st.builds(
    ByteEdit,
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["flip", "flip", "insert", "remove", "cut"]),
    st.one_of(st.binary(min_size=1, max_size=8), st.just(b"[" * 200_000), st.just(b"9" * 5000)),
)


class ValueEdit(NamedTuple):
    """A change of one value in JSON: which (a number, taken modulo how many there are), dropped or replaced."""

    place: int
    drop: bool
    value: Any

    def apply(self, content: Any) -> Any:
        places = list(_walk(content))
        if not places:
            return content
        container, key = places[self.place % len(places)]
        if self.drop:
            del container[key]
        else:
            container[key] = copy.deepcopy(self.value)
        return content


VALUE_EDITS = st.builds(ValueEdit, st.integers(0, 10_000), st.sampled_from([False, False, False, True]), WEIRD_VALUES)


def _walk(content: Any) -> Iterator[Tuple[Any, Any]]:
    """Every (container, key) below ``content``."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        yield content, key
        yield from _walk(content[key])


# --- Bundles ---


class BundleEdit(NamedTuple):
    """A changed bundle: one file, changed in its bytes, its JSON values (description or safetensors header), or both;
    ``truthful`` where the hashes in the description follow, so that the change gets past them."""

    file: str
    values: Tuple[ValueEdit, ...]
    bytes: Tuple[ByteEdit, ...]
    truthful: bool


BUNDLE_EDITS = st.builds(
    BundleEdit,
    st.sampled_from(["bundle.json"] * 3 + ["segmenter.safetensors", "rain.safetensors", "source.safetensors"]),
    st.lists(VALUE_EDITS, max_size=2).map(tuple),
    st.lists(BYTE_EDITS, max_size=2).map(tuple),
    st.sampled_from([True, True, True, False]),
)


def make_tiny_bundle(folder: Path) -> Path:
    """A bundle of the real format whose networks are as small as they can be, with random weights."""
    import torch

    from confuda.bundle.format import Bundle, save_bundle
    from confuda.labels import CLASS_NAMES
    from confuda.losses.centroids import SourceBank
    from confuda.networks.drunet import DRUNet
    from confuda.networks.rain import RAIN

    torch.manual_seed(0)
    description = {
        "name": "tiny",
        "version": "0",
        "classes": list(CLASS_NAMES),
        "spacing_mm": 1.5,
        "crop": 32,
        "class_weights": [1, 1, 1, 1],
        "segmenter": {"width": 2, "normalisation": "instance"},
        "rain": {"widths": [2, 2, 4, 4], "latent": 2},
        "training": {"licence": "none"},
        "scores": {},
    }
    images, labels = torch.rand(2, 1, 32, 32), torch.randint(0, 4, (2, 32, 32))
    bank = SourceBank(len(CLASS_NAMES), 2)
    save_bundle(
        Bundle(description, DRUNet(width=2, normalisation="instance"), RAIN((2, 2, 4, 4), 2), images, labels, bank),
        folder,
    )
    return folder


def edit_bundle(folder: Path, edit: BundleEdit) -> None:
    """Change the bundle in ``folder``."""
    from confuda.bundle.format import DESCRIPTION_NAME, FILE_NAMES, hash_file

    path = folder / edit.file
    content = path.read_bytes()
    if edit.file == DESCRIPTION_NAME:
        content = _edit_values(content, edit.values)
    else:
        length = int.from_bytes(content[:8], "little")
        header = _edit_values(content[8 : 8 + length], edit.values)
        content = len(header).to_bytes(8, "little") + header + content[8 + length :]
    for change in edit.bytes:
        content = change.apply(content)
    path.write_bytes(content)
    if edit.truthful and edit.file in FILE_NAMES:
        description = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
        description["files"][edit.file] = hash_file(path)
        (folder / DESCRIPTION_NAME).write_text(json.dumps(description), encoding="utf-8")


def _edit_values(content: bytes, edits: Tuple[ValueEdit, ...]) -> bytes:
    if not edits:
        return content
    values = json.loads(content)
    for edit in edits:
        values = edit.apply(values)
    return json.dumps(values).encode()


def check_bundle(folder: Path) -> bool:
    """Load ``folder``; True where it loads, and then holds only finite values of the shapes that it states.

    Raises:
        AssertionError: where it loads and should not have.
        Exception: any but BundleError is a finding.
    """
    import torch

    from confuda.bundle.format import load_bundle
    from confuda.errors import BundleError
    from confuda.inference.prediction import NO_FLIP, predict_probabilities

    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        assert str(error).strip(), "refused without a word"
        return False
    values = [*bundle.segmenter.state_dict().values(), *bundle.rain.state_dict().values()]
    values += [bundle.images, bundle.bank.vectors, bundle.bank.mass]
    assert all(torch.isfinite(value).all() for value in values), "loads with values that are not finite"
    answer = predict_probabilities(bundle.segmenter, bundle.images[:1, 0].numpy(), NO_FLIP)
    assert np.isfinite(answer).all() and answer.shape[0] == 4, "loads, and its network gives no usable answer"
    bundle.rain.encode_style(bundle.images[:1])
    return True


def fuzz_bundles(count: int, number: int = 0) -> str:
    """``count`` changed bundles: each loads or is refused; returns how many did which."""
    outcomes: List[bool] = []
    with tempfile.TemporaryDirectory() as place:
        whole = make_tiny_bundle(Path(place) / "whole")
        assert check_bundle(whole)

        def check(edit: BundleEdit) -> None:
            changed = Path(place) / "changed"
            shutil.copytree(whole, changed)
            try:
                edit_bundle(changed, edit)
                with limited():
                    outcomes.append(check_bundle(changed))
            finally:
                shutil.rmtree(changed)

        hold(check, BUNDLE_EDITS, count, number)
    return f"{len(outcomes)} bundles: {outcomes.count(False)} refused, {outcomes.count(True)} loaded"


# --- Jobs ---

SETTINGS = [field.name for field in dataclasses.fields(AdaptationSettings)]


class JobEdit(NamedTuple):
    """A changed job line: its fields' values, fields that no job has, then its bytes."""

    values: Tuple[ValueEdit, ...]
    settings: Dict[str, Any]
    more: Dict[str, Any]
    bytes: Tuple[ByteEdit, ...]

    def apply(self, job: Dict[str, Any]) -> bytes:
        content = json.loads(json.dumps({**job, "settings": {**job["settings"], **self.settings}, **self.more}))
        for edit in self.values:
            content = edit.apply(content)
        line = json.dumps(content).encode()
        for change in self.bytes:
            line = change.apply(line)
        return line.replace(b"\n", b" ") + b"\n"


HOSTILE_JOBS = st.builds(
    JobEdit,
    st.lists(VALUE_EDITS, max_size=2).map(tuple),
    st.dictionaries(st.sampled_from(SETTINGS), WEIRD_VALUES, max_size=2),
    st.one_of(st.just({}), st.just({}), st.dictionaries(st.text(max_size=6), WEIRD_VALUES, max_size=1)),
    st.one_of(st.just(()), st.lists(BYTE_EDITS, min_size=1, max_size=2).map(tuple)),
)


ODD_JOBS = st.builds(
    JobEdit,
    st.just(()),
    st.dictionaries(
        st.sampled_from(SETTINGS),
        st.sampled_from([0.0, 1e-300, 1e-9, 0.5, 1.0, 64.0, 1e9, 1, 2, 33, 1024, 10**6, True, False, "adamw", "sgd"]),
        max_size=3,
    ),
    st.fixed_dictionaries(
        {"method": st.sampled_from(METHODS), "mode": st.sampled_from(MODES), "preset": st.sampled_from(list(PRESETS))},
        optional={
            "slice": st.integers(-1, 3),
            "seed": st.integers(0, 2**63 - 1),
            "center": st.lists(st.floats(-1, 33), min_size=2, max_size=2),
            "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:0", "cuda:99", "cuda:" + "9" * 30]),
        },
    ),
    st.just(()),
)
"""Fields of the right kind with extreme values: most of these jobs are begun, and some of them end well."""


def make_job(volume: Path, output: Path, bundle: Path) -> Dict[str, Any]:
    """A job as Slicer sends it, with all its fields."""
    return {
        "volume": str(volume),
        "output": str(output),
        "mode": "few-shot",
        "slice": None,
        "method": "confuda",
        "preset": "fast",
        "bundle": str(bundle),
        "device": "cpu",
        "seed": 0,
        "center": [16.0, 16.0],
        "settings": {"steps": 1},
        "preview_folder": None,
        "save_bundle": None,
    }


def check_events(code: int, text: str) -> str:
    """The kind of the last event, where the worker's answer keeps to the protocol.

    Raises:
        AssertionError: where it does not: no last word, one that fits not the exit code, or an unexpected error.
    """
    events = [json.loads(line) for line in text.splitlines()]
    assert events and events[-1]["event"] in ("finished", "failed"), f"exit {code} without a last word"
    last = events[-1]
    assert last.get("code", 0) == code, f"exit {code}, but the event says {last.get('code', 0)}"
    assert code != 1, f"{last['message']} {last['details'][-800:]}"
    return last["event"]


class HeldInput:
    """Stands for a stdin that stays open: one line, then nothing more until it is released."""

    def __init__(self, line: bytes) -> None:
        self._line = io.StringIO(line.decode("utf-8", errors="replace"), newline="\n")
        self.released = threading.Event()

    def readline(self, most: int = -1) -> str:
        line = self._line.readline(most)
        if not line:
            self.released.wait()
        return line

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")


def fuzz_jobs(count: int, number: int = 0) -> str:
    """``count`` changed job lines into the worker's door, in this process; their volume is not there."""
    from confuda.app.worker import serve

    outcomes: List[str] = []
    with tempfile.TemporaryDirectory() as place:
        bundle = make_tiny_bundle(Path(place) / "bundle")
        job = make_job(Path(place) / "none.nrrd", Path(place) / "out.nrrd", bundle)

        def check(edit: JobEdit) -> None:
            stdin, stdout = HeldInput(edit.apply(job)), io.StringIO()
            try:
                with limited():
                    code = serve(stdin, stdout)
            finally:
                stdin.released.set()
            outcomes.append(check_events(code, stdout.getvalue()))

        hold(check, st.one_of(HOSTILE_JOBS, HOSTILE_JOBS, ODD_JOBS), count, number)
    return f"{len(outcomes)} jobs: {outcomes.count('failed')} refused, {outcomes.count('finished')} finished"


def fuzz_worker(count: int, number: int = 0) -> str:
    """``count`` changed job lines to real workers whose volume is there: separate processes, fed through real pipes.

    Each is a fork of this process that runs the worker's ``main``, since most of the time would go into the start of
    Python and torch otherwise. Its stdin is closed after ``PATIENCE_S``: a job that still goes on is cancelled by that.
    """
    import torch

    from confuda.app.pipeline import run_job
    from confuda.app.worker import parse_job

    outcomes: List[str] = []
    with tempfile.TemporaryDirectory() as place:
        bundle = make_tiny_bundle(Path(place) / "bundle")
        volume = Path(place) / "volume.nrrd"
        image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(3, 32, 32)))
        image.SetSpacing((1.5, 1.5, 8.0))
        sitk.WriteImage(image, str(volume))
        job = make_job(volume, Path(place) / "out.nrrd", bundle)
        # Once here, so that the forks need not each load what torch loads late; threads would not live in a fork.
        torch.set_num_threads(1)
        run_job(parse_job(json.dumps(job)))

        def check(edit: JobEdit) -> None:
            code, text = run_worker(edit.apply(job))
            outcomes.append(check_events(code, text))

        hold(check, st.one_of(HOSTILE_JOBS, ODD_JOBS), count, number)
    failed, finished = outcomes.count("failed"), outcomes.count("finished")
    return f"{len(outcomes)} workers: {failed} refused or cancelled, {finished} finished"


def run_worker(line: bytes) -> Tuple[int, str]:
    """Exit code and output of a forked worker that is given ``line``.

    Raises:
        AssertionError: if it hangs, or a signal ends it.
    """
    reading, stdin = os.pipe()
    stdout, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _become_worker(reading, writing, (stdin, stdout))
    os.close(reading)
    os.close(writing)
    ended = threading.Event()
    feeder = threading.Thread(target=_feed, args=(stdin, line, ended, child), daemon=True)
    feeder.start()
    try:
        text = _read_all(stdout, time.monotonic() + LONGEST_S)
    except TimeoutError as error:
        os.kill(child, signal.SIGKILL)
        raise AssertionError("The worker hung.") from error
    finally:
        ended.set()
        os.close(stdout)
        feeder.join()
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code >= 0, f"signal {-code} ended the worker"
    return code, text.decode("utf-8")


def _become_worker(stdin: int, stdout: int, others: Tuple[int, int]) -> None:
    """In a forked child: run the worker with these pipes and end with its code."""
    code = 1
    try:
        for descriptor in others:
            os.close(descriptor)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.close(stdin)
        os.close(stdout)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_measure_address_space() + MOST_MEMORY_BYTES, hard))
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
        from confuda.app.worker import main

        code = main()
    finally:
        os._exit(code)


def _feed(stdin: int, line: bytes, ended: threading.Event, child: int) -> None:
    began = time.monotonic()
    try:
        while line:
            line = line[os.write(stdin, line) :]
        while not ended.wait(0.1) and time.monotonic() - began < PATIENCE_S and _measure_cpu_s(child) < PATIENCE_CPU_S:
            pass
    except BrokenPipeError:
        pass  # The worker has heard enough.
    finally:
        os.close(stdin)


def _measure_cpu_s(process: int) -> float:
    """Seconds that a process, perhaps one that has ended and is not yet waited for, has computed."""
    with open(f"/proc/{process}/stat") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_all(stdout: int, deadline: float) -> bytes:
    parts = []
    while select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(stdout, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise TimeoutError


def _measure_address_space() -> int:
    """Bytes of address space that this process has now."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()


# --- Geometry and labels ---


class Grid(NamedTuple):
    """The geometry of a volume: voxels along i, j, k, spacing in mm, origin, direction (nine numbers, orthonormal)."""

    size: Tuple[int, int, int]
    spacing_mm: Tuple[float, float, float]
    origin: Tuple[float, float, float]
    direction: Tuple[float, ...]

    def make_image(self, voxels: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def _make_direction(number: int) -> Tuple[float, ...]:
    """Random axes at right angles, right- or left-handed."""
    axes, _ = np.linalg.qr(np.random.default_rng(number).normal(size=(3, 3)))
    return tuple(axes.ravel())


GRIDS = st.builds(
    Grid,
    st.tuples(*[st.integers(1, 24)] * 3),
    st.tuples(*[st.floats(0.2, 10.0)] * 3),
    st.tuples(*[st.floats(-1000, 1000)] * 3),
    st.one_of(st.just((1.0, 0, 0, 0, 1, 0, 0, 0, 1)), st.integers(0, 10_000).map(_make_direction)),
)


def check_stack(example: Tuple[Grid, float, int]) -> None:
    """A volume's slices are usable, and labels come back to the voxels from which they were taken."""
    from confuda.imaging.stack import ShortAxisStack

    grid, spacing_mm, number = example
    rng = np.random.default_rng(number)
    shape = grid.size[::-1]
    image = grid.make_image(rng.normal(100, 20, shape).astype(np.float32))
    stack = ShortAxisStack(image, spacing_mm)
    assert stack.slices.dtype == np.float32 and np.isfinite(stack.slices).all()
    assert 0 <= stack.slices.min() and stack.slices.max() <= 1
    voxels = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(stack.frame.invert(stack.frame.apply(voxels)), voxels)
    i, j = (rng.integers(0, grid.size[axis]) for axis in sorted(stack.frame.axes[1:]))
    row, column = stack.locate(int(i), int(j))
    assert -0.5 - 1e-6 <= row <= stack.grid.size[0] - 0.5 + 1e-6
    assert -0.5 - 1e-6 <= column <= stack.grid.size[1] - 0.5 + 1e-6

    # On the volume's own in-plane grid nothing may be lost; on another one large shapes keep their place.
    truth = _draw_block(shape, rng)
    labels = sitk.GetImageFromArray(truth)
    labels.CopyInformation(image)
    crop = stack.crop(size=int(max(stack.grid.size)) + 2)
    there = crop.cut(stack.resample_labels(labels))
    back = crop.restore(np.stack([there == label for label in range(4)]).astype(np.float32))
    assert (back.GetSize(), back.GetSpacing(), back.GetOrigin(), back.GetDirection()) == (
        image.GetSize(),
        image.GetSpacing(),
        image.GetOrigin(),
        image.GetDirection(),
    )
    _compare_in_mm(truth, sitk.GetArrayFromImage(back), stack, spacing_mm)


def _draw_block(shape: Tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Labels of a box of one structure, somewhere."""
    labels = np.zeros(shape, np.uint8)
    low = [int(rng.integers(0, count)) for count in shape]
    high = [int(rng.integers(start, count)) + 1 for start, count in zip(low, shape)]
    labels[tuple(slice(start, end) for start, end in zip(low, high))] = rng.integers(1, 4)
    return labels


def _compare_in_mm(truth: np.ndarray, back: np.ndarray, stack: Any, spacing_mm: float) -> None:
    """The box came back with each side at its place, to one pixel of the coarser grid; slices exactly."""
    wanted, found = (stack.frame.apply(labels) for labels in (truth, back))
    label = int(truth.max())
    assert set(np.unique(back)) <= {0, label}
    for axis, step_mm in enumerate((0.0, *stack.native_grid.spacing_mm)):
        others = tuple(other for other in range(3) if other != axis)
        before = np.flatnonzero((wanted > 0).any(axis=others))
        after = np.flatnonzero((found > 0).any(axis=others))
        if not len(after):
            sides_mm = [
                (np.ptp(np.flatnonzero((wanted > 0).any(axis=tuple({0, 1, 2} - {side})))) + 1) * step
                for side, step in zip((1, 2), stack.native_grid.spacing_mm)
            ]
            assert min(sides_mm) < 2 * spacing_mm, "a box of two pixels and more vanished"
            return
        if axis == 0:
            np.testing.assert_array_equal(before, after)
        else:
            away_mm = max(abs(int(before[0]) - int(after[0])), abs(int(before[-1]) - int(after[-1]))) * step_mm
            assert away_mm <= spacing_mm + step_mm, f"a side is {away_mm:.2f} mm away"


STACKS = st.tuples(GRIDS, st.floats(0.5, 3.0), st.integers(0, 2**31))


def fuzz_stack(count: int, number: int = 0) -> str:
    hold(check_stack, STACKS, count, number)
    return f"{count} volumes: slices usable, labels back at their voxels"


def fuzz_labels(count: int, number: int = 0) -> str:
    """Labels written and read again are the same, in every format and on every grid."""
    from confuda.io.segmentation_file import ENDINGS, read_segmentation, write_segmentation
    from confuda.labels import DATASET_VALUES, STRUCTURES, map_labels

    with tempfile.TemporaryDirectory() as place:

        def check(example: Tuple[Grid, str, str, int]) -> None:
            grid, ending, dataset, drawn = example
            labels = np.random.default_rng(drawn).integers(0, 4, grid.size[::-1]).astype(np.uint8)
            image = grid.make_image(labels)
            path = write_segmentation(image, Path(place) / f"labels{ending}")
            again = read_segmentation(path, "confuda")
            np.testing.assert_array_equal(sitk.GetArrayFromImage(again), labels)
            # NIfTI keeps geometry in single precision.
            np.testing.assert_allclose(again.GetSpacing(), image.GetSpacing(), rtol=1e-5)
            np.testing.assert_allclose(again.GetOrigin(), image.GetOrigin(), atol=1e-3)
            np.testing.assert_allclose(again.GetDirection(), image.GetDirection(), atol=1e-4)
            foreign = np.zeros(labels.shape, np.int16)
            for structure in STRUCTURES:
                foreign[labels == structure.label] = DATASET_VALUES[dataset][structure.name]
            np.testing.assert_array_equal(map_labels(foreign, dataset), labels)

        examples = st.tuples(GRIDS, st.sampled_from(ENDINGS), st.sampled_from(list(DATASET_VALUES)), st.integers(0, 99))
        hold(check, examples, count, number)
    return f"{count} label maps: the same after writing and reading"


FUZZERS: Dict[str, Callable[[int, int], str]] = {
    "bundles": fuzz_bundles,
    "jobs": fuzz_jobs,
    "worker": fuzz_worker,
    "stack": fuzz_stack,
    "labels": fuzz_labels,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.torture.fuzzing", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(FUZZERS))
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(FUZZERS[arguments.what](arguments.examples, arguments.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
