"""What the documents say of formulas, settings, figures and versions is what the code and the measurements say."""

import ast
import dataclasses
import json
import re
import statistics
from pathlib import Path

import pytest
from Testing.packaging.case_tables import read_rows
from Testing.packaging.description import REPOSITORY, cmake_value
from Testing.packaging.documents import read_inline_code

BUNDLE_KEYS = ("class_weights", "scar_weights")
"""Of bundle.json, which the method page names beside a file."""


def find_names(path: Path) -> set:
    """All that a Python file defines: functions, classes, methods, attributes, variables, fields."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_each_formula_is_where_the_method_page_says():
    package = REPOSITORY / "ConFUDASegment" / "confuda"
    from confuda.adaptation.settings import AdaptationSettings

    settings = {field.name for field in dataclasses.fields(AdaptationSettings)}
    checked = 0
    for line in (REPOSITORY / "docs" / "method.md").read_text(encoding="utf-8").split("\n"):
        path = None
        for code in read_inline_code(line):
            if re.fullmatch(r"[\w/]+\.py", code):
                # The tests that hold a formula are named from the root of the repository.
                path = (REPOSITORY if code.startswith("Testing/") else package) / code
                assert path.is_file(), code
                checked += 1
            elif path is not None and re.fullmatch(r"\.?[A-Za-z_][\w.]*", code) and not code.endswith(".json"):
                missing = [name for name in code.strip(".").split(".") if name not in find_names(path) | settings]
                assert not missing or code in BUNDLE_KEYS, f"{path.name} has no {code}"
                checked += 1
    assert checked > 35


def test_shipped_values_of_the_method_page_are_the_defaults():
    from confuda.adaptation.settings import AdaptationSettings

    defaults = {field.name: field.default for field in dataclasses.fields(AdaptationSettings)}
    words = {"yes": True, "no": False, "mean": True}
    checked = 0
    for line in (REPOSITORY / "docs" / "method.md").read_text(encoding="utf-8").split("\n"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"`\w+`", cells[1]):
            name, said = cells[1].strip("`"), cells[2]
            assert name in defaults, name
            number = re.match(r"[\d.]+", said)
            if said in words:
                assert defaults[name] is words[said], name
                checked += 1
            elif number:
                assert defaults[name] == float(number.group()), name
                checked += 1
    assert checked >= 7


def test_figures_of_the_limits_page_are_those_that_were_measured():
    """`docs/pictures/limits.json` is what docs/pictures/draw_limits.py wrote beside the pictures."""
    records = json.loads((REPOSITORY / "docs" / "pictures" / "limits.json").read_text(encoding="utf-8"))
    text = (REPOSITORY / "docs" / "limits.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[?`?([\w-]+)`?[^|]*\| (.*) \|$", text, re.MULTILINE))
    for name, record in records.items():
        assert f"pictures/limit-{name}.jpg" in text
        cells = [cell.strip() for cell in rows[name].split("|")]
        for method, said in zip(("none", "confuda"), cells):
            dice = record[method].get("dice")
            assert said == (" ".join(f"{dice[key]:.2f}" for key in ("MYO", "LV", "RV")) if dice else "empty"), name


def test_agreement_of_function_is_that_of_the_table_of_patients():
    """docs/data/ejection-fraction.csv holds the experts' number and ours for each held-out patient."""
    rows = read_rows("ejection-fraction.csv")
    assert sorted(row["patient"] for row in rows) == [f"patient{number:03}" for number in range(10, 101, 10)]
    text = (REPOSITORY / "docs" / "measure.md").read_text(encoding="utf-8")
    titles = {"ejection_fraction_percent": "ejection fraction, points", "edv_ml": "end-diastolic volume, mL"}
    titles["esv_ml"] = "end-systolic volume, mL"
    keys = [(f"{name}_{key}", f"{name.upper()} {title}") for name in ("lv", "rv") for key, title in titles.items()]
    for key, title in [*keys, ("lv_mass_g", "LV mass, g")]:
        differences = [float(row[key]) - float(row[f"experts_{key}"]) for row in rows]
        mean, spread = statistics.mean(differences), 1.96 * statistics.stdev(differences)
        told = re.search(rf"^\| {title} \| ([-+.\d]+) .*? \| ([.\d]+) .*? \| ([-+.\d]+) to ([-+.\d]+) \|$", text, re.M)
        expected = (mean, statistics.mean(map(abs, differences)), mean - spread, mean + spread)
        assert told is not None, title
        assert [float(part) for part in told.groups()] == pytest.approx(expected, abs=0.06), title
    for key in ("lv", "rv"):  # The rows fit together: the fraction is that of the volumes.
        for row in rows:
            edv, esv = float(row[f"{key}_edv_ml"]), float(row[f"{key}_esv_ml"])
            assert float(row[f"{key}_ejection_fraction_percent"]) == pytest.approx(100 * (edv - esv) / edv, abs=0.02)


def test_version_is_the_same_everywhere():
    from confuda import __version__

    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE).group(1) == __version__
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE).group(1) == __version__


def test_citation_has_what_its_format_requires():
    """Of the schema of CFF 1.2.0; it was checked whole by cffconvert when it was written."""
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    keys = re.findall(r"^([\w-]+):", citation, re.MULTILINE)
    assert {"cff-version", "message", "title", "authors"} <= set(keys) and len(keys) == len(set(keys))
    assert "cff-version: 1.2.0\n" in citation and "license: Apache-2.0\n" in citation
    assert f'repository-code: "{cmake_value("EXTENSION_HOMEPAGE")}"' in citation
    for text in ("2206.03888", "10.1109/TMI.2018.2837502"):
        assert text in citation


def test_help_of_the_module_leads_to_documents():
    text = (REPOSITORY / "ConFUDASegment" / "ConFUDASegment.py").read_text(encoding="utf-8")
    assert f'DOCUMENTS = "{cmake_value("EXTENSION_HOMEPAGE")}/blob/main/docs"' in text
    links = re.findall(r"\{page\}/([\w.]+)", text)
    assert len(links) >= 3 and all((REPOSITORY / "docs" / link).is_file() for link in links)
