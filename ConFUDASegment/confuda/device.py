"""Where the network runs, and in which arithmetic."""

from contextlib import AbstractContextManager
from typing import Tuple

import torch

from confuda.errors import UsageError


def choose_device(name: str) -> Tuple[torch.device, str]:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, and a warning ("" where there is none).

    A GPU counts only if it really runs a small kernel: a torch build without code for it says it is available and fails
    later. Then the CPU is used, with a warning.

    Raises:
        UsageError: for any other name.
    """
    if name == "cpu":
        return torch.device("cpu"), ""
    if name != "auto" and name != "cuda" and not (name.startswith("cuda:") and name[5:].isdigit()):
        raise UsageError(f"Unknown device '{name}': choose auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        warning = "" if name == "auto" else "This torch finds no CUDA GPU: the CPU is used."
        return torch.device("cpu"), warning
    device = torch.device("cuda" if name == "auto" else name)
    try:
        probe = torch.ones(1, 1, 8, 8, device=device)
        torch.nn.functional.conv2d(probe, probe[:, :, :3, :3]).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return torch.device("cpu"), f"The GPU cannot run this torch build ({reason}): the CPU is used."
    return device, ""


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 makes convolutions faster here: GPUs since Ampere, and CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Private names, absent from some torch versions: those then compute in float32.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def compute_in_mixed_precision(device: torch.device) -> AbstractContextManager:
    """An autocast context in bfloat16 where that is fast, else one that changes nothing.

    Never float16: its gradients underflow without a scaler, and bfloat16's do not.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(device))
