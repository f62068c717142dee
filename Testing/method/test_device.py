"""The device is what the user asked for, or the CPU with a reason."""

import pytest
import torch

from confuda import device
from confuda.errors import UsageError


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
