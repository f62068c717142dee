"""The report of one case: a single HTML page that needs nothing but a browser, and names no patient."""

import dataclasses
import math
import platform
from typing import Any, Dict, List, Optional

import numpy as np
import SimpleITK as sitk
import torch

from confuda import NOT_A_DEVICE, __version__
from confuda.labels import DOUBT_COLORS, LV, MYO, MYOCARDIAL_DENSITY_G_PER_ML, RV, Structure
from confuda.report.case import Case, Outcome, hide_names, restore_maps, restore_outcome, show_upright
from confuda.report.contours import find_window
from confuda.report.curves import TERM_NAMES, collect_terms, draw_curves
from confuda.report.pictures import SCALE_END, draw_outlines, encode_figure, encode_maps, encode_slices
from confuda.report.read_outs import describe_read_outs
from confuda.report.rendering import render
from confuda.report.uncertainty import Uncertainty, measure_heart_entropy

MOST_SLICES = 24
"""A stack with more slices of heart shows so many of them, evenly spread."""

_ORDER = (LV, RV, MYO)


def build_page(case: Case) -> str:
    """The whole page. Pictures are inside it, and a content policy forbids the browser to fetch anything."""
    return render("case.html", not_a_device=NOT_A_DEVICE, **_Page(case).describe())


class _Page:
    """What the template of one page is filled with."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.source: Optional[Outcome] = restore_outcome(case, case.source)
        self.adapted: Optional[Outcome] = restore_outcome(case, case.adapted)
        self.columns: Dict[str, Outcome] = {}
        if self.source is not None:
            self.columns["Without adaptation"] = self.source
        if self.adapted is not None:
            self.columns[f"With adaptation{'' if case.accepted else ' (not kept)'}"] = self.adapted

    def describe(self) -> Dict[str, Any]:
        case = self.case
        terms = collect_terms(case.losses)
        return {
            "summary": case.summary,
            "size": case.given.GetSize(),
            "spacing_mm": [f"{mm:.3g}" for mm in case.given.GetSpacing()],
            "verdict": self._judge(),
            "comparison": self._compare_opinions(),
            "warnings": [self._tell(warning) for warning in case.summary["warnings"]],
            "columns": list(self.columns),
            "volumes": [self._list_volumes(structure) for structure in _ORDER],
            "mass_g": case.summary["volumes_ml"][MYO.name] * MYOCARDIAL_DENSITY_G_PER_ML,
            "density": f"{MYOCARDIAL_DENSITY_G_PER_ML:g}",
            "doubt": self._describe_doubt(case.uncertainty) if case.uncertainty is not None else None,
            "structures": [_describe_structure(structure) for structure in _ORDER],
            "scale_colors": [f"rgb{color}" for color in DOUBT_COLORS],
            "scale_end": f"{SCALE_END:g}",
            "curves": encode_figure(draw_curves(terms)) if terms else None,
            "terms": [TERM_NAMES.get(name, name) for name in terms],
            "warmup_percent": 100 * case.settings.warmup_share,
            "read_outs": describe_read_outs(case.summary),
            "runs": min(case.settings.runs, case.summary["steps"]),
            **self._describe_slices(),
            **self._list_facts(),
        }

    def _judge(self) -> Dict[str, str]:
        case = self.case
        if case.crop is None:
            kind, title, text = "bad", "No heart was found", "The segmentation is empty."
        elif case.adapted is None:
            kind, title = "plain", "The network was not adapted"
            text = (
                f"{case.summary['adaptation']['text']} The segmentation is that of the network as it was trained."
                if case.summary.get("adaptation")
                else "The segmentation is that of the network as it was trained, since the method “none” was asked for."
                if case.summary["method"] == "none"
                else "The segmentation is that of the network as it was trained, since it sees no heart to adapt to."
            )
        elif case.accepted:
            kind, title = "good", "The adaptation was kept"
            text = (
                "The segmentation is that of the adapted network, since no check spoke against it: of its losses, of "
                "its agreement with itself, of its doubt, of the sizes and shapes that it sees."
            )
            if case.summary.get("adaptation"):
                text = f"{case.summary['adaptation']['text']} {text}"
        else:
            kind, title = "bad", "The adaptation was not kept"
            text = f"Reason: {self._tell(case.reason)}. The segmentation is that of the network as it was trained."
        return {"kind": kind, "title": title, "text": text}

    def _compare_opinions(self) -> Optional[List[Dict[str, Optional[float]]]]:
        """Agreement and entropy of the network without and with adaptation."""
        if self.case.crop is None or self.case.source is None or self.case.adapted is None:
            return None
        return [
            {"agreement": _finite(opinion.agreement), "entropy": _finite(measure_heart_entropy(opinion))}
            for opinion in (self.case.source, self.case.adapted)
        ]

    def _list_volumes(self, structure: Structure) -> Dict[str, Any]:
        values = [outcome.volumes_ml[structure.name] for outcome in self.columns.values()]
        row = {
            "name": structure.display_name,
            "given": self.case.summary["volumes_ml"][structure.name],
            "numbers": values,
            "change": None,
            "percent": None,
        }
        if len(values) == 2:
            before, after = values
            # Adding 0 makes +0 of -0.
            row["change"] = round(after - before, 1) + 0.0
            row["percent"] = round(100 * (after - before) / before) + 0 if before > 0 else None
        return row

    def _describe_slices(self) -> Dict[str, Any]:
        """Each slice with its outlines without and with adaptation, and its maps of doubt, side by side."""
        stack = self.case.stack
        picture = show_upright(stack, stack.image)
        heart = np.zeros(picture.shape, dtype=bool)
        for outcome in self.columns.values():
            heart |= outcome.labels > 0
        shown, spacing = choose_slices(heart), stack.native_grid.spacing_mm
        window = find_window(np.asarray(heart.any(axis=0)), spacing)
        greys = encode_slices(np.stack([picture[number][window] for number in shown]).astype(np.float32))
        maps = restore_maps(self.case) or ()
        fields = [encode_maps(np.stack([field[number][window] for number in shown])) for field in maps]
        given = self.adapted if self.adapted is not None and self.case.accepted else self.source
        adapted_to = {int(position) for position in self.case.adapted_to}

        slices = []
        for place, position in enumerate(shown):
            panels: List[Dict[str, Any]] = [
                {"map": None, "outlines": draw_outlines(outcome.labels[position][window], spacing)}
                for outcome in self.columns.values()
            ] or [{"map": None, "outlines": {}}]
            outlines = draw_outlines(given.labels[position][window], spacing) if given is not None else {}
            panels += [{"map": field[place], "outlines": outlines} for field in fields]
            slices.append(
                {
                    "number": self._file_number(position),
                    "picture": greys[place],
                    "adapted_to": position in adapted_to,
                    "panels": panels,
                }
            )
        height_mm, width_mm = ((part.stop - part.start) * mm for part, mm in zip(window, spacing))
        return {
            "slices": sorted(slices, key=lambda entry: entry["number"]),
            "left_out": len(stack) - len(shown),
            "headings": (list(self.columns) or ["Image"]) + (["Entropy", "Views that disagree"] if fields else []),
            "has_maps": bool(fields),
            "width_mm": f"{width_mm:.2f}",
            "height_mm": f"{height_mm:.2f}",
        }

    def _file_number(self, position: int) -> int:
        """The number of a slice along the file's axis; the canonical frame may run the other way."""
        return self.case.stack.frame.slice_position(position, len(self.case.stack))

    def _describe_doubt(self, uncertainty: Uncertainty) -> Dict[str, Any]:
        """Entropy and agreement by slice and structure."""
        rows = []
        for position in sorted(range(len(self.case.stack)), key=self._file_number):
            cells = []
            for structure in _ORDER:
                cells.append(_shade_entropy(uncertainty.slice_entropy[structure.name][position]))
                cells.append(_shade_agreement(uncertainty.slice_agreement[structure.name][position]))
            if any(cell["value"] is not None for cell in cells):
                rows.append({"number": self._file_number(position), "cells": cells})
        whole = []
        for structure in _ORDER:
            whole.append(_shade_entropy(uncertainty.entropy_by_structure[structure.name]))
            whole.append(_shade_agreement(uncertainty.agreement_by_structure[structure.name]))
        return {
            "agreement": _finite(uncertainty.agreement),
            "entropy": _finite(uncertainty.heart_entropy),
            "rows": rows,
            "whole": whole,
        }

    def _list_facts(self) -> Dict[str, Any]:
        case, summary = self.case, self.case.summary
        memory = summary["peak_memory_mb"]
        run = {
            **case.options,
            "steps taken": summary["steps"],
            "computed on": summary["device"],
            "seconds": ", ".join(f"{name} {value:g}" for name, value in summary["seconds"].items()),
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
        told = {"run": run, "bundle": case.bundle, "versions": versions, "settings": settings}
        return {
            "changed": list(case.changed),
            **{part: {name: self._tell(str(value)) for name, value in facts.items()} for part, facts in told.items()},
        }

    def _tell(self, text: str) -> str:
        """Text from elsewhere without paths and names of files."""
        return hide_names(text, self.case.names)


def choose_slices(heart: np.ndarray) -> List[int]:
    """Of a mask (S, H, W) the slices that show any of it and one more at each end; all, if there are none. At most
    ``MOST_SLICES``, evenly spread."""
    found = np.flatnonzero(heart.any(axis=(1, 2)))
    first, last = (max(found[0] - 1, 0), min(found[-1] + 1, len(heart) - 1)) if len(found) else (0, len(heart) - 1)
    count = min(last - first + 1, MOST_SLICES)
    return sorted({int(number) for number in np.rint(np.linspace(first, last, count))})


def _describe_structure(structure: Structure) -> Dict[str, str]:
    color = "#" + "".join(f"{channel:02x}" for channel in structure.color)
    return {"name": structure.name, "display_name": structure.display_name, "color": color}


def _shade_entropy(value: float) -> Dict[str, Optional[float]]:
    return _shade(value, value / SCALE_END)


def _shade_agreement(value: float) -> Dict[str, Optional[float]]:
    return _shade(value, (1 - value) / SCALE_END)


def _shade(value: float, doubt: float) -> Dict[str, Optional[float]]:
    """A cell of the table; ``doubt``, from 0 to 1, is how strongly it is marked."""
    return {"value": _finite(value), "doubt": min(max(doubt, 0.0), 1.0) if math.isfinite(doubt) else None}


def _finite(value: float) -> Optional[float]:
    return float(value) if math.isfinite(value) else None
