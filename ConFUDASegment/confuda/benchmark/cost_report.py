"""The report of ``confuda benchmark cost``: a table for each number of channels, what the paper says beside what was
measured, and a figure with memory and time over the resolution."""

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from confuda.benchmark.cost_step import BLOCK_SIZE, IMAGES, PIXELS
from confuda.benchmark.published import SOURCE
from confuda.errors import UsageError
from confuda.io.atomic import replace_file
from confuda.labels import CLASS_NAMES

ALL_PIXELS = "MPCCL, P = H*W"

_QUOTES = (
    '"in image segmentation, the large memory footprint due to the computation of the pixel-wise contrastive loss '
    'makes it prohibitive to use" (abstract)',
    '"to relieve the computational burden of contrastive learning" (CCL, section 1)',
    '"by increasing the number of partitions from P to H × W, we can derive the traditional contrastive loss from '
    "MPCCL. Thus, MPCCL can be considered as a compromise between the large computational burden and the model "
    'performance" (section 2.2)',
)


def format_cost(whole: Dict[str, Any]) -> str:
    """The Markdown report of ``whole``, the content of cost.json."""
    cells = whole["cells"]
    lines = ["# Cost of one contrastive step", "", _describe_measurement(whole), ""]
    for channels in _list_distinct(cells, "channels"):
        lines += [f"## {channels} channels", "", *_format_table([c for c in cells if c["channels"] == channels]), ""]
    lines += ["## What the paper says", "", f"{SOURCE} gives no figure in bytes or seconds. It says:", ""]
    lines += [f"- {quote}" for quote in _QUOTES]
    lines += ["", "Measured here:", ""]
    lines += [f"- {finding}" for finding in list_findings(cells)]
    return "\n".join(lines) + "\n"


def _describe_measurement(whole: Dict[str, Any]) -> str:
    measured = [cell for cell in whole["cells"] if "peak_bytes" in cell]
    threads = ", ".join(str(number) for number in sorted({cell["threads"] for cell in measured})) or "no"
    repeats = max((cell["repeats"] for cell in measured), default=0)
    on_gpu = any(cell["device"].startswith("cuda") for cell in whole["cells"])
    how = (
        "the peak of torch's caching allocator above what was there before the step"
        if on_gpu
        else "every allocation and release of tensor memory in the step, as torch's profiler records them, added up in "
        "their order (cost.json has the growth of the process's resident size beside it)"
    )
    time = "time" if on_gpu else "processor time, which other programs do not lengthen"
    return (
        f"Peak memory beyond the inputs, and {time} (the fastest of the repeats), of one step: forward and backward of "
        "the loss alone, from "
        f"feature maps (and soft labels of {len(CLASS_NAMES)} classes) of {IMAGES} target image and of its augmented "
        "copy, in float32. CCL and MPCCL include CNR and the update of the memory bank from one labelled map; BlockCL "
        f"has blocks of {BLOCK_SIZE} x {BLOCK_SIZE} and, like the pixel-wise loss, compares every pixel of both "
        f"images. Memory: {how}. Made with confuda {whole['versions']['confuda']}, torch "
        f"{whole['versions']['torch']}, on {whole['machine']}, threads: {threads}; up to {repeats} repeats. What would "
        f"need more than {whole['memory_limit_gb']:g} GB was not run: the figure is what its largest tensors add up to."
    )


def _format_table(cells: Sequence[Dict[str, Any]]) -> List[str]:
    sides = _list_distinct(cells, "side")
    lines = ["| loss | " + " | ".join(f"{side} x {side}" for side in sides) + " | growth with the side |"]
    lines.append("|---|" + "---|" * (len(sides) + 1))
    for row in _list_distinct(cells, "row"):
        own = {cell["side"]: cell for cell in cells if cell["row"] == row}
        texts = [_format_cell(own[side]) if side in own else "-" for side in sides]
        lines.append(f"| {row} | " + " | ".join(texts) + f" | {_format_growth(list(own.values()))} |")
    return lines


def _format_cell(cell: Dict[str, Any]) -> str:
    if "would_need_bytes" in cell:
        return f"would need {_format_bytes(cell['would_need_bytes'])}"
    if "peak_bytes" not in cell:
        return "out of memory"
    return f"{_format_bytes(cell['peak_bytes'])}, {_format_seconds(cell['seconds'])}"


def _format_bytes(count: float) -> str:
    if count >= 1e9:
        return f"{count / 1e9:,.1f} GB" if count < 1e11 else f"{count / 1e9:,.0f} GB"
    if count < 1e5:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e8 else f"{count / 1e6:.0f} MB"


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def _format_growth(cells: Sequence[Dict[str, Any]]) -> str:
    memory, seconds = (find_growth(cells, name) for name in ("peak_bytes", "seconds"))
    return "-" if memory is None or seconds is None else f"memory ^{memory:.1f}, time ^{seconds:.1f}"


def find_growth(cells: Sequence[Dict[str, Any]], name: str) -> Optional[float]:
    """The power of the side with which ``name`` grows between the two largest measured resolutions; None below two."""
    measured = sorted((cell["side"], cell[name]) for cell in cells if name in cell)[-2:]
    if len(measured) < 2:
        return None
    (small, less), (large, more) = measured
    return math.log(more / less) / math.log(large / small)


def list_findings(cells: Sequence[Dict[str, Any]]) -> List[str]:
    """What the measured cells say about the paper's claim, one sentence each, at the most channels."""
    most = max((cell["channels"] for cell in cells), default=0)
    here = {(cell["row"], cell["side"]): cell for cell in cells if cell["channels"] == most}
    rows = _list_distinct([cell for cell in cells if cell["channels"] == most], "row")
    findings = []
    growths = [(row, find_growth([here[key] for key in here if key[0] == row], "peak_bytes")) for row in rows]
    powers = ", ".join(f"{row} {growth:.1f}" for row, growth in growths if growth is not None)
    if powers:
        findings.append(f"Memory grows with this power of the side, at {most} channels: {powers}.")
    for row in [row for row in rows if row != "CCL"]:
        sides = [side for name, side in here if name == row and _is_measured(here, row, side, "CCL")]
        if sides:
            one, other = here["CCL", max(sides)], here[row, max(sides)]
            memory, seconds = (other[name] / one[name] for name in ("peak_bytes", "seconds"))
            findings.append(
                f"{row} takes {memory:,.1f} times the memory and {seconds:,.1f} times the time of CCL at "
                f"{max(sides)} x {max(sides)}."
            )
    refused = [cell for cell in here.values() if cell["loss"] == PIXELS and "would_need_bytes" in cell]
    if refused:
        needs = [_describe_refusal(cell, here) for cell in sorted(refused, key=lambda cell: cell["side"])]
        findings.append(
            f"The pixel-wise loss was not run where it would need too much: {', '.join(needs)}. That is with the "
            "matrix of all pairs held whole, as it is usually written; computed in tiles, and again in the backward "
            "pass, it would need no more than the maps do, and more time."
        )
    if any(name == ALL_PIXELS for name, _ in here):
        findings.append(
            "MPCCL at P = H*W is not the pixel-wise loss, in cost or in its pairs: equation (3) then compares each "
            "pixel with the class centroids of the source and of the copy, never with another pixel, and its memory "
            "grows with the square of the side."
        )
    return findings


def _describe_refusal(cell: Dict[str, Any], here: Dict[Tuple[str, int], Dict[str, Any]]) -> str:
    text = f"{_format_bytes(cell['would_need_bytes'])} at {cell['side']} x {cell['side']}"
    ccl = here.get(("CCL", cell["side"]), {})
    return f"{text} ({cell['would_need_bytes'] / ccl['peak_bytes']:,.0f} times CCL)" if "peak_bytes" in ccl else text


def _is_measured(here: Dict[Tuple[str, int], Dict[str, Any]], row: str, side: int, other: str) -> bool:
    return all("peak_bytes" in here.get((name, side), {}) for name in (row, other))


def _list_distinct(cells: Sequence[Dict[str, Any]], name: str) -> List[Any]:
    """The values of ``name``: numbers sorted, rows in the order of their first appearance."""
    values = list(dict.fromkeys(cell[name] for cell in cells))
    if name == "row":
        ends = [ALL_PIXELS, "BlockCL", "pixel-wise"]
        return [value for value in values if value not in ends] + [value for value in ends if value in values]
    return sorted(values)


def draw_cost(whole: Dict[str, Any], path: Path) -> Path:
    """Memory (above) and time (below) over the resolution, on logarithmic axes, one column for each number of channels.

    Hollow points are estimates of what was not run.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Drawing needs matplotlib: install it with 'pip install matplotlib'.") from error
    cells = whole["cells"]
    columns, sides = _list_distinct(cells, "channels"), _list_distinct(cells, "side")
    rows = _list_distinct(cells, "row")
    time = "time" if any(cell["device"].startswith("cuda") for cell in cells) else "processor time"
    figure = Figure(figsize=(1.4 + 3.4 * len(columns), 7), layout="constrained")
    axes = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for column, channels in enumerate(columns):
        for number, row in enumerate(rows):
            own = sorted((c for c in cells if c["row"] == row and c["channels"] == channels), key=lambda c: c["side"])
            measured = [cell for cell in own if "peak_bytes" in cell]
            refused = [cell for cell in own if "would_need_bytes" in cell]
            color, marker = f"C{number % 10}", "osDv^<>Ph*"[number % 10]
            for panel, name, unit in ((0, "peak_bytes", 1e6), (1, "seconds", 1e-3)):
                points = [(cell["side"], cell[name] / unit) for cell in measured]
                axes[panel, column].plot(*_split(points), color=color, marker=marker, markersize=4, label=row)
            joined = [(cell["side"], cell["peak_bytes"] / 1e6) for cell in measured[-1:] if refused]
            joined += [(cell["side"], cell["would_need_bytes"] / 1e6) for cell in refused]
            axes[0, column].plot(
                *_split(joined), color=color, marker=marker, markersize=5, markerfacecolor="none", linestyle="dotted"
            )
        axes[0, column].set_title(f"{channels} channels", fontsize=10)
        axes[1, column].set_xlabel("side of the feature map in pixels")
        axes[0, column].axhline(1e3 * whole["memory_limit_gb"], color="gray", linewidth=0.8, linestyle="dashed")
    for panel in axes.flat:
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(sides, [str(side) for side in sides])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    axes[0, 0].set_ylabel("peak memory of a step in MB")
    axes[1, 0].set_ylabel(f"{time} of a step in ms")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle("One contrastive step; hollow: estimated, not run; dashed: the limit", fontsize=10)
    with replace_file(path) as draft:
        figure.savefig(draft, format="png", dpi=120)
    return path


def _split(points: Sequence[Tuple[float, float]]) -> Tuple[List[float], List[float]]:
    return [x for x, _ in points], [y for _, y in points]
