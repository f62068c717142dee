"""The extension's description: CMake, s4ext and catalog entry say the same, and the lists hold every file."""

import json
import re
import struct
import subprocess
from pathlib import Path

from package.describe import format_entry, format_s4ext, read_values
from Testing.packaging.description import MODULE, REPOSITORY, cmake_list, cmake_value, s4ext, tree


def test_every_script_is_packaged():
    listed, present = set(cmake_list("MODULE_PYTHON_SCRIPTS")), tree("ConFUDASegmentLib", "confuda", suffix=".py")
    present.add("ConFUDASegment.py")
    assert present - listed == set(), "add these to MODULE_PYTHON_SCRIPTS in ConFUDASegment/CMakeLists.txt"
    assert listed - present == set(), "these are listed in ConFUDASegment/CMakeLists.txt, but are not there"
    assert len(listed) == len(cmake_list("MODULE_PYTHON_SCRIPTS"))


def test_every_resource_is_packaged():
    listed, present = set(cmake_list("MODULE_PYTHON_RESOURCES")), tree("Resources")
    present |= {path for path in tree("ConFUDASegmentLib", "confuda") if not path.endswith(".py")}
    assert present - listed == set(), "add these to MODULE_PYTHON_RESOURCES in ConFUDASegment/CMakeLists.txt"
    assert listed - present == set(), "these are listed in ConFUDASegment/CMakeLists.txt, but are not there"


def test_slicer_sees_one_module():
    """Slicer takes each .py at the top of the module folder for a module."""
    assert [path.name for path in MODULE.glob("*.py")] == ["ConFUDASegment.py"]
    assert not (MODULE / "Lib").exists() and not (MODULE / "Testing").exists()


def test_s4ext_and_catalog_entry_are_what_cmake_says():
    """As ``python package/describe.py`` writes them."""
    values = read_values()
    assert (REPOSITORY / "ConFUDA.s4ext").read_text(encoding="utf-8") == format_s4ext(values)
    assert (REPOSITORY / "ConFUDA.json").read_text(encoding="utf-8") == format_entry(values)
    assert values["homepage"] == cmake_value("EXTENSION_HOMEPAGE") and values["category"] == "Cardiac"


def test_s4ext_has_every_field():
    assert set(s4ext()) == {
        *("scm", "scmurl", "scmrevision", "depends", "recommends", "build_subdirectory", "homepage", "contributors"),
        *("category", "iconurl", "status", "tier", "description", "screenshoturls", "enabled"),
    }


def test_the_projects_address_is_that_of_cmake_everywhere():
    """A placeholder until the repository is public: change it in CMakeLists.txt; this test tells the other places."""
    home = cmake_value("EXTENSION_HOMEPAGE").partition("github.com/")[2]
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    names = listed.stdout.splitlines() or ["CMakeLists.txt", "CITATION.cff", "pyproject.toml", "CONTRIBUTING.md"]
    suffixes = {".md", ".toml", ".txt", ".cff", ".py", ".json", ".s4ext", ".yml", ".html"}
    found = 0
    for path in (REPOSITORY / name for name in names if Path(name).suffix in suffixes):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for address in re.findall(r"(?:github|githubusercontent)\.com/([\w-]+/Slicer[\w-]*ConFUDA)", text):
            assert address == home, path
            found += 1
    assert found > 8


def test_catalog_entry_fits_the_schema():
    """Of Slicer/Schemas, version 1.0.2: these are required, nothing else than the known ones is allowed."""
    entry = json.loads((REPOSITORY / "ConFUDA.json").read_text(encoding="utf-8"))
    known = {
        **dict.fromkeys(("$schema", "category", "scm_url", "scm_revision", "scm_type", "build_subdirectory"), str),
        **{"dicom_support_rule": str, "build_dependencies": list, "enabled": bool, "tier": int},
    }
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(known)
    assert all(isinstance(value, known[name]) for name, value in entry.items())
    assert all(isinstance(name, str) for name in entry["build_dependencies"]) and 1 <= entry["tier"] <= 5
    assert entry["scm_url"] == f"{cmake_value('EXTENSION_HOMEPAGE')}.git"


def test_pictures_exist():
    for url in [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]:
        assert (REPOSITORY / url.partition("/main/")[2]).is_file(), url
    header = (REPOSITORY / "Resources" / "ConFUDA.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", header[16:24]) == (128, 128)
