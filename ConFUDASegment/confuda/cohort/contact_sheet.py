"""contact-sheet.html: all cases of a cohort with their contours on one page that opens offline and names no patient."""

import base64
import html
from pathlib import Path
from typing import Any, List, Mapping, Sequence

from confuda import NOT_A_DEVICE, __version__
from confuda.cohort.record import DONE, name_case_files
from confuda.cohort.table import find_flags
from confuda.io.atomic import write_text
from confuda.labels import STRUCTURES

STYLE = """
:root{--ink:#1d2330;--soft:#5c6675;--line:#dfe3ea;--paper:#fff;--back:#f4f5f8;--flag:#a4461f}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1560px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:16px;margin:0;display:inline}
p{margin:0 0 8px}header p,footer,.numbers{color:var(--soft)}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:14px}
article{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:10px 12px}
article.flagged{border-color:var(--flag);box-shadow:inset 4px 0 var(--flag)}
article img{display:block;width:100%;border-radius:4px;margin:8px 0 4px;background:#101114}
.flag{background:#fbeee8;color:var(--flag);border-radius:9px;padding:1px 9px;margin-left:6px;font-size:13px}
.numbers{font-variant-numeric:tabular-nums;font-size:14px;margin:0}.numbers b{color:var(--ink);font-weight:600}
.said{font-size:13px;margin:4px 0 0}
.key{white-space:nowrap;margin-right:14px}
#only{margin-right:6px}#only:checked~.cases article:not(.flagged){display:none}
@media(max-width:480px){.cases{grid-template-columns:1fr}}
@media print{body{background:#fff}article{break-inside:avoid}*{print-color-adjust:exact}}
"""


def write_contact_sheet(
    path: Path, records: Sequence[Mapping[str, Any]], facts: Mapping[str, str], notes: Sequence[str] = ()
) -> None:
    """Write the page of ``records``, whose pictures lie in the folder of ``path``.

    Cases are numbered as in results.csv, which is where the files' names stand: here are none. ``facts``: settings,
    versions and the like by their heading; ``notes``: what concerns all cases.
    """
    done = sum(record["status"] == DONE for record in records)
    flagged = sum(bool(find_flags(record)) for record in records)
    cards = "\n".join(_format_case(path.parent, number, record) for number, record in enumerate(records, start=1))
    told = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    line = "; ".join(f"{html.escape(name)} {html.escape(value)}" for name, value in facts.items())
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>ConFUDA: contact sheet</title>
<style>{STYLE}</style></head><body><main>
<header><h1>Contact sheet</h1>
<p>{done} of {len(records)} cases done, {flagged} to look at; numbers are those of results.csv. {line}.</p>{told}
<p>{NOT_A_DEVICE}</p></header>
<input type="checkbox" id="only"><label for="only">only what deserves a look</label>
<div class="cases" style="margin-top:14px">
{cards}
</div>
<footer><p>ConFUDA {__version__}</p></footer>
</main></body></html>
"""
    write_text(path, text)


def _format_case(output: Path, number: int, record: Mapping[str, Any]) -> str:
    flags = find_flags(record)
    marks = "".join(f'<span class="flag">{html.escape(flag)}</span>' for flag in flags)
    parts: List[str] = [f"<h2>Case {number}</h2>{marks}"]
    if record["status"] == DONE:
        summary = record["summary"]
        if record.get("has_picture"):
            picture = name_case_files(output, record["name"]).picture
            parts.append(f'<img alt="Slices of case {number} with contours" src="{_encode_picture(picture)}">')
        volumes = [
            f"{structure.name} <b>{summary['volumes_ml'][structure.name]:.1f} mL</b>" for structure in STRUCTURES
        ]
        if summary.get("agreement") is not None:
            volumes.append(f"agreement <b>{summary['agreement']:.2f}</b>")
        parts.append(f'<p class="numbers">{", ".join(volumes)}, {record["seconds"]:.0f} s</p>')
        parts += [f'<p class="said">{html.escape(text)}</p>' for text in summary.get("warnings", [])]
    else:
        parts.append(f'<p class="said">{html.escape(record.get("reason", ""))}</p>')
    return f'<article class="{"flagged" if flags else "plain"}">{"".join(parts)}</article>'


def _encode_picture(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
