"""Time and memory of one step of one contrastive loss: what ``confuda benchmark cost`` runs in a process of its own.

    python -m confuda.benchmark.cost_step < case.json

reads a :class:`CostCase` as JSON and prints what :func:`measure_step` returns, as JSON.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from confuda.errors import MemoryExhausted, UsageError, is_out_of_memory
from confuda.labels import CLASS_NAMES
from confuda.losses.blocks import contrast_blocks
from confuda.losses.centroids import SourceBank, compute_centroids
from confuda.losses.contrastive import ContrastiveLoss, ContrastiveSettings
from confuda.losses.labels import encode_labels
from confuda.losses.pixels import contrast_pixels, estimate_pixel_contrast_bytes

CENTROIDS, BLOCKS, PIXELS = "centroids", "blocks", "pixels"
LOSSES = (CENTROIDS, BLOCKS, PIXELS)

IMAGES = 1
"""Target images of a step, as in the paper ("that of target images was one")."""

BLOCK_SIZE = 16
"""Side of BlockCL's blocks in pixels, the default of ``AdaptationSettings.block_size``; every pixel is compared."""

_TEMPERATURE = 0.1
_WARM_SIDE = 16
_MOST_TIMED_S = 60.0
_ITEMSIZE = 4
_MAP_COPIES, _BLOCK_COPIES, _CENTROID_COPIES = 3, 4, 9
"""How many whole feature maps, matrices of a block's pairs, and sets of centroids are alive at the worst moment."""


@dataclass(frozen=True)
class CostCase:
    """What is measured: a loss on square feature maps of ``side`` pixels with ``channels`` channels.

    loss: one of ``LOSSES``; CENTROIDS is MPCCL with ``partitions`` partitions, and CCL where that is 1. repeats: steps
    that are timed, fewer where they take more than a minute. threads: CPU threads, or None for torch's own choice.
    """

    loss: str
    partitions: int
    side: int
    channels: int
    repeats: int
    threads: Optional[int]
    device: str


def estimate_step_bytes(case: CostCase) -> int:
    """Bytes that a step must hold beside its inputs, roughly: whole maps, and matrices of pairs where there are any."""
    pixels = IMAGES * case.side**2
    maps = _MAP_COPIES * pixels * (case.channels + len(CLASS_NAMES)) * _ITEMSIZE
    if case.loss == PIXELS:
        return maps + estimate_pixel_contrast_bytes(IMAGES, case.side, case.side, _ITEMSIZE)
    if case.loss == BLOCKS:
        blocks = IMAGES * (-(-case.side // BLOCK_SIZE)) ** 2
        return maps + _BLOCK_COPIES * blocks * (2 * BLOCK_SIZE**2) ** 2 * _ITEMSIZE
    centroids = case.partitions * len(CLASS_NAMES) * case.channels
    return maps + _CENTROID_COPIES * centroids * _ITEMSIZE


def make_step(case: CostCase, device: torch.device) -> Callable[[], Tensor]:
    """One step as a function of nothing: forward and backward of the loss down to the gradients of its inputs.

    The inputs are feature maps of the target and of its augmented copy, (B, D, H, W), and for the centroid losses soft
    labels (B, K, H, W) of both, and a labelled source map whose centroids go into the memory bank in each step.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(channels: int) -> Tensor:
        return torch.randn((IMAGES, channels, case.side, case.side), generator=generator).to(device)

    target, augmented = (draw(case.channels).requires_grad_() for _ in range(2))
    leaves = [target, augmented]
    if case.loss == CENTROIDS:
        classes = len(CLASS_NAMES)
        soft_labels = [torch.softmax(3 * draw(classes), dim=1).requires_grad_() for _ in range(2)]
        leaves += soft_labels
        source, labels = draw(case.channels), encode_labels(draw(classes).argmax(1), classes)
        bank = SourceBank(classes, case.channels, minimum_mass=0.0).to(device)
        contrastive = ContrastiveLoss(
            ContrastiveSettings(temperature=_TEMPERATURE, partitions=case.partitions, minimum_mass=0.0)
        )

    def compute() -> Tensor:
        if case.loss == PIXELS:
            return contrast_pixels(target, augmented, _TEMPERATURE)
        if case.loss == BLOCKS:
            inside = torch.ones((IMAGES, case.side, case.side), dtype=torch.bool, device=device)
            return contrast_blocks(target, augmented, inside, BLOCK_SIZE, _TEMPERATURE)
        bank.update(compute_centroids(source, labels))
        parts = contrastive(target, soft_labels[0], augmented, soft_labels[1], bank)
        return parts["inter"] + parts["intra"] + 0.5 * parts["norm"]

    def take_step() -> Tensor:
        loss = compute()
        loss.backward()
        # A step ends as it began, with the inputs alone: the next one is measured from there.
        for leaf in leaves:
            leaf.grad = None
        return loss.detach()

    return take_step


def measure_step(case: CostCase) -> Dict[str, Any]:
    """Measure ``case`` in this process.

    Returns "peak_bytes", the most memory that the tensors of one step held at one time beyond its inputs (gradients and
    temporaries inside operators included); "resident_bytes", by how much the largest resident size of the process grew
    in the very first step, or None where the system does not tell (a check on the former, which sees no scratch memory
    of a mathematical library); "seconds" of the fastest of the timed steps, on the CPU of processor time over all
    threads, which other programs do not lengthen; "wall_seconds", their median by the clock; "repeats"; "threads".
    """
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    # Thread pools, library handles and code pages are nobody's memory but would count as the first step's.
    make_step(replace(case, side=_WARM_SIDE, partitions=min(case.partitions, _WARM_SIDE**2)), device)()
    take_step = make_step(case, device)
    resident_bytes = _measure_resident_growth(take_step)
    peak_bytes = measure_peak_bytes(take_step, device)
    wall_s, processor_s = _time_steps(take_step, case.repeats, device)
    return {
        "peak_bytes": peak_bytes,
        "resident_bytes": resident_bytes if device.type == "cpu" else None,
        "seconds": min(processor_s if device.type == "cpu" else wall_s),
        "wall_seconds": statistics.median(wall_s),
        "repeats": len(wall_s),
        "threads": torch.get_num_threads(),
    }


def measure_peak_bytes(take_step: Callable[[], Tensor], device: torch.device) -> int:
    """The most bytes that one step held at one time beyond what was there before it.

    On a GPU by the statistics of torch's caching allocator; on the CPU, which keeps none, by adding up every allocation
    and release that torch's profiler records, in their order. Both count tensors exactly, to the byte.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        take_step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        take_step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _measure_resident_growth(take_step: Callable[[], Tensor]) -> Optional[int]:
    """Bytes by which the largest resident size rose during a step; None where Linux's /proc is not there."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # The high-water mark starts anew.
        before = _read_resident("VmRSS")
        take_step()
        return max(0, _read_resident("VmHWM") - before)
    except OSError:
        take_step()
        return None


def _read_resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}.")


def _time_steps(take_step: Callable[[], Tensor], repeats: int, device: torch.device) -> Tuple[List[float], List[float]]:
    """Wall-clock and processor seconds of each timed step."""
    wall_s: List[float] = []
    processor_s: List[float] = []
    while len(wall_s) < repeats and sum(wall_s) < _MOST_TIMED_S:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began, began_processor = time.perf_counter(), time.process_time()
        take_step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall_s.append(time.perf_counter() - began)
        processor_s.append(time.process_time() - began_processor)
    return wall_s, processor_s


def main() -> int:
    """Measure the case on stdin; exit code 5 where memory does not suffice."""
    case = CostCase(**json.load(sys.stdin))
    if case.loss not in LOSSES:
        raise UsageError(f"Unknown loss '{case.loss}': choose one of {', '.join(LOSSES)}.")
    try:
        print(json.dumps(measure_step(case)))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return MemoryExhausted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
