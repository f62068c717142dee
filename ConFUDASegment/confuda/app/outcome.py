"""What a finished job is told as, in lines of text: what was asked for first, and no figure without its unit."""

from typing import Any, List, Mapping, Optional

_UNKNOWN = "unknown"


def describe_outcome(summary: Mapping[str, Any]) -> List[str]:
    """The lines for a summary as told by ``--json``: volumes, then function, wall and scar as far as they were
    measured, then what the adaptation did."""
    function = summary.get("function")
    volumes = ", ".join(f"{name} {value:.1f} mL" for name, value in summary["volumes_ml"].items())
    when = "at end-diastole, " if function else ""
    lines = [f"{summary['output']}: {when}{volumes} ({summary['seconds']['total']:.0f} s)"]
    if function:
        lines.append(_describe_function(function))
    if summary.get("wall"):
        lines.append(_describe_wall(summary["wall"]))
    if summary.get("scar"):
        lines.append(_describe_scar(summary["scar"]))
    if summary.get("adaptation"):
        lines.append(summary["adaptation"]["text"])
    return lines


def _describe_function(function: Mapping[str, Any]) -> str:
    parts = []
    for prefix in ("lv", "rv"):
        fraction = _write(function[f"{prefix}_ejection_fraction_percent"], "%", 0)
        volumes = [_write(function[f"{prefix}_{name}_ml"], "mL") for name in ("edv", "esv")]
        parts.append(f"ejection fraction {prefix.upper()} {fraction} (from {volumes[0]} to {volumes[1]})")
    return f"function: {', '.join(parts)}, LV mass {_write(function['lv_mass_g'], 'g')}"


def _describe_wall(wall: Mapping[str, Any]) -> str:
    given, missing = len(wall["segments"]), len(wall["not_given"])
    return f"wall: mean thickness {_write(wall['mean_thickness_mm'], 'mm')}, {given} of {given + missing} segments"


def _describe_scar(scar: Mapping[str, Any]) -> str:
    share = _write(scar["scar_percent_of_lv_mass"], "%")
    amount = f"{_write(scar['scar_ml'], 'mL')}, {_write(scar['scar_g'], 'g')}, {share} of the LV mass"
    return f"scar ({scar['method']}): {amount}. {scar['note']}"


def _write(value: Optional[float], unit: str, places: int = 1) -> str:
    return _UNKNOWN if value is None else f"{value:.{places}f} {unit}"
