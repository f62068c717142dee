"""On what machine something was measured."""

import os
import platform
from pathlib import Path

import torch


def describe_machine(device: torch.device) -> str:
    """Processor, cores and graphics card, without a name that tells whose machine it is."""
    text = f"{_find_processor()}, {os.cpu_count()} cores"
    return text + (f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "")


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
