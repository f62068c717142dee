"""What ``speed.py`` measured, as Markdown tables and as a plot."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

from matplotlib.figure import Figure


def format_report(result: Dict[str, Any]) -> str:
    """All that was measured, as Markdown tables."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}, fast bfloat16: {'yes' if machine['fast_bfloat16'] else 'no'}, "
        f"load before the start: {machine['load_at_start']}.",
        "Seconds from the start of the process to the file written.",
    ]
    if "presets" in result:
        lines += ["", "## Presets", ""]
        lines += _format_runs(result["presets"], {"run": "run", "threads": "threads"})
    if "scaling" in result:
        columns = {"slices": "slices", "size": "size", "run": "run", "threads": "threads"}
        lines += ["", "## Scaling", "", *_format_runs(result["scaling"], columns)]
    for row in result.get("profile", []):
        lines += ["", f"## One step of {row['preset']}, {row['threads']} threads", ""]
        lines.append(
            f"{row['step_s']:.3f} s, {row['step_gflop']:.1f} GFLOP, {row['reached_gflops']:.1f} GFLOP/s in "
            f"{row['arithmetic']}: "
            + ", ".join(
                f"{row['share_of_peak'][name]:.0%} of a {name} matrix product's {peak:.0f} GFLOP/s"
                for name, peak in row["peak_gflops"].items()
            )
            + "."
        )
        lines += ["", "| operator | self ms | share | calls |", "|---|---|---|---|"]
        lines += [
            f"| `{one['operator']}` | {one['self_ms']:.1f} | {one['share']:.1%} | {one['calls']:g} |"
            for one in row["operators"]
        ]
    if "import" in result:
        own = result["import"]
        lines += ["", "## Start", "", "| part | s |", "|---|---|", f"| Python alone | {own['python_s']:.3f} |"]
        lines.append(
            f"| `confuda.app.cli` (loads torch: {'yes' if own['cli_loads_torch'] else 'no'}) | {own['cli_s']:.3f} |"
        )
        lines.append(f"| torch | {own['torch_s']:.3f} |")
        lines.append(f"| the rest of the pipeline | {own['pipeline_s']:.3f} |")
    return "\n".join(lines) + "\n"


def _format_runs(rows: Sequence[Dict[str, Any]], columns: Dict[str, str]) -> List[str]:
    stages = [stage for stage in rows[0]["stages_s"] if stage != "total"]
    heads = [
        *columns.values(),
        "s to file",
        "shortest-longest",
        *(f"{stage} s" for stage in stages),
        "peak MB",
        "steps",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [str(row[name]) for name in columns]
        cells += [f"{row['to_file_s']:.1f}", f"{row['shortest_s']:.1f}-{row['longest_s']:.1f}"]
        cells += [f"{row['stages_s'].get(stage, 0.0):.1f}" for stage in stages]
        memory = row["peak_memory_mb"]
        cells += ["" if memory is None else f"{memory:.0f}", str(row["steps"])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def draw_scaling(rows: Sequence[Dict[str, Any]], path: Path) -> Path:
    """Seconds to the file over slices and over image size."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, over, label in zip(figure.subplots(1, 2), ("slices", "size"), ("slices", "rows and columns of a slice")):
        own = [row for row in rows if row["over"] == over]
        for run in dict.fromkeys(row["run"] for row in own):
            points = sorted((row[over], row["to_file_s"]) for row in own if row["run"] == run)
            axes.plot(*zip(*points), marker="o", label=run)
        others = sorted({row["size" if over == "slices" else "slices"] for row in own})
        fixed = ", ".join(str(other) for other in others)
        axes.set_title(f"{fixed} x {fixed} pixels" if over == "slices" else f"{fixed} slices")
        axes.set_xlabel(label)
        axes.set_ylabel("s to the file written")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if own:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    return path
