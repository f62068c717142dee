"""contact-sheet.html: all cases of a cohort with their contours on one page that opens offline and names no patient."""

from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

from confuda import NOT_A_DEVICE, __version__
from confuda.cohort.record import DONE, name_case_files
from confuda.cohort.table import find_flags
from confuda.io.atomic import write_text
from confuda.labels import STRUCTURES
from confuda.report.pictures import encode_png
from confuda.report.rendering import render


def write_contact_sheet(
    path: Path, records: Sequence[Mapping[str, Any]], facts: Mapping[str, str], notes: Sequence[str] = ()
) -> None:
    """Write the page of ``records``, whose pictures lie in the folder of ``path``.

    Cases are numbered as in results.csv, which is where the files' names stand: here are none. ``facts``: settings,
    versions and the like by their heading; ``notes``: what concerns all cases.
    """
    page = render(
        "contact_sheet.html",
        cases=[_describe_case(path.parent, record) for record in records],
        done=sum(record["status"] == DONE for record in records),
        flagged=sum(bool(find_flags(record)) for record in records),
        facts=dict(facts),
        notes=notes,
        not_a_device=NOT_A_DEVICE,
        version=__version__,
    )
    write_text(path, page)


def _describe_case(output: Path, record: Mapping[str, Any]) -> Dict[str, Any]:
    case: Dict[str, Any] = {"flags": find_flags(record), "done": record["status"] == DONE, "said": [], "picture": None}
    if not case["done"]:
        return {**case, "said": [record.get("reason", "")]}
    summary = record["summary"]
    if record.get("has_picture"):
        case["picture"] = encode_png(name_case_files(output, record["name"]).picture.read_bytes())
    return {
        **case,
        "said": summary.get("warnings", []),
        "volumes_ml": {structure.name: summary["volumes_ml"][structure.name] for structure in STRUCTURES},
        "agreement": summary.get("agreement"),
        "seconds": record["seconds"],
    }
