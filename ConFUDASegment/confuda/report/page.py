"""The report of one case: a single HTML page that needs nothing but a browser, and names no patient."""

import dataclasses
import html
import math
import platform
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
import torch

from confuda import NOT_A_DEVICE, __version__
from confuda.labels import DOUBT_COLORS, LV, MYO, MYOCARDIAL_DENSITY_G_PER_ML, RV, STRUCTURES, Structure
from confuda.report.case import Case, Outcome, hide_names, restore_maps, restore_outcome, show_upright
from confuda.report.contours import MARGIN_MM
from confuda.report.curves import collect_terms, draw_curve
from confuda.report.outlines import format_path, trace_outlines
from confuda.report.pictures import SCALE_END, encode_maps, encode_slices
from confuda.report.place import MARK
from confuda.report.read_outs import write_read_outs
from confuda.report.style import STYLE
from confuda.report.tables import write_table
from confuda.report.uncertainty import measure_heart_entropy

MOST_SLICES = 24
"""A stack with more slices of heart shows so many of them, evenly spread."""

_ORDER = (LV, RV, MYO)
_Plane = Tuple[slice, slice]


def build_page(case: Case) -> str:
    """The whole page. Pictures are inside it, and a content policy forbids the browser to fetch anything."""
    page = _Page(case)
    body = "".join(
        (
            page.write_head(),
            page.write_verdict(),
            page.write_warnings(),
            page.write_figures(),
            write_read_outs(case.summary),
            page.write_slices(),
            page.write_doubt(),
            page.write_curves(),
            page.write_facts(),
        )
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{MARK}'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>ConFUDA report</title><style>{STYLE}{_write_scale_style()}</style></head>\n"
        f"<body><main>{body}<footer>{NOT_A_DEVICE}</footer></main></body></html>\n"
    )


class _Page:
    """The sections of one page and what they share."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.source: Optional[Outcome] = restore_outcome(case, case.source)
        self.adapted: Optional[Outcome] = restore_outcome(case, case.adapted)
        self.was_adapted = case.adapted is not None
        self.columns: List[Tuple[str, Outcome]] = []
        if self.source is not None:
            self.columns.append(("Without adaptation", self.source))
        if self.adapted is not None:
            self.columns.append((f"With adaptation{'' if case.accepted else ' (not kept)'}", self.adapted))

    def write_head(self) -> str:
        size = " × ".join(str(count) for count in self.case.given.GetSize())
        spacing = " × ".join(f"{mm:.3g}" for mm in self.case.given.GetSpacing())
        return (
            "<header><h1>Segmentation of one volume</h1>"
            f"<p>{size} voxels of {spacing} mm · method {_text(self.case.summary['method'])}, "
            f"{_text(self.case.summary['mode'])}, preset {_text(self.case.summary['preset'])}</p>"
            f'<p class="notice"><strong>{NOT_A_DEVICE}</strong> '
            "A trained person must check each segmentation. "
            "The page names no patient and no file, but the pictures are those of the volume.</p></header>"
        )

    def write_verdict(self) -> str:
        case = self.case
        if case.crop is None:
            kind, title, text = "bad", "No heart was found", "The segmentation is empty."
        elif not self.was_adapted:
            kind, title = "plain", "The network was not adapted"
            text = (
                "The segmentation is that of the network as it was trained, since the method “none” was asked for."
                if case.summary["method"] == "none"
                else "The segmentation is that of the network as it was trained, since it sees no heart to adapt to."
            )
        elif case.accepted:
            kind, title = "good", "The adaptation was kept"
            text = (
                "The segmentation is that of the adapted network, since no check spoke against it: of its losses, of "
                "its agreement with itself, of its doubt, of the sizes and shapes that it sees. "
                f"{self._compare_opinions()}"
            )
        else:
            kind, title = "bad", "The adaptation was not kept"
            text = (
                f"Reason: {self._tell(case.reason)}. The segmentation is that of the network as it was trained. "
                f"{self._compare_opinions()}"
            )
        return f'<section class="verdict {kind}"><h2>{title}</h2><p>{text}</p></section>'

    def _compare_opinions(self) -> str:
        """Agreement and entropy of either network, as they are told of the one that was kept."""
        pair = (self.case.source, self.case.adapted)
        agreement = [_number(opinion.agreement, 3) for opinion in pair if opinion is not None]
        entropy = [_number(measure_heart_entropy(opinion), 3) for opinion in pair if opinion is not None]
        return (
            "Without and with adaptation: agreement of eight views (flips and quarter turns) "
            f"{' and '.join(agreement)}; mean entropy inside the heart {' and '.join(entropy)}. Both go from 0 to 1."
        )

    def write_warnings(self) -> str:
        warnings = self.case.summary["warnings"]
        if not warnings:
            return ""
        lines = "".join(f"<li>{self._tell(warning)}</li>" for warning in warnings)
        return f'<section class="warnings"><h2>Warnings</h2><ul>{lines}</ul></section>'

    def write_figures(self) -> str:
        """Volumes without and with adaptation, and the doubt in two numbers."""
        given = self.case.summary["volumes_ml"]
        heads = [name for name, _ in self.columns] + (["Change"] if len(self.columns) == 2 else [])
        rows = []
        for structure in _ORDER:
            values = [outcome.volumes_ml[structure.name] for _, outcome in self.columns]
            cells = [f"{value:.1f}" for value in values]
            if len(values) == 2:
                cells.append(_format_change(values[0], values[1]))
            rows.append((_name(structure), [f"<strong>{given[structure.name]:.1f}</strong>", *cells]))
        mass = given[MYO.name] * MYOCARDIAL_DENSITY_G_PER_ML
        table = write_table(["Volume in mL", "Given", *heads], rows)
        uncertainty = self.case.uncertainty
        doubt = ""
        if uncertainty is not None:
            doubt = (
                f'<div class="card"><b>{_number(uncertainty.agreement, 3)}</b><span>mean agreement of eight views '
                "(flips and quarter turns), 0 to 1: higher is surer</span></div>"
                f'<div class="card"><b>{_number(uncertainty.heart_entropy, 3)}</b><span>mean entropy inside the heart, '
                "0 to 1: lower is surer</span></div>"
            )
        return (
            f'<section><h2>Volumes</h2><div class="side">{table}<div class="cards">{doubt}'
            f'<div class="card"><b>{mass:.0f} g</b><span>mass of the myocardium, at '
            f"{MYOCARDIAL_DENSITY_G_PER_ML:g} g/mL</span></div></div></div></section>"
        )

    def write_slices(self) -> str:
        """Each slice with its outlines without and with adaptation, and its maps of doubt, side by side."""
        stack = self.case.stack
        picture = show_upright(stack, stack.image)
        heart = np.zeros(picture.shape, dtype=bool)
        for _, outcome in self.columns:
            heart |= outcome.labels > 0
        shown = choose_slices(heart)
        window = find_window(heart.any(axis=0), stack.native_grid.spacing_mm)
        greys = encode_slices(np.stack([picture[number][window] for number in shown]).astype(np.float32))
        maps = restore_maps(self.case)
        fields = [encode_maps(np.stack([field[number][window] for number in shown])) for field in maps] if maps else []
        spacing = stack.native_grid.spacing_mm
        extent = tuple((part.stop - part.start) * mm for part, mm in zip(window, spacing))
        heads = [name for name, _ in self.columns]
        heads = (heads or ["Image"]) + (["Entropy", "Views that disagree"] if fields else [])
        rows = ['<div class="slices" style="--columns:%d">' % len(heads)]
        rows.append("<i></i>" + "".join(f"<h3>{head}</h3>" for head in heads))
        definitions = []
        by_file = sorted(range(len(shown)), key=lambda place: self._file_number(shown[place]))
        for place in by_file:
            number, key = shown[place], f"g{shown[place]}"
            definitions.append(_define_picture(key, greys[place], extent))
            note = "<br><em>adapted to</em>" if number in set(int(target) for target in self.case.adapted_to) else ""
            cells = [f'<div class="number">{self._file_number(number)}{note}</div>']
            for _, outcome in self.columns:
                outlines = _draw_outlines(outcome.labels[number][window], spacing)
                cells.append(_draw_panel(f'<use href="#{key}"/>{outlines}', extent))
            if not self.columns:
                cells.append(_draw_panel(f'<use href="#{key}"/>', extent))
            given = self._given()
            for field in fields:
                outlines = _draw_outlines(given.labels[number][window], spacing) if given is not None else ""
                overlay = _picture(field[place], extent, "map")
                cells.append(_draw_panel(f'<use href="#{key}"/>{overlay}<g class="thin">{outlines}</g>', extent))
            rows.append("".join(cells))
        rows.append("</div>")
        left_out = len(self.case.stack) - len(shown)
        note = f" {left_out} further slices, without heart or in between, are left out." if left_out else ""
        return (
            '<section><h2>Slices</h2><input type="checkbox" id="hide"><label for="hide">Hide the outlines</label>'
            f"<p>Numbers are those of <code>--slice</code>, from 0. {_write_legend()}{note}</p>"
            f"{_write_scale() if fields else ''}"
            f'<svg width="0" height="0" style="position:absolute"><defs>{"".join(definitions)}</defs></svg>'
            f"{''.join(rows)}</section>"
        )

    def _given(self) -> Optional[Outcome]:
        return self.adapted if self.adapted is not None and self.case.accepted else self.source

    def _file_number(self, position: int) -> int:
        """The number of a slice along the file's axis; the canonical frame may run the other way."""
        return self.case.stack.frame.slice_position(position, len(self.case.stack))

    def write_doubt(self) -> str:
        """Entropy and agreement by slice and structure."""
        uncertainty = self.case.uncertainty
        if uncertainty is None:
            return ""
        heads = ["Slice"]
        heads += [f"{structure.name} {kind}" for structure in _ORDER for kind in ("entropy", "agreement")]
        rows = []
        for position in sorted(range(len(self.case.stack)), key=self._file_number):
            cells = []
            for structure in _ORDER:
                cells.append(_entropy_cell(uncertainty.slice_entropy[structure.name][position]))
                cells.append(_agreement_cell(uncertainty.slice_agreement[structure.name][position]))
            if any("class" in cell for cell in cells):
                rows.append((str(self._file_number(position)), cells))
        total = []
        for structure in _ORDER:
            total.append(_entropy_cell(uncertainty.entropy_by_structure[structure.name]))
            total.append(_agreement_cell(uncertainty.agreement_by_structure[structure.name]))
        rows.append(("<strong>All</strong>", total))
        return (
            "<section><h2>Uncertainty by slice and structure</h2><p>Entropy: mean over the pixels of the structure, of "
            "the soft labels averaged over eight views; 0 is certain, 0.5 a tie between two classes, 1 a tie between "
            "all four. Agreement: mean Dice between each two of the eight views (flips and quarter turns); 1 is "
            "full agreement. A dash: the segmentation (for the entropy) or every view (for agreement) shows none of "
            "the structure. Both tell where the network doubts; a network can also be surely wrong.</p>"
            f"{write_table(heads, rows, 'grid')}</section>"
        )

    def write_curves(self) -> str:
        terms = collect_terms(self.case.losses)
        if not terms:
            return ""
        charts = "".join(draw_curve(name, values) for name, values in terms.items())
        steps, runs = self.case.summary["steps"], min(self.case.settings.runs, self.case.summary["steps"])
        shared = f" These are {runs} runs from the beginning; shown is their mean, step by step." if runs > 1 else ""
        rise = _explain_rise(self.case.settings.warmup_share)
        return (
            f"<section><h2>Losses over {steps} steps</h2><p>Each term with its weight, as it stands in "
            f"the total.{shared} Thin: each step; thick: running mean.{rise}</p>"
            f'<div class="curves">{charts}</div></section>'
        )

    def write_facts(self) -> str:
        case, summary = self.case, self.case.summary
        seconds = ", ".join(f"{name} {value:g}" for name, value in summary["seconds"].items())
        memory = summary["peak_memory_mb"]
        run = {
            **case.options,
            "steps taken": str(summary["steps"]),
            "computed on": summary["device"],
            "seconds": seconds,
            "peak memory": f"{memory:g} MB" if memory is not None else "unknown",
        }
        versions = {
            "confuda": __version__,
            "torch": torch.__version__,
            "SimpleITK": sitk.Version.VersionString(),
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
        settings = {field.name: getattr(case.settings, field.name) for field in dataclasses.fields(type(case.settings))}
        return (
            '<section><h2>Settings and versions</h2><div class="facts">'
            f"<div><h3>Run</h3>{self._write_list(run)}</div>"
            f"<div><h3>Bundle</h3>{self._write_list(case.bundle)}</div>"
            f"<div><h3>Versions</h3>{self._write_list(versions)}</div></div>"
            f"<details><summary>All {len(settings)} settings of the adaptation</summary>"
            f"{self._write_list(settings, case.changed)}</details></section>"
        )

    def _write_list(self, facts: Dict[str, Any], changed: Sequence[str] = ()) -> str:
        lines = []
        for name, value in facts.items():
            mark = " <em>set by hand</em>" if name in changed else ""
            lines.append(f"<dt>{_text(name)}</dt><dd>{self._tell(str(value))}{mark}</dd>")
        return f"<dl>{''.join(lines)}</dl>"

    def _tell(self, text: str) -> str:
        """Text from elsewhere, safe to show: no path, no name of a file, no markup."""
        return _text(hide_names(text, self.case.names))


def choose_slices(heart: np.ndarray) -> List[int]:
    """Of a mask (S, H, W) the slices that show any of it and one more at each end; all, if there are none. At most
    ``MOST_SLICES``, evenly spread."""
    found = np.flatnonzero(heart.any(axis=(1, 2)))
    first, last = (max(found[0] - 1, 0), min(found[-1] + 1, len(heart) - 1)) if len(found) else (0, len(heart) - 1)
    count = min(last - first + 1, MOST_SLICES)
    return sorted({int(number) for number in np.rint(np.linspace(first, last, count))})


def find_window(heart: np.ndarray, spacing_mm: Sequence[float]) -> _Plane:
    """Rows and columns around a mask (H, W), with a margin; all of them if it is empty."""
    parts = []
    for axis, mm in enumerate(spacing_mm):
        inside = np.flatnonzero(heart.any(axis=1 - axis))
        margin = int(round(MARGIN_MM / mm))
        start, stop = (inside[0] - margin, inside[-1] + 1 + margin) if len(inside) else (0, heart.shape[axis])
        parts.append(slice(max(int(start), 0), min(int(stop), heart.shape[axis])))
    return parts[0], parts[1]


def _draw_outlines(labels: np.ndarray, spacing_mm: Tuple[float, float]) -> str:
    paths = []
    for structure in STRUCTURES:
        outline = format_path(trace_outlines(labels == structure.label), spacing_mm)
        if outline:
            paths.append(f'<path class="{structure.name}" d="{outline}"/>')
    return f'<g class="outlines">{"".join(paths)}</g>'


def _draw_panel(content: str, extent_mm: Tuple[float, float]) -> str:
    return f'<svg class="panel" viewBox="0 0 {extent_mm[1]:.2f} {extent_mm[0]:.2f}">{content}</svg>'


def _picture(address: str, extent_mm: Tuple[float, float], attributes: str) -> str:
    return (
        f'<image class="{attributes}" href="{address}" width="{extent_mm[1]:.2f}" height="{extent_mm[0]:.2f}" '
        'preserveAspectRatio="none"/>'
    )


def _explain_rise(warmup_share: float) -> str:
    """Why curves rise at first, where they do: a reader would take it for an adaptation that does harm."""
    if warmup_share <= 0:
        return ""
    return (
        " The weights of contrastive and adversarial terms grow from 0 over the first "
        f"{100 * warmup_share:.0f} % of the steps, so these curves, and the total with them, rise there: the weight "
        "rises, not the error. How a term itself goes is seen after that."
    )


def _define_picture(key: str, address: str, extent_mm: Tuple[float, float]) -> str:
    """A slice is in the page once, however often it is shown."""
    return f'<g id="{key}">{_picture(address, extent_mm, "grey")}</g>'


def _css_color(structure: Structure) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in structure.color)


def _write_legend() -> str:
    return " ".join(f'<span class="key {structure.name}">{_name(structure)}</span>' for structure in _ORDER)


def _write_scale_style() -> str:
    colors = ", ".join(f"rgb{color}" for color in DOUBT_COLORS)
    strokes = "".join(
        f".{structure.name}{{stroke:{_css_color(structure)};--key:{_css_color(structure)}}}" for structure in STRUCTURES
    )
    return f".scale i{{background:linear-gradient(90deg,{colors})}}{strokes}"


def _write_scale() -> str:
    return (
        f'<p class="scale">0 <i></i> {SCALE_END:g} and more: entropy of a pixel, and share of the eight views '
        "that give it another label</p>"
    )


def _entropy_cell(value: float) -> str:
    return _shaded_cell(value, value / SCALE_END)


def _agreement_cell(value: float) -> str:
    return _shaded_cell(value, (1 - value) / SCALE_END)


def _shaded_cell(value: float, doubt: float) -> str:
    """A cell that is the darker, the more doubt (0 to 1) there is."""
    if not math.isfinite(value):
        return "<td>–</td>"
    return f'<td class="shade" style="--doubt:{min(max(doubt, 0), 1):.2f}">{value:.2f}</td>'


def _format_change(before: float, after: float) -> str:
    # Adding 0 makes +0 of -0.
    share = f" ({round(100 * (after - before) / before) + 0:+d} %)" if before > 0 else ""
    return f"{round(after - before, 1) + 0.0:+.1f}{share}"


def _name(structure: Structure) -> str:
    return structure.display_name


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _text(value: Any) -> str:
    return html.escape(str(value))
