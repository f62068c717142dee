"""Hostile files and what must not get out: each promise of SECURITY.md, tried."""

import ast
import contextlib
import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple
from unittest import mock

import SimpleITK as sitk
from Testing.torture.case import Case
from Testing.torture.runs import REPOSITORY, Place, Run, start_command, start_worker
from Testing.toy_bundle import make_heart, share_toy_bundle

TENSOR_FILES = ("segmenter.safetensors", "rain.safetensors", "source.safetensors")

# --- What the sources may not do ---

UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "yaml"}
FORBIDDEN_CALLS = {
    "eval": "evaluates text",
    "exec": "evaluates text",
    "compile": "evaluates text",
    "__import__": "imports by a text",
    "os.system": "a shell",
    "os.popen": "a shell",
    "subprocess.getoutput": "a shell",
    "subprocess.getstatusoutput": "a shell",
    "torch.load": "unpickles",
    "torch.jit.load": "unpickles",
    "torch.hub.load": "loads code",
    "pandas.read_pickle": "unpickles",
}
NETWORK_MODULES = {"socket", "urllib", "http", "requests", "ftplib", "smtplib", "aiohttp", "httpx", "asyncio"}
CLOCK_CALLS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def _list_sources(*folders: str) -> List[Path]:
    sources = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    assert len(sources) > 30, "the sources were not found"
    return sources


def _name_call(node: ast.Call) -> str:
    parts, function = [], node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    parts.append(function.id if isinstance(function, ast.Name) else "?")
    return ".".join(reversed(parts))


@lru_cache(maxsize=None)
def _parse(path: Path) -> Tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _find_calls(path: Path) -> Iterator[Tuple[str, ast.Call]]:
    for node in _parse(path):
        if isinstance(node, ast.Call):
            yield _name_call(node), node


def _find_imports(path: Path) -> Set[str]:
    names: Set[str] = set()
    for node in _parse(path):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def _scan_for_unpicklers(folder: Path) -> str:
    sources = _list_sources("ConFUDASegment", "benchmarks", "examples")
    found = []
    for path in sources:
        found += [f"{path.name} imports {name}" for name in _find_imports(path) & UNPICKLERS]
        for name, node in _find_calls(path):
            options = {option.arg: option.value for option in node.keywords}
            allowed = options.get("allow_pickle")
            if name.endswith("np.load") and not (isinstance(allowed, ast.Constant) and allowed.value is False):
                found.append(f"{path.name}:{node.lineno} {name} without allow_pickle=False")
    assert not found, "; ".join(found)
    return f"{len(sources)} sources, none unpickles"


def _scan_for_evaluation(folder: Path) -> str:
    sources = _list_sources("ConFUDASegment", "benchmarks", "examples")
    found = []
    for path in sources:
        for name, node in _find_calls(path):
            if name in FORBIDDEN_CALLS:
                found.append(f"{path.name}:{node.lineno} {name}: {FORBIDDEN_CALLS[name]}")
            for option in node.keywords:
                if option.arg == "shell" and not (isinstance(option.value, ast.Constant) and not option.value.value):
                    found.append(f"{path.name}:{node.lineno} {name} with a shell")
    assert not found, "; ".join(found)
    return f"{len(sources)} sources, none evaluates text or starts a shell"


def _scan_for_network(folder: Path) -> str:
    sources = _list_sources("ConFUDASegment/confuda", "ConFUDASegment/ConFUDASegmentLib")
    found = [f"{path.name} imports {name}" for path in sources for name in _find_imports(path) & NETWORK_MODULES]
    assert not found, "; ".join(found)
    return f"{len(sources)} sources, none imports a module of the network"


def _scan_for_clock(folder: Path) -> str:
    sources = _list_sources("ConFUDASegment/confuda", "ConFUDASegment/ConFUDASegmentLib")
    found = []
    for path in sources:
        found += [
            f"{path.name}:{node.lineno} {name}"
            for name, node in _find_calls(path)
            if ".".join(name.split(".")[-2:]) in CLOCK_CALLS
        ]
    assert not found, "; ".join(found)
    return f"{len(sources)} sources, none asks the wall clock"


# --- Hostile bundles ---


class _Marker:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def _copy_bundle(folder: Path) -> Path:
    return Path(shutil.copytree(share_toy_bundle(), folder / "bundle"))


def _replace_file(bundle: Path, name: str, content: bytes) -> None:
    """Another content, of which bundle.json knows."""
    from confuda.bundle.format import hash_file

    (bundle / name).write_bytes(content)
    path = bundle / "bundle.json"
    description = json.loads(path.read_text())
    description["files"][name] = hash_file(bundle / name)
    path.write_text(json.dumps(description))


def _expect_refusal(bundle: Path, word: str = "") -> str:
    from confuda.bundle.format import load_bundle
    from confuda.errors import BundleError

    try:
        load_bundle(bundle)
    except BundleError as error:
        assert word in str(error), f"it said: {error}"
        return f"code 4, '{str(error).replace(str(bundle.parent), '...')}'"
    raise AssertionError("it was loaded")


def _pickle_in_disguise(kind: str, folder: Path) -> str:
    marker = folder / "unpickled"
    content = pickle.dumps(_Marker(marker))
    if kind == "torch.save":
        import io

        import torch

        stream = io.BytesIO()
        torch.save({"weight": _Marker(marker)}, stream)
        content = stream.getvalue()
    elif kind == "behind a header":
        # A length that fits, and a header that is a pickle instead of JSON.
        content = len(content).to_bytes(8, "little") + content
    said = ""
    for name in TENSOR_FILES:
        bundle = _copy_bundle(folder / name)
        _replace_file(bundle, name, content)
        said = _expect_refusal(bundle, "cannot be read")
    bundle = _copy_bundle(folder / "description")
    (bundle / "bundle.json").write_bytes(content)
    _expect_refusal(bundle)
    assert not marker.exists(), "it was unpickled"
    return f"{said}, and so for the other files; nothing was unpickled"


def _make_tensor_file(header: Any, data: bytes = b"", length: Optional[int] = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _tensor(shape: List[int], begin: int, end: int) -> Dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}}


HOSTILE_TENSOR_FILES: Dict[str, Callable[[], bytes]] = {
    "header of 4 GB claimed": lambda: _make_tensor_file(b"{}", length=2**32),
    "header of 2^63 bytes claimed": lambda: _make_tensor_file(b"{}", length=2**63),
    "header longer than the file": lambda: _make_tensor_file(b"{}", length=900_000),
    "header of 20 MB": lambda: _make_tensor_file(b" " * 20_000_000 + b"{}"),
    "tensor of 64 GB claimed": lambda: _make_tensor_file(_tensor([2**17, 2**17], 0, 2**36), b"0" * 64),
    "tensor of 2^80 values": lambda: _make_tensor_file(_tensor([2**40, 2**40], 0, 64), b"0" * 64),
    "offsets beyond the end": lambda: _make_tensor_file(_tensor([16], 64, 128), b"0" * 64),
    "offsets backwards": lambda: _make_tensor_file(_tensor([16], 64, 0), b"0" * 64),
    "negative shape": lambda: _make_tensor_file(_tensor([-16], 0, 64), b"0" * 64),
    "no header": lambda: b"",
    "seven bytes": lambda: b"\0" * 7,
    "JSON 100,000 deep": lambda: _make_tensor_file(b"[" * 100_000),
    "a thousand times the same tensor": lambda: _make_tensor_file(
        b"{" + b",".join([b'"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'] * 1000) + b"}", b"0" * 4
    ),
}


def _hostile_tensor_file(kind: str, folder: Path) -> str:
    bundle = _copy_bundle(folder)
    _replace_file(bundle, "segmenter.safetensors", HOSTILE_TENSOR_FILES[kind]())
    with _peak_memory() as grown_mb:
        said = _expect_refusal(bundle)
    assert grown_mb() < 60, f"{grown_mb():.0f} MB were taken"
    return f"{said}, {grown_mb():.0f} MB more memory"


@contextlib.contextmanager
def _peak_memory() -> Iterator[Callable[[], float]]:
    """A function that gives by how many MB the process's memory rose at most in the block (0 where Linux does not)."""

    def read(field: str) -> float:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith(field))

    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = read("VmRSS")
    peak = [0.0]
    yield lambda: peak[0]
    peak[0] = max(0.0, read("VmHWM") - before)


def _huge_network(folder: Path) -> str:
    bundle = _copy_bundle(folder)
    path = bundle / "bundle.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "segmenter": {"width": 1024, "normalisation": "batch"}}))
    with _peak_memory() as grown_mb:
        said = _expect_refusal(bundle, "does not fit")
    assert grown_mb() < 60, f"{grown_mb():.0f} MB were taken"
    return f"{said}, {grown_mb():.0f} MB more memory"


def _name_outside(name: str, folder: Path) -> str:
    bundle = _copy_bundle(folder)
    outside = folder / "outside.safetensors"
    shutil.move(str(bundle / TENSOR_FILES[0]), outside)
    path = bundle / "bundle.json"
    description = json.loads(path.read_text())
    description["files"][name.replace("OUTSIDE", str(outside))] = description["files"].pop(TENSOR_FILES[0])
    path.write_text(json.dumps(description))
    return _expect_refusal(bundle, "exactly the files")


def _link_outside(name: str, relative: bool, folder: Path) -> str:
    bundle = _copy_bundle(folder)
    outside = folder / "outside"
    shutil.move(str(bundle / name), outside)
    os.symlink("../outside" if relative else outside, bundle / name)
    return _expect_refusal(bundle, "link out of its folder")


def _link_whole_bundle(folder: Path) -> str:
    from confuda.bundle.format import load_bundle

    os.symlink(_copy_bundle(folder), folder / "link")
    load_bundle(folder / "link")
    return "loaded: the folder may be a link, only its files may not lead out of it"


def _evaluate_texts(folder: Path) -> str:
    """Texts that would leave a file if anything evaluated them: in bundle.json, in a job, and as names of files."""
    from confuda.app.pipeline import run_job
    from confuda.app.worker import parse_job
    from confuda.bundle.format import load_bundle, save_bundle
    from confuda.errors import ConfudaError

    place = Place(folder)
    marker = folder / "evaluated"
    texts = [
        f"__import__('os').system('touch {marker}')",
        f"open({str(marker)!r}, 'w')",
        f"$(touch {marker})",
        f"`touch {marker}`",
        f"; touch {marker} ;",
        f"{{{{ cycler.__init__.__globals__.os.system('touch {marker}') }}}}",
        "%s%n{0.__class__}",
    ]
    bundle = _copy_bundle(folder)
    for text in texts:
        path = bundle / "bundle.json"
        description = json.loads(path.read_text())
        training = {"data": text, "licence": text, "citation": text, "segmenter": {text: text}}
        path.write_text(json.dumps({**description, "name": text, "version": text, "training": training}))
        save_bundle(load_bundle(bundle), folder / "saved")
        for fields in (
            {"mode": text},
            {"method": text},
            {"preset": text},
            {"device": text},
            {"settings": {text: 1}},
            {"settings": {"optimizer": text}},
            {"settings": {"steps": text}},
            {"volume": text},
            {"bundle": text},
        ):
            try:
                run_job(parse_job(json.dumps(place.describe_job(**fields))))
            except ConfudaError:
                continue
            raise AssertionError(f"{list(fields)} with a foreign text was taken")
    odd = place.outputs / "$(touch evaluated) `touch evaluated`; touch evaluated.seg.nrrd"
    run = start_command(place, [*place.list_arguments("--method", "none")[:3], str(odd), *place.list_arguments()[4:]])
    assert run.finish() == 0, run.errors[-300:]
    assert odd.is_file(), "the output has another name"
    left = [path.name for path in folder.rglob("evaluated*")]
    assert not left, "it was evaluated"
    return f"{len(texts)} texts in 16 places: none was evaluated"


# --- What gets out ---

NAME, SECOND_NAME, PATIENT_ID = "DOEQXZ", "JANEQXZ", "PIDQXZ42"
STUDY_UID = "1.2.826.0.1.3680043.9.7777.1.20261123.1"
SERIES_UID = "1.2.826.0.1.3680043.9.7777.2.20261123.2"
FRAME_UID = "1.2.826.0.1.3680043.9.7777.3.20261123.3"
IMAGE_UID = "1.2.826.0.1.3680043.9.7777.4"
HOSPITAL = "HOSPITALQXZ"


def _write_dicom(folder: Path) -> Path:
    """A short-axis series that names a patient wherever DICOM can, in a folder that does so too."""
    place = folder / f"{NAME}_{SECOND_NAME}"
    place.mkdir()
    image = sitk.Cast(make_heart()[0], sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(image.GetDepth()):
        part = image[:, :, number]
        texts = {
            "0010|0010": f"{NAME}^{SECOND_NAME}",
            "0010|0020": PATIENT_ID,
            "0010|0030": "19700101",
            "0010|4000": f"{NAME} comment",
            "0008|0080": HOSPITAL,
            "0008|0090": f"{NAME}^REFERRER",
            "0008|1030": f"study of {NAME}",
            "0008|103e": f"series of {NAME}",
            "0008|0018": f"{IMAGE_UID}.{number + 1}",
            "0020|000d": STUDY_UID,
            "0020|000e": SERIES_UID,
            "0020|0052": FRAME_UID,
            "0008|0060": "MR",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:g}" for x in image.TransformIndexToPhysicalPoint((0, 0, number))),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": "8",
        }
        for tag, text in texts.items():
            part.SetMetaData(tag, text)
        writer.SetFileName(str(place / f"{number}.dcm"))
        writer.Execute(part)
    return place


def _search(content: bytes, words: Dict[str, str]) -> List[str]:
    """Which of ``words`` are in ``content``, as it is or unpacked, as 8-bit or 16-bit text, in any case."""
    forms = [content]
    if content[:2] == b"\x1f\x8b":
        forms.append(gzip.decompress(content))
    found = []
    for word, meaning in words.items():
        for form in forms:
            lower = form.lower()
            if word.lower().encode() in lower or word.lower().encode("utf-16-le") in lower:
                found.append(meaning)
    return found


def _look_for_patient(program: str, folder: Path) -> str:
    place = Place(folder)
    place.output.unlink()
    source = _write_dicom(folder)
    words = {
        NAME: "the patient's name",
        SECOND_NAME: "the patient's first name",
        PATIENT_ID: "the patient's ID",
        STUDY_UID: "the study's UID",
        SERIES_UID: "the series' UID",
        FRAME_UID: "the frame of reference's UID",
        IMAGE_UID: "an image's UID",
        HOSPITAL: "the hospital",
        str(source): "the volume's path",
    }
    kept = {"save_bundle": "adapted", "report": "report", "uncertainty": "doubt.nrrd"}
    kept = {name: str(place.outputs / path) for name, path in kept.items()}
    written: Dict[str, bytes] = {}
    for ending in (".seg.nrrd", ".nii.gz", ".mha"):
        output = place.outputs / f"out{ending}"
        if program == "worker":
            run = start_worker(place, volume=str(source), output=str(output), **kept)
        else:
            options = [f"--{name.replace('_', '-')}={path}" for name, path in kept.items()]
            arguments = place.list_arguments("--json", *options)
            arguments[1], arguments[3] = str(source), str(output)
            run = start_command(place, arguments)
        assert run.finish() == 0, run.errors[-300:]
        written[f"stdout ({ending})"] = run.answer.encode()
        written[f"stderr ({ending})"] = run.errors.encode()
    for path in place.outputs.rglob("*"):
        if path.is_file():
            written[path.name] = path.read_bytes()
        found = _search(path.name.encode(), words)
        assert not found, f"a file's name tells {found}"
    for name, content in written.items():
        found = _search(content, words)
        assert not found, f"{name} tells {', '.join(found)}"
    for path in place.outputs.glob("out*"):
        image = sitk.ReadImage(str(path))
        for key in image.GetMetaDataKeys():
            assert not _search(image.GetMetaData(key).encode(), words), f"{path.name}: {key}"
    return f"{len(written)} files and streams, {sum(map(len, written.values())) // 1000} kB: nothing of the patient"


def _fail_with_patient(folder: Path) -> str:
    """An error nobody foresaw, whose text names the file: what the worker hands on for a bug report."""
    place = Place(folder)
    program = (
        "from confuda.app import pipeline, worker\n"
        "import os\n"
        "def fail(path): raise ValueError(f'cannot unpack {path}: bad block in {str(path)!r}')\n"
        "pipeline.read_volume = fail\n"
        "os._exit(worker.main())\n"
    )
    hidden = folder / f"{NAME} {SECOND_NAME}" / f"{NAME} of {SECOND_NAME}.nrrd"
    run = Run(place, [sys.executable, "-c", program])
    run.send(place.describe_job(volume=str(hidden)))
    assert run.finish() == 1
    event = run.read_events()[-1]
    assert event["event"] == "failed" and "ValueError" in event["details"], f"{event}"
    assert not _search(run.answer.encode() + run.errors.encode(), {NAME: "name", SECOND_NAME: "name"}), event["details"]
    return f"'{event['message']}', and in the details '{event['details'].splitlines()[-1]}'"


# --- The network, processes, temporary files ---


def _without_network(program: str, folder: Path) -> str:
    place = Place(folder)
    if program == "worker":
        run = start_worker(place, "seal")
    else:
        run = start_command(place, place.list_arguments("--save-bundle", str(place.outputs / "adapted")), "seal")
    assert run.finish() == 0, f"code {run.process.returncode}: {run.errors[-300:]}"
    shutil.rmtree(place.outputs / "adapted", ignore_errors=True)
    place.check_written()
    return "done where every internet socket ends the process"


def _watch(program: str, folder: Path) -> str:
    place = Place(folder)
    log = folder / "deeds.txt"
    if program == "worker":
        run = start_worker(place, f"watch:{log}")
    else:
        run = start_command(place, place.list_arguments(), f"watch:{log}")
    assert run.finish() == 0, run.errors[-300:]
    deeds = log.read_text(encoding="utf-8").splitlines()
    for kind in ("network", "process", "pickle"):
        found = [deed for deed in deeds if deed.startswith(kind)]
        assert not found, f"{len(found)} of {kind}: {found[0][:200]}"
    allowed = (str(place.outputs), str(place.temporary), "/dev/null", "/proc/self", "/dev/shm")
    elsewhere = [deed for deed in deeds if not ast.literal_eval(deed.partition(" ")[2]).startswith(allowed)]
    elsewhere = [deed for deed in elsewhere if "__pycache__" not in deed]
    assert not elsewhere, f"written elsewhere: {elsewhere[:3]}"
    assert any(str(place.outputs) in deed for deed in deeds), "nothing was written down"
    place.check_written()
    return f"{len(deeds)} deeds: no network, no process, no pickle; files only beside the output and in the temp folder"


def _look_at_temporary_folders(folder: Path) -> str:
    """With the most generous umask."""
    from confuda.bundle import format as bundle
    from confuda.io.volume_file import read_image

    modes: Dict[str, int] = {}
    make = tempfile.mkdtemp
    write = bundle._write_files

    def make_and_look(*arguments: Any, **named: Any) -> str:
        path = make(*arguments, **named)
        modes["of a volume beside its twin"] = os.stat(path).st_mode & 0o777
        return path

    def look_and_write(content: Any, place: Path) -> None:
        modes["of a bundle that is being written"] = os.stat(place).st_mode & 0o777
        write(content, place)

    image = make_heart()[0]
    for ending in (".nii", ".nii.gz"):
        sitk.WriteImage(image, str(folder / f"volume{ending}"))
    former = os.umask(0)
    try:
        with (
            mock.patch.object(tempfile, "mkdtemp", make_and_look),
            mock.patch.object(bundle, "_write_files", look_and_write),
        ):
            read_image(folder / "volume.nii.gz")
            bundle.save_bundle(bundle.load_bundle(share_toy_bundle()), folder / "saved")
    finally:
        os.umask(former)
    assert "of a bundle that is being written" in modes
    assert all(mode == 0o700 for mode in modes.values()), f"{modes}"
    return "; ".join(f"{name} {mode:o}" for name, mode in modes.items())


def _scan_for_open_folders(folder: Path) -> str:
    """Temporary folders come from tempfile, which makes them private."""
    sources = _list_sources("ConFUDASegment/confuda", "ConFUDASegment/ConFUDASegmentLib")
    good = {"tempfile.mkdtemp", "tempfile.TemporaryDirectory", "tempfile.gettempdir"}
    calls = [(path.name, name) for path in sources for name, _ in _find_calls(path) if name.startswith("tempfile.")]
    bad = [f"{path} {name}" for path, name in calls if name not in good]
    assert not bad, "; ".join(bad)
    return f"{len(calls)} calls, all of {', '.join(sorted({name for _, name in calls}))}"


def _trace_connections(folder: Path) -> str:
    """The system calls themselves, of the program as it is started by a user."""
    if shutil.which("strace") is None:
        return "not tried: no strace here"
    place = Place(folder)
    log = folder / "calls.txt"
    command = ["strace", "-f", "-qq", "-e", "trace=socket,connect,execve", "-o", str(log), sys.executable]
    run = Run(place, [*command, "-m", "confuda", *place.list_arguments("--method", "none")])
    if run.finish() != 0 and "ptrace" in run.errors:
        return "not tried: processes may not be traced here"
    assert run.process.returncode == 0, run.errors[-300:]
    calls = log.read_text().splitlines()
    internet = [call for call in calls if "AF_INET" in call]
    programs = [call for call in calls if "execve(" in call and " = 0" in call]
    assert not internet, internet[0][:200]
    assert len(programs) == 1, f"other programs were started: {programs[1][:200]}"
    return f"{len(calls)} calls of socket, connect and execve: no internet socket, no other program"


def _run_in_empty_network(folder: Path) -> str:
    """A network name space without any interface: nothing at all can be reached."""
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True) if shutil.which("unshare") else None
    if probe is None or probe.returncode != 0:
        return "not tried: no network name space may be made here"
    place = Place(folder)
    run = Run(place, ["unshare", "-rn", sys.executable, "-m", "confuda", *place.list_arguments()])
    assert run.finish() == 0, run.errors[-300:]
    place.check_written()
    return "done without any network interface"


# --- The list ---


def _make(name: str, tried: str, expected: str, run: Callable[[Path], str], fast: bool = False) -> Case:
    return Case("security", name, tried, expected, run, fast)


CASES: List[Case] = [
    _make("no unpickler in the sources", "all sources parsed", "no pickle, no torch.load", _scan_for_unpicklers, True),
    _make("no evaluation in the sources", "all sources parsed", "no eval, exec, shell", _scan_for_evaluation, True),
    _make("no network in the sources", "all sources parsed", "no module of the network", _scan_for_network, True),
    _make("no wall clock in the sources", "all sources parsed", "no time.time, no now()", _scan_for_clock, True),
    _make("no open temporary folder in the sources", "all sources parsed", "tempfile's", _scan_for_open_folders, True),
    *[
        _make(
            f"pickle as a bundle's file: {kind}",
            "a pickle that leaves a mark, with a hash that fits, as each file of a bundle",
            "code 4, one sentence, no mark",
            partial(_pickle_in_disguise, kind),
            True,
        )
        for kind in ("plain", "torch.save", "behind a header")
    ],
    *[
        _make(
            f"tensor file: {kind}",
            "as a bundle's segmenter, with a hash that fits",
            "code 4, one sentence, less than 60 MB more memory",
            partial(_hostile_tensor_file, kind),
            True,
        )
        for kind in HOSTILE_TENSOR_FILES
    ],
    _make(
        "bundle.json: a network of 60 GB",
        "width 1024",
        "code 4, one sentence, less than 60 MB more memory",
        _huge_network,
        True,
    ),
    *[
        _make(f"bundle.json names {name}", "a file outside its folder", "code 4", partial(_name_outside, name), True)
        for name in ("../outside.safetensors", "OUTSIDE", "segmenter.safetensors/../../outside.safetensors")
    ],
    *[
        _make(
            f"{name} is a {'relative' if relative else 'absolute'} link",
            "to a file outside of the bundle",
            "code 4, one sentence",
            partial(_link_outside, name, relative),
            True,
        )
        for name in ("segmenter.safetensors", "bundle.json")
        for relative in (True, False)
    ],
    _make("bundle's folder is a link", "to a whole bundle", "it loads", _link_whole_bundle, True),
    _make(
        "texts of bundle and job", "Python, shell and template code in each", "nothing is evaluated", _evaluate_texts
    ),
    *[
        _make(
            f"patient in what the {program} writes",
            "DICOM with names and UIDs; segmentation, map, report, bundle, both streams searched",
            "nothing of the patient",
            partial(_look_for_patient, program),
        )
        for program in ("command", "worker")
    ],
    _make(
        "patient in an unforeseen error",
        "an exception that quotes the volume's path",
        "the report has the error without the path",
        _fail_with_patient,
    ),
    *[
        _make(
            f"network closed to the {program}",
            "a whole adaptation; Python's sockets refused, the kernel ends the process at an internet socket",
            "done",
            partial(_without_network, program),
            fast=program == "command",
        )
        for program in ("command", "worker")
    ],
    _make("network without interfaces", "a whole adaptation in an empty name space", "done", _run_in_empty_network),
    _make("system calls", "strace of a whole segmentation", "no internet socket, no program", _trace_connections),
    *[
        _make(
            f"deeds of the {program}",
            "a whole adaptation with Python's audit events written down",
            "no network, process or pickle; files beside the output and in the temporary folder only",
            partial(_watch, program),
        )
        for program in ("command", "worker")
    ],
    _make("temporary folders", "umask 0", "mode 0700", _look_at_temporary_folders, True),
]
