"""What a page and a table tell of the read-outs is what was measured."""

import csv
import html
import io
import re

from confuda.measure.function import measure_function
from confuda.report.read_outs import describe_read_outs, draw_figures
from confuda.report.rendering import render
from confuda.report.tables import write_case_csv

CYCLE = [{"MYO": 100.0, "LV": 120.0, "RV": 140.0}, {"MYO": 110.0, "LV": 48.0, "RV": 70.0}]
WALL = {
    "segments": [
        {
            "segment": 1,
            "name": "basal anterior",
            "thickness_mm": 8.46,
            "largest_thickness_mm": 9.9,
            "area_cm2": 5.0,
            "volume_ml": 4.2,
            "mass_g": 4.41,
        },
        {
            "segment": 17,
            "name": "apex",
            "thickness_mm": None,
            "largest_thickness_mm": None,
            "area_cm2": None,
            "volume_ml": 2.0,
            "mass_g": 2.1,
        },
    ],
    "not_given": [{"segment": 13, "name": "apical anterior", "reason": "the volume ends before the apex"}],
    "mean_thickness_mm": 8.46,
    "thickness_method": "Laplace",
    "segments_method": "AHA",
}
SCAR = {
    "method": "5sd",
    "scar_ml": 12.5,
    "scar_g": 13.13,
    "scar_percent_of_lv_mass": 17.25,
    "microvascular_obstruction_ml": 1.5,
    "remote_mean": 56.0,
    "remote_sd": 8.0,
    "threshold": 96.0,
    "segments": [{"segment": 1, "name": "basal anterior", "scar_percent": 40.0, "transmurality_percent": 62.0}],
    "note": "Scar is a measurement of intensities within the marked muscle, not a diagnosis.",
}
SUMMARY = {
    "volumes_ml": {"MYO": 100.0, "LV": 120.0, "RV": 140.0},
    "function": measure_function(CYCLE, body_surface_area_m2=2.0).describe(),
    "wall": WALL,
    "scar": SCAR,
}


def write_read_outs(summary) -> str:
    return render("read_outs.html", read_outs=describe_read_outs(summary))


def read_rows(page: str) -> list:
    """The cells of each row of the page's tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_the_page_tells_the_numbers_with_their_units() -> None:
    rows = read_rows(write_read_outs(SUMMARY))
    assert ["Ejection fraction, %", "60.0", "50.0", "–", "–"] in rows
    assert ["End-diastolic volume, mL", "120.0", "140.0", "60.0", "70.0"] in rows
    assert ["Mass at end-diastole, g", "105.0", "–", "52.5", "–"] in rows
    assert ["1", "48.0", "70.0", "110.0"] in rows
    assert ["1 basal anterior", "8.5", "9.9", "5.0", "4.4"] in rows
    assert ["17 apex", "–", "–", "–", "2.1"] in rows
    assert ["Scar", "12.5", "13.1", "17.2"] in rows
    assert ["1 basal anterior", "40", "62"] in rows


def test_the_page_says_what_it_is_not_and_what_it_cannot_give() -> None:
    page = write_read_outs(SUMMARY)
    assert "not a diagnosis" in page and "13 apical anterior: the volume ends before the apex" in page
    assert page.count("data:image/svg+xml;base64,") == 3 and "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert write_read_outs({"volumes_ml": {}}).strip() == ""


def test_figures_are_those_of_what_was_measured() -> None:
    assert set(draw_figures(SUMMARY)) == {"function", "wall", "scar"}
    assert draw_figures({"function": measure_function(CYCLE[:1]).describe()}) == {}
    empty = {"MYO": 0.0, "LV": 0.0, "RV": 0.0}
    assert draw_figures({"function": measure_function([empty, empty]).describe()}) == {}


def test_a_muscle_without_a_half_maximum_has_no_threshold() -> None:
    scar = {**SUMMARY["scar"], "threshold": None, "segments": []}
    assert "no muscle is bright enough" in write_read_outs({"scar": scar})
    rows = {
        row["quantity"]: row["value"] for row in csv.DictReader(io.StringIO(write_case_csv({**SUMMARY, "scar": scar})))
    }
    assert rows["threshold"] == ""


def test_the_table_of_a_case_has_each_number_once() -> None:
    rows = list(csv.DictReader(io.StringIO(write_case_csv(SUMMARY))))
    told = {(row["quantity"], row["of"]): row["value"] for row in rows}
    assert len(told) == len(rows)
    assert told["volume_ml", "LV"] == "120.0"
    assert told["lv_ejection_fraction_percent", ""] == "60.0"
    assert told["rv_volume_ml", "frame 1"] == "70.0"
    assert told["thickness_mm", "segment 1 basal anterior"] == "8.46"
    assert told["thickness_mm", "segment 17 apex"] == ""
    assert told["mean_thickness_mm", ""] == "8.46"
    assert told["scar_percent_of_lv_mass", ""] == "17.25"
    assert told["segment_transmurality_percent", "segment 1 basal anterior"] == "62.0"
    assert write_case_csv({"volumes_ml": {"LV": 1.5}}) == "quantity,of,value\nvolume_ml,LV,1.5\n"
