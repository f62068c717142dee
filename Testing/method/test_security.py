"""What keeps patients and paths out of reports, and memory and hostile words out of trouble, piece by piece.

The promises as a whole are tried by the tests in Testing/torture.
"""

import errno
import json
import os

import pytest

from confuda.app.job import parse_job
from confuda.app.kinds import LONGEST_NAME
from confuda.errors import BundleError, InputError, UsageError, is_out_of_memory
from confuda.io.atomic import TargetFolder, name_draft
from confuda.privacy import hide_paths


@pytest.mark.parametrize(
    "text, hidden",
    [
        ("No such file: /data/DOE/x.nrrd", "No such file: <path>"),
        ("No such file: /data/Jane Doe/x.nrrd", "No such file: <path>"),
        (r"C:\Users\Jane Doe\x.nrrd is damaged", "<path> is damaged"),
        (r"\\server\share\DOE\x.nrrd", "<path>"),
        ("at '/a/b' and \"/c/d\"", "at '<path>' and \"<path>\""),
        ("folder=/data/DOE", "folder=<path>"),
        ("adapt 3/60, 4 s left", "adapt 3/60, 4 s left"),
        ("voxels/mm and 1 / 2", "voxels/mm and 1 / 2"),
    ],
)
def test_paths_are_hidden_and_fractions_are_not(text, hidden) -> None:
    assert hide_paths(text) == hidden


def test_a_known_path_is_hidden_to_its_end() -> None:
    path = "/data/all/Jane of Doe.nrrd"
    assert hide_paths(f"{path} has no voxels", [path]) == "<path> has no voxels"
    assert hide_paths(f"bad block in {path!r}", [path]) == "bad block in '<path>'"
    assert hide_paths("bad Jane Doe.nrrd", ["Jane Doe.nrrd", None]) == "bad <path>"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 17179869184 bytes."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("itkImportImageContainer.hxx:179:\nFailed to allocate memory for image."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_memory_that_ran_out_is_told_in_every_librarys_words(error) -> None:
    assert is_out_of_memory(error)
    try:
        raise InputError("The file is damaged.") from error
    except InputError as told:
        assert is_out_of_memory(told)


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), RuntimeError("size mismatch"), BundleError("damaged"), OSError(28, "full")]
)
def test_other_errors_are_not_taken_for_memory(error) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"volume": "a\0b"},
        {"bundle": "\ud800"},
        {"mode": "x" * (LONGEST_NAME + 1)},
        {"device": "cpu\nfinished"},
        {"method": "\x1b[2J"},
    ],
)
def test_a_job_with_impossible_words_is_refused(fields) -> None:
    with pytest.raises(UsageError, match="wrong kind") as refused:
        parse_job(json.dumps({"volume": "v.nrrd", "output": "o.nrrd", **fields}))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("line", ["[" * 200_000, '{"volume":' * 100_000])
def test_a_job_of_endless_depth_is_refused(line) -> None:
    with pytest.raises(UsageError, match="JSON"):
        parse_job(line)


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked there, so nothing is removed")
def test_only_what_lay_there_from_the_beginning_is_removed(tmp_path) -> None:
    old = tmp_path / f"{name_draft()}.seg.nrrd"
    old.write_bytes(b"half")
    folder = tmp_path / name_draft()
    (folder / "inside").mkdir(parents=True)
    mine = tmp_path / ".confuda-settings"
    mine.write_bytes(b"")
    target = TargetFolder(tmp_path)
    young = tmp_path / f"{name_draft()}.nrrd"
    young.write_bytes(b"being written")
    with target.hold():
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, young.name])


def test_a_folder_that_cannot_be_listed_is_no_trouble(tmp_path) -> None:
    with TargetFolder(tmp_path / "missing").hold():
        pass


def test_a_full_gpu_is_not_taken_for_an_unsuitable_one(monkeypatch) -> None:
    import torch

    from confuda import device

    def fail(*arguments, **named):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", fail)
    chosen, warning = device.choose_device("auto")
    assert chosen == device.CPU and warning == "The GPU's memory is full: the CPU is used."
