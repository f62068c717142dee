"""Memory that runs out, on the GPU and everywhere: smaller batches, then the CPU, then one sentence and code 5."""

import contextlib
import json
from unittest import mock

import pytest
from Testing.torture.runs import Place, start_command
from Testing.toy_bundle import share_toy_bundle

GLIBC_GIVES_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""What is freed leaves the address space too, as it leaves the memory that the limit stands for."""

BIG_STEP = ("--set", "source_batch=128", "--set", "target_batch=128", "--set", "steps=1", "--set", "strength=1")
"""Needs about 0.9 GB of address space; a step of half as many images fits into 0.7 GB."""


def test_no_memory_at_all(place, seen) -> None:
    """10 MB of address space for the job: code 5, one line, and nothing left."""
    run = start_command(place, place.list_arguments(), "memory:10", GLIBC_GIVES_BACK)
    assert run.finish() == 5, run.errors[-300:]
    place.check_untouched()
    seen(f"code 5, '{run.errors.strip().splitlines()[-1]}'")


@pytest.mark.slow
def test_memory_for_half_a_step(place, seen) -> None:
    """Address space for half of a large step: done with smaller batches and a warning."""
    run = start_command(place, place.list_arguments("--json", *BIG_STEP), "memory:700", GLIBC_GIVES_BACK)
    assert run.finish() == 0, run.errors[-300:]
    told = [warning for warning in json.loads(run.answer)["warnings"] if "Memory was short" in warning]
    assert told
    place.check_written()
    seen(f"code 0, a warning: {told[0]}")


@contextlib.contextmanager
def small_gpu(batch, cpu_batch=10**6):
    """A GPU that holds no more than ``batch`` images in one go, and a CPU that holds ``cpu_batch``.

    It is the CPU under its other name, "cpu:0", which torch tells from "cpu"; what it raises is torch's own error.
    """
    import torch

    from confuda import device, segmenter
    from confuda.adaptation import runs as adapt
    from confuda.networks.drunet import DRUNet

    gpu = torch.device("cpu:0")
    most = [cpu_batch]
    choose, encode = device.choose_device, DRUNet.encode

    def choose_small_gpu(name):
        most[0] = cpu_batch if name == "cpu" else batch
        return choose("cpu") if name == "cpu" else (gpu, "")

    def encode_or_fail(self, images):
        if len(images) > most[0]:
            if most[0] == batch:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return encode(self, images)

    with (
        mock.patch.object(segmenter, "choose_device", choose_small_gpu),
        mock.patch.object(DRUNet, "encode", encode_or_fail),
        mock.patch.object(adapt, "CPU", torch.device("cpu")),
    ):
        yield


def run_job_in(place, **fields):
    """Summary of the job, and the warnings that its observer heard."""
    from confuda.app.job import Job
    from confuda.app.run import JobObserver, run_job

    warnings = []

    class Listener(JobObserver):
        def warning(self, message):
            warnings.append(message)

    job = Job(place.volume, place.output, bundle=share_toy_bundle(), settings={"steps": 2, "strength": 1.0}, **fields)
    return run_job(job, Listener()), warnings


def test_gpu_memory_for_one_slice(tmp_path, seen) -> None:
    """A GPU that takes no more than one image, no adaptation: one slice at a time, the same labels."""
    place = Place(tmp_path, ".nrrd")
    _, before = run_job_in(place, method="none")
    whole = place.output.read_bytes()
    with small_gpu(1):
        summary, warnings = run_job_in(place, method="none")
    assert summary["device"] == "cpu:0" and warnings == before
    assert place.output.read_bytes() == whole
    seen("the same labels byte for byte, on the GPU, one slice at a time")


def test_gpu_memory_for_half_a_step(place, seen) -> None:
    """A GPU that takes half of a step's images: smaller batches and a warning, on the GPU."""
    with small_gpu(4):  # a step looks at 2 sources, 2 stylised, 2 targets, 2 copies
        summary, warnings = run_job_in(place)
    assert summary["device"] == "cpu:0" and summary["steps"] == 2
    assert any("1 source and 1 target images" in warning for warning in warnings)
    assert summary["warnings"] == warnings
    place.check_written()
    seen(f"done on the GPU, with a warning: {warnings[0]}")


def test_gpu_memory_for_nothing(tmp_path, seen) -> None:
    """A GPU that takes no image: the CPU and a warning, the labels of a CPU run byte for byte."""
    place = Place(tmp_path, ".nrrd")
    run_job_in(place, device="cpu")
    plain = place.output.read_bytes()
    with small_gpu(0):
        summary, warnings = run_job_in(place, device="auto")
    assert summary["device"] == "cpu" and any("CPU is used" in warning for warning in warnings)
    assert place.output.read_bytes() == plain
    seen("done on the CPU with a warning, the labels of a CPU run byte for byte")


def test_memory_nowhere(place, seen) -> None:
    """Errors of memory on the GPU and then on the CPU: code 5, one line, and nothing left."""
    from confuda.errors import MemoryExhausted

    with pytest.raises(MemoryExhausted) as error, small_gpu(0, cpu_batch=0):
        run_job_in(place)
    assert error.value.exit_code == 5
    place.check_untouched()
    seen(f"code 5, '{error.value}'")


@pytest.mark.slow
def test_true_gpu_with_little_memory(place, seen) -> None:
    """0.05 % of a true GPU's memory: done, on the GPU or the CPU."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0005)
    try:
        summary, warnings = run_job_in(place, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    place.check_written()
    seen(f"done on {summary['device']}, warnings: {'; '.join(warnings) or 'none'}")


def test_preview_that_cannot_be_written(place, seen) -> None:
    """The folder of the previews is gone: done without a preview."""
    from confuda.app import run

    with mock.patch.object(run, "PREVIEW_EVERY_S", 0.0):
        summary, _ = run_job_in(place, preview_folder=place.folder / "no such folder")
    assert summary["steps"] == 2
    place.check_written()
    seen("done: a preview that cannot be written does not stop the run")
