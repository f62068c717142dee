"""The device is what the user asked for, or the CPU with a reason."""

import pytest
import torch

from confuda import device
from confuda.errors import UsageError
from confuda.imaging.random_settings import Dice


def test_cpu_and_unknown_names() -> None:
    assert device.choose_device("cpu") == (torch.device("cpu"), "")
    for name in ("gpu", "cuda:x", "", "tpu"):
        with pytest.raises(UsageError, match="device"):
            device.choose_device(name)


def test_a_missing_gpu_is_told_only_to_those_who_asked_for_one(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device("auto") == (torch.device("cpu"), "")
    chosen, warning = device.choose_device("cuda:1")
    assert chosen.type == "cpu" and "CPU is used" in warning


def test_a_gpu_that_cannot_run_a_kernel_is_not_used(monkeypatch) -> None:
    def refuse(*arguments, **named):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", refuse)
    chosen, warning = device.choose_device("auto")
    assert chosen.type == "cpu" and "no kernel image" in warning and "\n" not in warning


def test_mixed_precision_is_left_out_where_it_is_not_fast(monkeypatch) -> None:
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda where: False)
    with device.compute_in_mixed_precision(torch.device("cpu")):
        product = torch.ones(4, 4) @ torch.ones(4, 4)
    assert product.dtype == torch.float32


def test_a_precision_that_is_asked_for_holds_as_long_as_it_is_meant_to(monkeypatch) -> None:
    def multiply() -> torch.dtype:
        with device.compute_in_mixed_precision(torch.device("cpu")):
            return (torch.ones(4, 4) @ torch.ones(4, 4)).dtype

    for fast in (True, False):
        monkeypatch.setattr(device, "has_fast_bfloat16", lambda where, fast=fast: fast)
        usual = torch.bfloat16 if fast else torch.float32
        for precision, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), (None, usual)):
            with device.fixed_precision(precision):
                assert multiply() == dtype
            assert multiply() == usual


def test_where_the_compiler_fails_the_network_is_used_as_it_is(monkeypatch) -> None:
    def compile_nothing(network):
        def fail(images):
            raise RuntimeError("no C compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)
    network = torch.nn.Conv2d(1, 2, 1)
    images = torch.ones(1, 1, 4, 4)
    forward = device.compile_where_it_pays(network, torch.device("cuda"))
    for _ in range(2):
        assert torch.equal(forward(images), network(images))
    assert device.compile_where_it_pays(network, torch.device("cpu")) is network


def test_memory_that_is_short_is_no_failure_of_the_compiler(monkeypatch) -> None:
    def run_out(images):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "compile", lambda network: run_out)
    with pytest.raises(torch.OutOfMemoryError):
        device.compile_where_it_pays(torch.nn.Conv2d(1, 2, 1), torch.device("cuda"))(torch.ones(1, 1, 4, 4))


def test_random_numbers_are_the_same_on_every_device() -> None:
    """The meta device has shapes and no values: what is drawn for it leaves the generator where a CPU draw does."""
    left = []
    for where in (None, torch.device("meta")):
        dice = Dice(torch.Generator().manual_seed(3), where)
        drawn = (dice.uniform((2, 3)), dice.normal((4,)), dice.integers((5,), 9), dice.field(2, 5, (8, 8)))
        assert {part.device.type for part in drawn} == {"cpu" if where is None else "meta"}
        left.append(dice.generator.get_state())
    assert torch.equal(*left)
