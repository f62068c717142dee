"""The read-outs of one case as sections of its page: function over the cycle, the wall by segment, scar."""

import base64
import html
from typing import Any, Dict, Mapping, Optional, Tuple

from confuda.errors import UsageError
from confuda.report.bulls_eye import draw_bulls_eye, take_values
from confuda.report.figures import render_figure
from confuda.report.function_figures import draw_volume_curve
from confuda.report.tables import write_table

_FUNCTION_ROWS: Tuple[Tuple[str, str, str], ...] = (
    ("End-diastolic volume", "{}_edv_ml", "mL"),
    ("End-systolic volume", "{}_esv_ml", "mL"),
    ("Stroke volume", "{}_stroke_volume_ml", "mL"),
    ("Ejection fraction", "{}_ejection_fraction_percent", "%"),
    ("Mass at end-diastole", "{}_mass_g", "g"),
)


def write_read_outs(summary: Mapping[str, Any]) -> str:
    """Sections on what ``summary`` holds of ``function``, ``wall`` and ``scar``, as told in JSON; "" without any."""
    parts = []
    if summary.get("function"):
        parts.append(_write_function(summary["function"]))
    if summary.get("wall"):
        parts.append(_write_wall(summary["wall"]))
    if summary.get("scar"):
        parts.append(_write_scar(summary["scar"]))
    return "".join(parts)


def draw_figures(summary: Mapping[str, Any]) -> Dict[str, Any]:
    """The figures of the read-outs in ``summary``, by name: function, wall, scar.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    figures = {}
    if summary.get("function") and len(summary["function"]["frames"]) > 1:
        figures["function"] = draw_volume_curve(summary["function"], summary.get("frame_times_ms"))
    if summary.get("wall"):
        values = take_values(summary["wall"]["segments"], "thickness_mm")
        figures["wall"] = draw_bulls_eye(values, "Wall thickness", "mm", decimals=1)
    if summary.get("scar") and summary["scar"]["segments"]:
        values = take_values(summary["scar"]["segments"], "scar_percent")
        figures["scar"] = draw_bulls_eye(values, "Scar, share of the segment", "%", limits=(0, 100))
    return figures


def _write_function(function: Mapping[str, Any]) -> str:
    with_area = function.get("body_surface_area_m2") is not None
    heads = ["Function", "LV", "RV"] + (["LV per m²", "RV per m²"] if with_area else [])
    rows = []
    for title, key, unit in _FUNCTION_ROWS:
        keys = [key.format(prefix) for prefix in ("lv", "rv")]
        cells = [_number(function.get(name), 1) for name in keys]
        if with_area:
            cells += [_number(function.get(f"{name}_per_m2"), 1) for name in keys]
        rows.append((f"{title}, {unit}", cells))
    frames = [
        (str(frame), [_number(function[f"{name}_volume_ml"][place], 1) for name in ("lv", "rv", "myo")])
        for place, frame in enumerate(function["frames"])
    ]
    area = f" Body surface {function['body_surface_area_m2']:.2f} m² (Mosteller)." if with_area else ""
    return (
        "<section><h2>Function</h2><p>End-diastole is the frame of a ventricle's largest volume, end-systole that of "
        f"its smallest.{area} The mass is that of the marked muscle at 1.05 g/mL.</p>"
        f'<div class="side">{write_table(heads, rows)}{_picture({"function": function}, "function")}</div>'
        "<details><summary>Volume of each frame, mL</summary>"
        f"{write_table(['Frame', 'LV', 'RV', 'MYO'], frames)}</details></section>"
    )


def _write_wall(wall: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['segment']} {row['name']}",
            [
                _number(row[key], digits)
                for key, digits in (("thickness_mm", 1), ("largest_thickness_mm", 1), ("area_cm2", 1), ("mass_g", 1))
            ],
        )
        for row in wall["segments"]
    ]
    absent = "".join(
        f"<li>{row['segment']} {row['name']}: {html.escape(row['reason'])}</li>" for row in wall["not_given"]
    )
    told = f"<p>Segments that cannot be given:</p><ul>{absent}</ul>" if absent else ""
    heads = ["Segment", "Mean thickness, mm", "Largest, mm", "Area, cm²", "Mass, g"]
    return (
        f"<section><h2>Wall of the left ventricle</h2><p>Thickness by {html.escape(wall['thickness_method'])}; "
        f"segments by {html.escape(wall['segments_method'])}; the largest thickness is the 95th percentile.</p>"
        f'<div class="side">{write_table(heads, rows)}{_picture({"wall": wall}, "wall")}</div>{told}</section>'
    )


def _write_scar(scar: Mapping[str, Any]) -> str:
    sizes = [
        (
            "Scar",
            [_number(scar["scar_ml"], 1), _number(scar["scar_g"], 1), _number(scar["scar_percent_of_lv_mass"], 1)],
        ),
        ("of it dark core (microvascular obstruction)", [_number(scar["microvascular_obstruction_ml"], 1), "–", "–"]),
    ]
    rows = [
        (f"{row['segment']} {row['name']}", [_number(row["scar_percent"], 0), _number(row["transmurality_percent"], 0)])
        for row in scar["segments"]
    ]
    segments = write_table(["Segment", "Share of it, %", "Transmurality, %"], rows) if rows else ""
    return (
        f"<section><h2>Scar</h2><p><strong>{html.escape(scar['note'])}</strong> Method {html.escape(scar['method'])}: "
        f"grey values above {scar['threshold']:.4g}; remote muscle has {scar['remote_mean']:.4g} ± "
        f"{scar['remote_sd']:.3g}.</p>{write_table(['', 'mL', 'g', '% of LV mass'], sizes)}"
        f'<div class="side">{segments}{_picture({"scar": scar}, "scar")}</div></section>'
    )


def _picture(summary: Mapping[str, Any], name: str) -> str:
    """A figure inside the page; "" where it cannot be drawn, as in Slicer."""
    try:
        figure = draw_figures(summary).get(name)
    except UsageError:
        return ""
    if figure is None:
        return ""
    data = base64.b64encode(render_figure(figure, ".svg")).decode("ascii")
    return f'<img alt="{name}" width="480" src="data:image/svg+xml;base64,{data}">'


def _number(value: Optional[float], digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
