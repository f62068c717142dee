"""What the program must make of each volume of the corpus: labels where the heart is, a warning, or a refusal."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
from Testing.torture.case import Case
from Testing.torture.hostile_volumes import (
    ORIENTATIONS,
    SAMPLE,
    Geometry,
    HostileVolume,
    make_corpus,
    reorient,
    write_distorted,
)
from Testing.torture.non_hearts import NON_HEARTS

GROUP = "input"
PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
LONGEST_S = 1800
NOTHING_FOUND = "No heart was found"


class Outcome(NamedTuple):
    """How a command ended: its exit code and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def run_here(arguments: Sequence[str]) -> Outcome:
    """The command line in this process: many cases share the seconds that torch takes to load."""
    from confuda.app.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def run_apart(
    arguments: Sequence[str], environment: Optional[Dict[str, str]] = None, prepare: Optional[Callable] = None
) -> Outcome:
    """``python -m confuda`` as a user runs it, in a process of its own; one that hangs is ended and is a finding."""
    own = {"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
    done = subprocess.run(
        [sys.executable, "-m", "confuda", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **own},
        timeout=LONGEST_S,
        preexec_fn=prepare,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def list_arguments(volume: Path, output: Path, *more: str) -> List[str]:
    given = str(volume) if not volume.name.startswith("-") else os.path.join(".", str(volume))
    return ["adapt", given, "-o", str(output), "--method", "none", "--device", "cpu", "--json", *more]


@lru_cache(maxsize=None)
def segment_sample() -> sitk.Image:
    """The labels that the sample itself gets: what every distorted copy of it is compared with."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "labels.nrrd"
        outcome = run_here(list_arguments(SAMPLE, output))
        assert outcome.code == 0, outcome.err
        return sitk.ReadImage(str(output))


def measure_overlap(labels: sitk.Image, expected: sitk.Image) -> float:
    """Mean Dice over the three structures, voxel by voxel on one grid, which must be one and the same."""
    assert labels.GetSize() == expected.GetSize(), f"size {labels.GetSize()} instead of {expected.GetSize()}"
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        one, other = getattr(labels, name)(), getattr(expected, name)()
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4, err_msg=name)
    a, b = sitk.GetArrayViewFromImage(labels), sitk.GetArrayViewFromImage(expected)
    scores = [2.0 * ((a == k) & (b == k)).sum() / max(1, (a == k).sum() + (b == k).sum()) for k in (1, 2, 3)]
    return float(np.mean(scores))


def check_polite(outcome: Outcome) -> None:
    """No traceback, and of the error messages one line at most."""
    assert "Traceback" not in outcome.err, f"a traceback: {outcome.err[-300:]}"
    assert "unexpected error" not in outcome.err, outcome.err[-300:]
    lines = [line for line in outcome.err.splitlines() if line.startswith("confuda:")]
    assert len(lines) == (0 if outcome.code == 0 else 1), f"{len(lines)} error lines: {outcome.err[-300:]}"


def read_result(outcome: Outcome, output: Path) -> Tuple[sitk.Image, Dict]:
    check_polite(outcome)
    assert outcome.code == 0, f"exit code {outcome.code}: {outcome.err.splitlines()[-1:]}"
    left = sorted(path.name for path in output.parent.iterdir() if path != output)
    assert not left, f"left beside the output: {left}"
    return sitk.ReadImage(str(output)), json.loads(outcome.out)


def _make_places(folder: Path) -> Tuple[Path, Path]:
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    return folder / "in", folder / "out" / "labels.nrrd"


def expect_heart(
    volume: HostileVolume,
    least_dice: float,
    *warnings: str,
    apart: bool = False,
    fast: bool = False,
    largest_memory_mb: Optional[float] = None,
) -> Case:
    """Done: the labels lie where the sample's lie after the same distortion, and each of ``warnings`` is told."""

    def run(folder: Path) -> str:
        place, output = _make_places(folder)
        arguments = list_arguments(volume.write(place), output)
        outcome = run_apart(arguments) if apart else run_here(arguments)
        labels, summary = read_result(outcome, output)
        dice = measure_overlap(labels, volume.geometry(segment_sample()))
        told = " / ".join(summary["warnings"])
        seen = f"done, Dice {dice:.3f}" + (f", peak {summary['peak_memory_mb']:.0f} MB" if apart else "")
        seen += f", told: {told}" if told else ""
        assert dice >= least_dice, seen
        assert all(words in told for words in warnings), seen
        assert warnings or not told, seen
        assert largest_memory_mb is None or summary["peak_memory_mb"] <= largest_memory_mb, seen
        return seen

    expected = f"done, Dice of {least_dice:g} or more with the undistorted result" + (", warned" if warnings else "")
    if largest_memory_mb is not None:
        expected += f", in {largest_memory_mb:.0f} MB"
    return Case(GROUP, volume.name, volume.tried, expected, run, fast)


def expect_refusal(volume: HostileVolume, *words: str, codes: Sequence[int] = (3,), apart=False, fast=False) -> Case:
    """Refused with one of ``codes`` and one sentence that has ``words`` in it; nothing is written."""

    def run(folder: Path) -> str:
        place, output = _make_places(folder)
        arguments = list_arguments(volume.write(place), output)
        outcome = run_apart(arguments) if apart else run_here(arguments)
        check_polite(outcome)
        said = next((line for line in outcome.err.splitlines() if line.startswith("confuda:")), "")
        seen = f"exit code {outcome.code}: {said.replace(str(folder), '')}"
        assert said.isprintable(), seen
        assert outcome.code in codes, seen
        assert all(part in said for part in words), seen
        assert "Doe" not in outcome.err and "4711" not in outcome.err, f"the patient is named: {seen}"
        assert not list(output.parent.iterdir()), "something was written"
        return seen

    expected = f"refused with exit code {' or '.join(map(str, codes))}: '{words[0]}'"
    return Case(GROUP, volume.name, volume.tried, expected, run, fast)


def expect_nothing(volume: HostileVolume, apart: bool = False, fast: bool = False) -> Case:
    """Done with a warning that no heart was found, and with no label at all."""

    def run(folder: Path) -> str:
        place, output = _make_places(folder)
        arguments = list_arguments(volume.write(place), output)
        outcome = run_apart(arguments) if apart else run_here(arguments)
        labels, summary = read_result(outcome, output)
        told = " / ".join(summary["warnings"])
        marked = int(np.count_nonzero(sitk.GetArrayViewFromImage(labels)))
        seen = f"{marked} voxels marked, told: {told or 'nothing'}"
        assert not marked and NOTHING_FOUND in told, seen
        return seen

    return Case(GROUP, volume.name, volume.tried, "done, warned that no heart was found, empty segments", run, fast)


def _try_orientations(chosen: Sequence[Tuple[Sequence[int], Sequence[bool]]]) -> Callable[[Path], str]:
    def run(folder: Path) -> str:
        overlaps = []
        for number, (axes, flips) in enumerate(chosen):
            geometry: Geometry = reorient(axes, flips)
            place = folder / str(number)
            place.mkdir()
            volume, output = _make_places(place)
            outcome = run_here(list_arguments(write_distorted("volume.nrrd", geometry)(volume), output))
            labels, _ = read_result(outcome, output)
            # Turned back, the labels have to lie on the sample's own voxels.
            overlaps.append(measure_overlap(labels, geometry(segment_sample())))
        seen = f"{len(overlaps)} done, smallest Dice {min(overlaps):.4f}"
        assert min(overlaps) >= 0.99, seen
        return seen

    return run


def _use_full_disk(folder: Path) -> str:
    """A file system of 64 kB where one can be mounted, else a limit on the size of files."""
    place, output = _make_places(folder)
    volume = write_distorted("volume.nrrd")(place)
    disk = output.parent
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    try:
        if mounted.returncode == 0:
            with contextlib.suppress(OSError), open(disk / "filling", "wb", buffering=0) as file:
                while file.write(bytes(1024)):
                    pass
            outcome = run_apart(list_arguments(volume, output))
            left = sorted(path.name for path in disk.iterdir() if path.name != "filling")
        else:
            outcome = run_apart(list_arguments(volume, output), prepare=_limit_files)
            left = sorted(path.name for path in disk.iterdir())
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(disk)], check=True)
    check_polite(outcome)
    seen = (
        f"exit code {outcome.code}, {outcome.err.splitlines()[-1].replace(str(folder), '')}, left: {left or 'nothing'}"
    )
    assert outcome.code == 3 and "disk" in outcome.err and not left, seen
    return seen


def _limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def _use_read_only_folder(folder: Path) -> str:
    """A file system mounted read-only where that can be done, else a folder without the right to write."""
    place, output = _make_places(folder)
    volume = write_distorted("volume.nrrd")(place)
    disk = output.parent
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode and os.geteuid() == 0:
        output = Path("/proc/labels.nrrd")  # Not even root writes there.
    disk.chmod(0o555) if mounted.returncode else None
    try:
        outcome = run_apart(list_arguments(volume, output))
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(disk)], check=True)
        else:
            disk.chmod(0o755)
    check_polite(outcome)
    seen = f"exit code {outcome.code}, {outcome.err.splitlines()[-1].replace(str(folder), '')}"
    assert outcome.code == 3 and "Cannot write" in outcome.err, seen
    return seen


def _adapt_to_nothing(folder: Path) -> str:
    """Adaptation, too, leaves a volume alone that shows no heart."""
    place, output = _make_places(folder)
    volume = _CORPUS["brain-like ball"].write(place)
    outcome = run_apart(["adapt", str(volume), "-o", str(output), "--set", "steps=2", "--device", "cpu", "--json"])
    labels, summary = read_result(outcome, output)
    marked = int(np.count_nonzero(sitk.GetArrayViewFromImage(labels)))
    seen = f"{marked} voxels marked, {summary['steps']} steps, told: {' / '.join(summary['warnings'])}"
    assert not marked and summary["steps"] == 0 and NOTHING_FOUND in " ".join(summary["warnings"]), seen
    return seen


def _name_output_oddly(folder: Path) -> str:
    """Outputs of odd names, on a console that knows ASCII alone."""
    place, _ = _make_places(folder)
    volume = write_distorted("volume.nrrd")(place)
    seen = []
    for number, name in enumerate(("Herz é 心.seg.nrrd", "a\nb \"c'.nii.gz", "-x.nrrd")):
        output = folder / f"out {number}"
        output.mkdir()
        arguments = ["adapt", str(volume), "-o", str(output / name), "--method", "none", "--device", "cpu"]
        outcome = run_apart(arguments, {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
        check_polite(outcome)
        assert outcome.code == 0, f"{name!a}: exit code {outcome.code}, {outcome.err[-200:]}"
        assert [path.name for path in output.iterdir()] == [name], f"{name!a}: {list(output.iterdir())}"
        seen.append(ascii(name))
    return f"written: {', '.join(seen)}"


def _segment_both(folder: Path) -> str:
    """``confuda segment`` on good and bad volumes together."""
    place, output = _make_places(folder)
    good, bad = write_distorted("good.nrrd")(place), _CORPUS["text, nii"].write(place)
    bundle = PACKAGE / "Resources" / "Models" / "confuda-acdc"
    outcome = run_apart(["segment", str(bad), str(good), "-o", str(output.parent), "--bundle", str(bundle), "--json"])
    check_polite(outcome)
    written = sorted(path.name for path in output.parent.iterdir())
    assert outcome.code == 3 and written == ["good.seg.nrrd"], f"exit code {outcome.code}, {written}"
    return f"exit code 3, written: {', '.join(written)}"


_CORPUS = {volume.name: volume for volume in make_corpus()}


def _find(name: str, least_dice: float, *warnings: str, **options) -> Case:
    return expect_heart(_CORPUS[name], least_dice, *warnings, **options)


def _refuse(name: str, *words: str, **options) -> Case:
    return expect_refusal(_CORPUS[name], *words, **options)


_REPLACED = "NaN, infinite or impossibly large"
_ABSENT = "Not found in this volume"

FAST_ORIENTATIONS = [ORIENTATIONS[number] for number in (7, 22, 41)]

CASES: List[Case] = [
    Case(
        GROUP,
        "three orientations",
        "the sample stored in three of the 48 orders of axes",
        "done, Dice of 0.99 or more with the sample's own result",
        _try_orientations(FAST_ORIENTATIONS),
        fast=True,
    ),
    Case(
        GROUP,
        "48 orientations",
        "the sample stored in all 48 orders and directions of axes",
        "done, Dice of 0.99 or more with the sample's own result",
        _try_orientations(ORIENTATIONS),
    ),
    _find("oblique", 0.99),
    _find("oblique by 45", 0.95, apart=True),
    _find("left-handed", 0.99),
    _find("mirrored in plane", 0.95),
    _find("reversed slices", 0.99),
    _find("slices first", 0.99, apart=True),
    _find("slices second", 0.99),
    _find("far away", 0.99),
    _find("heart at the border", 0.85),
    _find("nothing but the heart", 0.8),
    _find("heart in a corner", 0.9),
    _find("one slice", 0.85),
    _find("two slices", 0.85),
    _find("fine pixels", 0.9),
    _find("coarse pixels", 0.8),
    _find("oblong pixels", 0.8),
    _find("4096 x 4096", 0.9, apart=True, largest_memory_mb=2000),
    _find("500 slices", 0.85, apart=True, largest_memory_mb=2800),
    _find("thick slices", 0.95),
    _refuse("slices too far apart", "1e+03 mm apart", fast=True),
    _refuse("pixels of a micrometre", "correct its voxel spacing", fast=True),
    _refuse("pixels of a metre", "correct its voxel spacing", fast=True),
    _refuse("one long pixel", "correct its voxel spacing"),
    _find("NaN", 0.85, _REPLACED),
    _find("infinity", 0.85, _REPLACED),
    _find("minus infinity", 0.85, _REPLACED),
    _find("1e300", 0.85, _REPLACED, apart=True),
    _find("hot pixels", 0.8),
    _find("negative", 0.99),
    _find("large offset", 0.97),
    _find("tiny values", 0.97),
    _find("huge values", 0.97),
    _find("a blank slice", 0.6, "on one side only"),
    *(_find(name, 0.9 if name.endswith("int8") else 0.99) for name in ("int8", "uint8", "int16", "uint16")),
    *(_find(name, 0.99) for name in ("int32", "uint32", "int64", "uint64", "float32", "float64")),
    _refuse("constant", "all voxels are 7", fast=True),
    _refuse("all NaN", "only NaN", fast=True),
    _refuse("one pixel", "correct its voxel spacing", fast=True),
    _refuse("one row", "correct its voxel spacing"),
    _refuse("2-D", "2-D image", fast=True),
    _refuse("RGB", "one grey value", fast=True),
    _refuse("RGBA", "one grey value"),
    _refuse("complex", "one grey value", fast=True),
    _refuse("4-D", "cine of 3 frames"),
    _find("4-D, one frame", 0.99),
    *(
        expect_nothing(_CORPUS[name], apart=name == "brain-like ball", fast=name in ("white noise", "solid ball"))
        for name in NON_HEARTS
    ),
    Case(
        GROUP,
        "adapting to no heart",
        "adaptation to a brain-like ball",
        "done, warned that no heart was found, no step taken, empty segments",
        _adapt_to_nothing,
    ),
    _refuse("NIfTI, spacing 0", "no usable voxel spacing", fast=True),
    _refuse("NIfTI, spacing -1", "no usable voxel spacing"),
    _refuse("NIfTI, spacing NaN", "no usable voxel spacing", fast=True),
    _refuse("NIfTI, spacing infinite", "no usable voxel spacing"),
    _refuse("NIfTI in metres", "correct its voxel spacing"),
    _refuse("NIfTI in micrometres", "correct its voxel spacing"),
    _refuse("NIfTI, sheared", "not at right angles"),
    _refuse("NIfTI, sform NaN", "not at right angles"),
    _refuse("NIfTI, size 0", "damaged"),
    _refuse("NIfTI, size huge", "damaged"),
    _refuse("NIfTI, nine axes", "damaged"),
    _refuse("NIfTI, type unknown", "damaged"),
    _find("NIfTI, scale NaN", 0.99),
    _refuse("NIfTI, voxels elsewhere", "damaged"),
    _refuse("NRRD, sheared", "not at right angles", fast=True),
    _refuse("NRRD, slanting slices", "not at right angles"),
    _refuse("NRRD, no direction", "no usable voxel spacing"),
    _find("NRRD without spacing", 0.5, "1 x 1 x 1 mm"),
    _refuse("NRRD, size huge", "damaged"),
    _refuse("NRRD, another file", "in another folder", fast=True),
    _refuse("MHA, spacing 0", "no usable voxel spacing"),
    _refuse("MHA, spacing -1", "no usable voxel spacing"),
    _find("MHA, place NaN", 0.99),
    _refuse("MHA, sheared", "not at right angles"),
    _refuse("MHA, another file", "in another folder"),
    _refuse("MHD without voxels", "missing"),
    *(_refuse(f"cut off, {ending}", "damaged or incomplete") for ending in ("nii", "nii.gz", "nrrd", "mha")),
    *(_refuse(f"cut off at the end, {ending}", "damaged") for ending in ("nii", "nii.gz", "nrrd", "mha")),
    *(_refuse(f"flipped bits, {ending}", "damaged", fast=ending == "mha") for ending in ("nii.gz", "nrrd", "mha")),
    *(_refuse(f"empty, {ending}", "not an image") for ending in ("nii", "nii.gz", "nrrd", "mha")),
    *(_refuse(f"text, {ending}", "not an image", apart=ending == "nii") for ending in ("nii", "nii.gz", "nrrd", "mha")),
    _refuse("random bytes", "not an image"),
    _refuse("gzip bomb", "bomb", codes=(3, 5), apart=True),
    _refuse("pipe", "no ordinary file", fast=True),
    _refuse("device", "no ordinary file", apart=True),
    _refuse("missing", "No such file"),
    _find("DICOM", 0.99, apart=True),
    _find("DICOM, oblique", 0.99),
    _find("DICOM among strangers", 0.99),
    _refuse("DICOM, a slice missing", "a slice is missing", fast=True),
    _refuse("DICOM, two series", "2 DICOM series", apart=True),
    _refuse("DICOM, mixed spacings", "pixel spacing", fast=True),
    _refuse("DICOM, a slice turned", "direction"),
    _refuse("DICOM, mixed sizes", "differ in size"),
    _refuse("DICOM, places NaN", "where their slices lie"),
    _find("DICOM, slightly uneven", 0.95, "not quite evenly spaced"),
    _refuse("DICOM, cut off", "damaged"),
    _refuse("DICOM, last one cut off", "damaged", fast=True),
    _refuse("DICOM, 4 GB promised", "damaged", apart=True),
    _refuse("DICOM file, cut off", "damaged"),
    _find("DICOM file", 0.85, "give the folder"),
    _find("DICOM frames", 0.95),
    _refuse("no DICOM", "no DICOM image"),
    _find("a name with blanks", 0.99, apart=True),
    _find("a name with quotes", 0.99),
    _find("a name with a newline", 0.99, apart=True),
    _find("a name with Unicode", 0.99, apart=True),
    _find("a name with shell characters", 0.99, apart=True),
    _find("a name with a leading dash", 0.99),
    _find("a name with a terminal's escape", 0.99),
    _find("a name with a percent sign", 0.99),
    _find("a name with 240 letters", 0.99),
    _refuse("a name with bytes that are no text", "no valid text", apart=True),
    Case(GROUP, "full destination", "a full disk", "exit code 3, nothing left", _use_full_disk),
    Case(GROUP, "read-only destination", "a read-only disk", "exit code 3, one sentence", _use_read_only_folder),
    Case(
        GROUP,
        "odd names of outputs",
        "names with Unicode, newline, quotes, a dash",
        "done, the names as given",
        _name_output_oddly,
    ),
    Case(
        GROUP,
        "good and bad together",
        "segment a letter and the sample",
        "exit code 3, the sample is done",
        _segment_both,
    ),
]
