"""Where the network runs, and in which arithmetic."""

import gc
import sys
from contextlib import AbstractContextManager, contextmanager
from typing import Callable, Iterator, Optional, Tuple, TypeVar

import torch
from torch import Tensor

from confuda.errors import UsageError, is_out_of_memory

CPU = torch.device("cpu")

_fixed_precision: Optional[str] = None

Network = TypeVar("Network", bound=torch.nn.Module)


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
        if is_out_of_memory(error):
            return torch.device("cpu"), "The GPU's memory is full: the CPU is used."
        reason = str(error).splitlines()[0]
        return torch.device("cpu"), f"The GPU cannot run this torch build ({reason}): the CPU is used."
    return device, ""


def measure_peak_memory_mb() -> Optional[float]:
    """The largest resident size of this process so far, in MB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def to_device(network: Network, device: torch.device) -> Network:
    """``network`` on ``device``, its weights in the order that convolutions are fastest in."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def compile_where_it_pays(network: torch.nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """``network`` as a function, compiled by torch on a GPU: for a training of many steps of one shape.

    Where the compiler fails (it needs Triton and a C compiler), or on the CPU, it is the network as it is.
    """
    return network if device.type != "cuda" else _Compiled(network)


class _Compiled:
    """A compiled network, until compiling fails: torch compiles at the first call, and only then finds out."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
        self._forward: Callable[[Tensor], Tensor] = torch.compile(network)
        self._works = False

    def __call__(self, images: Tensor) -> Tensor:
        if self._works:
            return self._forward(images)
        try:
            answer = self._forward(images)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._forward = self._network
            answer = self._network(images)
        self._works = True
        return answer


def release_memory() -> None:
    """Give back what a failed attempt held: tensors in reference cycles, and what torch keeps of the GPU's memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 makes convolutions faster here: GPUs since Ampere, and CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Private names, absent from some torch versions: those then compute in float32.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def compute_in_mixed_precision(device: torch.device) -> AbstractContextManager:
    """An autocast context in bfloat16 where that is fast (or as :func:`fixed_precision` says), else one that changes
    nothing.

    Never float16: its gradients underflow without a scaler, and bfloat16's do not.
    """
    enabled = has_fast_bfloat16(device) if _fixed_precision is None else _fixed_precision == "bf16-mixed"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def fixed_precision(precision: Optional[str]) -> Iterator[None]:
    """:func:`compute_in_mixed_precision` is "32-true" or "bf16-mixed" all the while; None: what is fast, as ever."""
    global _fixed_precision
    former, _fixed_precision = _fixed_precision, precision
    try:
        yield
    finally:
        _fixed_precision = former
