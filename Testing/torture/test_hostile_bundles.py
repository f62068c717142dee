"""Bundles of somebody who means harm: never unpickled, never evaluated, refused before they cost memory."""

import contextlib
import io
import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import SimpleITK as sitk
from Testing.torture.runs import start_command
from Testing.toy_bundle import make_heart, share_toy_bundle

TENSOR_FILES = ("segmenter.safetensors", "rain.safetensors", "source.safetensors")
MOST_MB = 60


class Marker:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def copy_bundle(folder: Path) -> Path:
    return Path(shutil.copytree(share_toy_bundle(), folder / "bundle"))


def replace_file(bundle: Path, name: str, content: bytes) -> None:
    """Another content, of which bundle.json knows."""
    from confuda.bundle.format import hash_file

    (bundle / name).write_bytes(content)
    edit_description(bundle, lambda description: description["files"].update({name: hash_file(bundle / name)}))


def edit_description(bundle: Path, change) -> None:
    path = bundle / "bundle.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def refuse(bundle: Path, word: str = ".") -> str:
    from confuda.bundle.format import load_bundle
    from confuda.errors import BundleError

    with pytest.raises(BundleError, match=word) as error:
        load_bundle(bundle)
    return f"code 4, '{str(error.value).replace(str(bundle.parent), '...')}'"


@contextlib.contextmanager
def peak_memory():
    """A function that gives by how many MB the process's memory rose at most in the block (0 where Linux does not)."""

    def read(field: str) -> float:
        try:
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0.0
        return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith(field))

    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before, peak = read("VmRSS"), [0.0]
    yield lambda: peak[0]
    peak[0] = max(0.0, read("VmHWM") - before)


@pytest.mark.parametrize("kind", ["plain", "torch.save", "behind a header"])
def test_pickle_in_disguise(kind, tmp_path, seen) -> None:
    """A pickle that leaves a mark, with a hash that fits, as each file of a bundle: code 4, one sentence, no mark."""
    marker = tmp_path / "unpickled"
    content = pickle.dumps(Marker(marker))
    if kind == "torch.save":
        import torch

        stream = io.BytesIO()
        torch.save({"weight": Marker(marker)}, stream)
        content = stream.getvalue()
    elif kind == "behind a header":
        # A length that fits, and a header that is a pickle instead of JSON.
        content = len(content).to_bytes(8, "little") + content
    for name in TENSOR_FILES:
        bundle = copy_bundle(tmp_path / name)
        replace_file(bundle, name, content)
        seen(refuse(bundle, "cannot be read"))
    bundle = copy_bundle(tmp_path / "description")
    (bundle / "bundle.json").write_bytes(content)
    refuse(bundle)
    assert not marker.exists(), "it was unpickled"


def make_tensor_file(header, data=b"", length=None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def describe_tensor(shape, begin, end):
    return {"x": {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}}


ONE = b'"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HOSTILE_TENSOR_FILES = {
    "header of 4 GB claimed": (b"{}", b"", 2**32),
    "header of 2^63 bytes claimed": (b"{}", b"", 2**63),
    "header longer than the file": (b"{}", b"", 900_000),
    "header of 20 MB": (b" " * 20_000_000 + b"{}",),
    "tensor of 64 GB claimed": (describe_tensor([2**17, 2**17], 0, 2**36), b"0" * 64),
    "tensor of 2^80 values": (describe_tensor([2**40, 2**40], 0, 64), b"0" * 64),
    "offsets beyond the end": (describe_tensor([16], 64, 128), b"0" * 64),
    "offsets backwards": (describe_tensor([16], 64, 0), b"0" * 64),
    "negative shape": (describe_tensor([-16], 0, 64), b"0" * 64),
    "JSON 100,000 deep": (b"[" * 100_000,),
    "a thousand times the same tensor": (b"{" + b",".join([ONE] * 1000) + b"}", b"0" * 4),
    "no header": None,
    "seven bytes": None,
}


@pytest.mark.parametrize("kind", HOSTILE_TENSOR_FILES)
def test_tensor_file(kind, tmp_path, seen) -> None:
    """A hostile file as the bundle's segmenter, with a hash that fits: code 4, one sentence, less than 60 MB memory."""
    bundle = copy_bundle(tmp_path)
    parts = HOSTILE_TENSOR_FILES[kind]
    content = make_tensor_file(*parts) if parts else b"\0" * 7 if kind == "seven bytes" else b""
    replace_file(bundle, "segmenter.safetensors", content)
    with peak_memory() as grown_mb:
        said = refuse(bundle)
    assert grown_mb() < MOST_MB
    seen(f"{said}, {grown_mb():.0f} MB more memory")


def test_network_of_60_gb(tmp_path, seen) -> None:
    """A width of 1024 in bundle.json: code 4, one sentence, less than 60 MB more memory."""
    bundle = copy_bundle(tmp_path)
    edit_description(bundle, lambda d: d.update(segmenter={"width": 1024, "normalisation": "batch"}))
    with peak_memory() as grown_mb:
        said = refuse(bundle, "does not fit")
    assert grown_mb() < MOST_MB
    seen(f"{said}, {grown_mb():.0f} MB more memory")


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "OUTSIDE", "segmenter.safetensors/../../outside.safetensors"]
)
def test_name_outside(name, tmp_path, seen) -> None:
    """bundle.json names a file outside its folder: code 4."""
    bundle = copy_bundle(tmp_path)
    outside = tmp_path / "outside.safetensors"
    shutil.move(str(bundle / TENSOR_FILES[0]), outside)
    name = name.replace("OUTSIDE", str(outside))
    edit_description(bundle, lambda d: d["files"].update({name: d["files"].pop(TENSOR_FILES[0])}))
    seen(refuse(bundle, "exactly the files"))


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("name", ["segmenter.safetensors", "bundle.json"])
def test_link_outside(name, relative, tmp_path, seen) -> None:
    """A file of the bundle is a link to a file outside of it: code 4, one sentence."""
    bundle = copy_bundle(tmp_path)
    outside = tmp_path / "outside"
    shutil.move(str(bundle / name), outside)
    os.symlink("../outside" if relative else outside, bundle / name)
    seen(refuse(bundle, "link out of its folder"))


def test_link_to_a_whole_bundle(tmp_path) -> None:
    """The bundle's folder may be a link; only its files may not lead out of it."""
    from confuda.bundle.format import load_bundle

    os.symlink(copy_bundle(tmp_path), tmp_path / "link")
    load_bundle(tmp_path / "link")


@pytest.mark.slow
def test_texts_are_not_evaluated(place, seen) -> None:
    """Python, shell and template code in each text of a bundle and a job, and as a file's name: none is evaluated."""
    from confuda.app.job import parse_job
    from confuda.app.run import run_job
    from confuda.bundle.format import load_bundle, save_bundle
    from confuda.errors import ConfudaError

    folder = place.folder
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
    bundle = copy_bundle(folder)
    for text in texts:
        training = {"data": text, "licence": text, "citation": text, "segmenter": {text: text}}
        edit_description(bundle, lambda d, t=text, more=training: d.update(name=t, version=t, training=more))
        save_bundle(load_bundle(bundle), folder / "saved")
        fields = [{name: text} for name in ("mode", "method", "preset", "device", "volume", "bundle")]
        fields += [{"settings": {text: 1}}, {"settings": {"optimizer": text}}, {"settings": {"steps": text}}]
        for field in fields:
            with pytest.raises(ConfudaError):
                run_job(parse_job(json.dumps(place.describe_job(**field))))
    odd = place.outputs / "$(touch evaluated) `touch evaluated`; touch evaluated.seg.nrrd"
    run = start_command(place, [*place.list_arguments()[:3], str(odd), *place.list_arguments()[4:], "--method", "none"])
    assert run.finish() == 0, run.errors[-300:]
    assert odd.is_file(), "the output has another name"
    assert not [path.name for path in folder.rglob("evaluated*")]
    seen(f"{len(texts)} texts in {len(fields) + 5} places: none was evaluated")


def test_temporary_folders_are_private(tmp_path, seen) -> None:
    """Even with a umask of 0, temporary folders and the draft of a bundle have the mode 0700."""
    from confuda.bundle import format as bundle
    from confuda.io.volume_file import read_image

    modes = {}
    make, write = tempfile.mkdtemp, bundle._write_files

    def make_and_look(*arguments, **named):
        path = make(*arguments, **named)
        modes["of a volume beside its twin"] = os.stat(path).st_mode & 0o777
        return path

    def look_and_write(content, place):
        modes["of a bundle that is being written"] = os.stat(place).st_mode & 0o777
        write(content, place)

    for ending in (".nii", ".nii.gz"):
        sitk.WriteImage(make_heart()[0], str(tmp_path / f"volume{ending}"))
    former = os.umask(0)
    try:
        with (
            mock.patch.object(tempfile, "mkdtemp", make_and_look),
            mock.patch.object(bundle, "_write_files", look_and_write),
        ):
            read_image(tmp_path / "volume.nii.gz")
            bundle.save_bundle(bundle.load_bundle(share_toy_bundle()), tmp_path / "saved")
    finally:
        os.umask(former)
    assert "of a bundle that is being written" in modes
    assert all(mode == 0o700 for mode in modes.values())
    seen("; ".join(f"{name} {mode:o}" for name, mode in modes.items()))
