"""The numbers of one case as comma-separated values."""

import csv
import io
from typing import Any, List, Mapping, Optional, Tuple

COLUMNS = ("quantity", "of", "value")
"""Of the comma-separated values: the name of a number with its unit, what it belongs to, and the number."""


def write_case_csv(summary: Mapping[str, Any]) -> str:
    """All numbers of one case: its volumes, function, wall and scar, as told in JSON; what cannot be known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(list_numbers(summary))
    return text.getvalue()


def list_numbers(summary: Mapping[str, Any]) -> List[Tuple[str, str, Optional[float]]]:
    """The rows of :func:`write_case_csv`: quantity, what it belongs to (a structure, a frame, a segment), number."""
    rows: List[Tuple[str, str, Optional[float]]] = []
    rows += [("volume_ml", name, value) for name, value in summary["volumes_ml"].items()]
    function = summary.get("function") or {}
    frames = function.get("frames", [])
    for key, value in function.items():
        if key == "frames":
            continue
        if isinstance(value, list):
            rows += [(key, f"frame {frame}", number) for frame, number in zip(frames, value)]
        elif value is None or _is_number(value):
            rows.append((key, "", value))
    for name in ("wall", "scar"):
        part = summary.get(name) or {}
        prefix = "" if name == "wall" else "segment_"
        rows += [(key, "", value) for key, value in part.items() if value is None or _is_number(value)]
        for segment in part.get("segments", []):
            of = f"segment {segment['segment']} {segment['name']}"
            rows += [(f"{prefix}{key}", of, value) for key, value in segment.items() if key not in ("segment", "name")]
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
