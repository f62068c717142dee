"""Where the time of one adaptation step goes, and how near it comes to what the machine can do."""

import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from confuda.adaptation.runs import adapt
from confuda.adaptation.settings import AdaptationSettings, make_settings
from confuda.bundle.format import Bundle, load_bundle
from confuda.device import has_fast_bfloat16
from confuda.io.volume_file import read_volume
from confuda.segmenter import Segmenter

NEVER = 1_000_000
"""A number of steps that no profile reaches."""
SHOWN_OPERATORS = 15


def load_target(bundle: Bundle, volume: Path) -> np.ndarray:
    """The slices (S, crop, crop) in [0, 1] that an adaptation to ``volume`` would see."""
    return Segmenter(bundle, device="cpu").look(read_volume(volume)).crop.slices


def make_step_settings(preset: str, steps: int) -> AdaptationSettings:
    """The preset's steps, all with every term and eps moving, and no second look at the target among them."""
    return make_settings(preset, {"steps": steps, "warmup_share": 0.0, "refresh_every": NEVER})


def count_step_flops(bundle: Bundle, target: np.ndarray, preset: str) -> int:
    """Floating-point operations of one step (convolutions and matrix products, forward and backward)."""
    totals = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            adapt(bundle, target, "confuda", make_step_settings(preset, steps))
        totals.append(counter.get_total_flops())
    # Both runs begin with the same look at the target: what they differ by is one step.
    return totals[1] - totals[0]


def time_steps(bundle: Bundle, target: np.ndarray, preset: str, steps: int) -> float:
    """Median seconds of a step, the first one left out: it warms up."""
    ends: List[float] = []
    settings = make_step_settings(preset, steps + 1)
    adapt(bundle, target, "confuda", settings, report=lambda *_: ends.append(time.perf_counter()))
    return median(later - earlier for earlier, later in zip(ends, ends[1:]))


def list_operators(bundle: Bundle, target: np.ndarray, preset: str, steps: int) -> List[Dict[str, Any]]:
    """The operators that take most of a step by self CPU time: name, ms and calls a step, share of the step."""
    profiler = profile(activities=[ProfilerActivity.CPU])

    def report(step: int, total: int, *_: Any) -> None:
        if step == 1:
            profiler.start()
        elif step == total:
            profiler.stop()

    adapt(bundle, target, "confuda", make_step_settings(preset, steps + 1), report=report)
    events = sorted(profiler.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
    whole = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operator": event.key,
            "self_ms": round(event.self_cpu_time_total / 1000 / steps, 3),
            "share": round(event.self_cpu_time_total / whole, 4),
            "calls": round(event.count / steps, 1),
        }
        for event in events[:SHOWN_OPERATORS]
    ]


def measure_peak_gflops(dtype: torch.dtype, size: int, repeats: int = 5) -> float:
    """Billions of operations a second in a product of two square matrices: the best of ``repeats``."""
    one, other = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    best = float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def profile_step(volume: Path, bundle_folder: Path, preset: str, threads: int, steps: int, size: int) -> Dict[str, Any]:
    """All of the above on ``threads`` CPU threads; ``size`` is that of the matrices."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        bundle = load_bundle(bundle_folder)
        target = load_target(bundle, volume)
        flops = count_step_flops(bundle, target, preset)
        seconds = time_steps(bundle, target, preset, steps)
        peaks = {
            "bfloat16": measure_peak_gflops(torch.bfloat16, size),
            "float32": measure_peak_gflops(torch.float32, size),
        }
        operators = list_operators(bundle, target, preset, steps)
    finally:
        torch.set_num_threads(before)
    reached = flops / seconds / 1e9
    return {
        "preset": preset,
        "threads": threads,
        "arithmetic": "bfloat16" if has_fast_bfloat16(torch.device("cpu")) else "float32",
        "step_gflop": round(flops / 1e9, 2),
        "step_s": round(seconds, 4),
        "reached_gflops": round(reached, 2),
        "peak_gflops": {name: round(value, 2) for name, value in peaks.items()},
        "share_of_peak": {name: round(reached / value, 4) for name, value in peaks.items()},
        "operators": operators,
    }
