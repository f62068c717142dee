"""results.csv: a row for each case of a cohort."""

import csv
import io
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from confuda.cohort.record import DONE
from confuda.inference.plausibility import LOW_AGREEMENT
from confuda.io.atomic import write_text
from confuda.labels import MYO, STRUCTURES
from confuda.measure.metrics import MYOCARDIAL_DENSITY_G_PER_ML

READ_OUTS: Tuple[Tuple[str, str], ...] = (
    ("function", "lv_edv_ml"),
    ("function", "lv_esv_ml"),
    ("function", "lv_stroke_volume_ml"),
    ("function", "lv_ejection_fraction_percent"),
    ("function", "rv_edv_ml"),
    ("function", "rv_esv_ml"),
    ("function", "rv_stroke_volume_ml"),
    ("function", "rv_ejection_fraction_percent"),
    ("wall", "mean_thickness_mm"),
    ("scar", "scar_ml"),
    ("scar", "scar_g"),
    ("scar", "scar_percent_of_lv_mass"),
    ("scar", "microvascular_obstruction_ml"),
)
"""Columns of what is measured where it is asked for, with the part of the summary that holds it; empty elsewhere."""

COLUMNS = (
    ("case", "name", "volume", "status")
    + tuple(f"{structure.name}_ml" for structure in STRUCTURES)
    + ("accepted", "agreement", "flags", "seconds", "warnings", "reason", "segmentation", "lv_mass_g")
    + tuple(name for _, name in READ_OUTS)
)


def find_flags(record: Mapping[str, Any]) -> List[str]:
    """What deserves a look: failed, empty, no-MYO (no-LV, no-RV), not-accepted, low-agreement."""
    if record["status"] != DONE:
        return [record["status"]]
    summary = record["summary"]
    absent = [f"no-{name}" for name, volume in summary["volumes_ml"].items() if volume <= 0]
    flags = ["empty"] if len(absent) == len(STRUCTURES) else absent
    if not summary.get("accepted", True):
        flags.append("not-accepted")
    agreement = summary.get("agreement")
    if agreement is not None and agreement < LOW_AGREEMENT:
        flags.append("low-agreement")
    return flags


def make_row(number: int, record: Mapping[str, Any]) -> Dict[str, Any]:
    """A case as a row of ``COLUMNS``; ``number`` is the case's in the contact sheet."""
    summary = record.get("summary") or {}
    done = record["status"] == DONE
    row: Dict[str, Any] = {
        "case": number,
        "name": record["name"],
        "volume": _write_path(record["volume"] or "."),
        "status": record["status"],
        "flags": ";".join(find_flags(record)),
        "seconds": record.get("seconds", ""),
        "warnings": " ".join(summary.get("warnings", [])),
        "reason": record.get("reason", ""),
        "segmentation": f"segmentations/{record['name']}.seg.nrrd" if done else "",
    }
    if done:
        row["accepted"] = "yes" if summary.get("accepted", True) else "no"
        row["agreement"] = "" if summary.get("agreement") is None else f"{summary['agreement']:.3f}"
        for name, volume in summary["volumes_ml"].items():
            row[f"{name}_ml"] = f"{volume:.2f}"
        row["lv_mass_g"] = f"{summary['volumes_ml'][MYO.name] * MYOCARDIAL_DENSITY_G_PER_ML:.2f}"
        for part, name in READ_OUTS:
            value = (summary.get(part) or {}).get(name)
            row[name] = "" if value is None else f"{value:.2f}"
    return row


def _write_path(relative: str) -> str:
    """The same path, never with a first letter for which Excel takes a text for a formula, and runs it."""
    return f"./{relative}" if relative[0] in "=+-@\t\r\n" else relative


def write_table(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write ``records`` in their order as comma-separated values (UTF-8)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for number, record in enumerate(records, start=1):
        writer.writerow(make_row(number, record))
    write_text(path, text.getvalue())
