"""The read-outs of one case for its page: function over the cycle, the wall by segment, scar."""

from typing import Any, Dict, Mapping, Tuple

from confuda.labels import MYOCARDIAL_DENSITY_G_PER_ML
from confuda.report.bulls_eye import draw_bulls_eye, take_values
from confuda.report.function_figures import draw_volume_curve
from confuda.report.pictures import encode_figure

_FUNCTION_ROWS: Tuple[Tuple[str, str], ...] = (
    ("End-diastolic volume, mL", "{}_edv_ml"),
    ("End-systolic volume, mL", "{}_esv_ml"),
    ("Stroke volume, mL", "{}_stroke_volume_ml"),
    ("Ejection fraction, %", "{}_ejection_fraction_percent"),
    ("Mass at end-diastole, g", "{}_mass_g"),
)


def describe_read_outs(summary: Mapping[str, Any]) -> Dict[str, Any]:
    """What the template ``read_outs.html`` takes: what ``summary`` holds of ``function``, ``wall`` and ``scar``, as
    told in JSON.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    told = {name: summary.get(name) for name in ("wall", "scar")}
    pictures = {name: encode_figure(figure) for name, figure in draw_figures(summary).items()}
    return {"function": None, "pictures": pictures, **told, **_describe_function(summary.get("function") or {})}


def draw_figures(summary: Mapping[str, Any]) -> Dict[str, Any]:
    """The figures of the read-outs in ``summary``, by name: function, wall, scar.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    figures = {}
    function = summary.get("function") or {}
    if len(function.get("frames", [])) > 1 and (function["lv_edv_ml"] or function["rv_edv_ml"]):
        figures["function"] = draw_volume_curve(function, summary.get("frame_times_ms"))
    if summary.get("wall"):
        values = take_values(summary["wall"]["segments"], "thickness_mm")
        figures["wall"] = draw_bulls_eye(values, "Wall thickness", "mm", decimals=1)
    if summary.get("scar") and summary["scar"]["segments"]:
        values = take_values(summary["scar"]["segments"], "scar_percent")
        figures["scar"] = draw_bulls_eye(values, "Scar, share of the segment", "%", limits=(0, 100))
    return figures


def _describe_function(function: Mapping[str, Any]) -> Dict[str, Any]:
    if not function:
        return {}
    area = function.get("body_surface_area_m2")
    rows = []
    for title, key in _FUNCTION_ROWS:
        names = [key.format(prefix) for prefix in ("lv", "rv")]
        names += [f"{name}_per_m2" for name in names] if area is not None else []
        rows.append({"name": title, "numbers": [function.get(name) for name in names]})
    return {
        "function": rows,
        "function_heads": ["LV", "RV"] + (["LV per m²", "RV per m²"] if area is not None else []),
        "body_surface_m2": area,
        "density": f"{MYOCARDIAL_DENSITY_G_PER_ML:g}",
        "frames": [
            {"name": frame, "numbers": [function[f"{name}_volume_ml"][place] for name in ("lv", "rv", "myo")]}
            for place, frame in enumerate(function["frames"])
        ],
    }
