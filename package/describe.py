"""Write ConFUDA.s4ext and ConFUDA.json from the values of CMakeLists.txt, where the extension is described.

python package/describe.py
"""

import json
import re
from pathlib import Path
from typing import Dict

REPOSITORY = Path(__file__).resolve().parent.parent
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
REVISION = "main"
TIER = 1

S4EXT = """\
#
# First token of each non-comment line is the keyword and the rest of the line
# (including spaces) is the value.
# - the value can be blank
#
# Made by package/describe.py from CMakeLists.txt.
#

# This is source code manager (i.e. svn)
scm git
scmurl {homepage}.git
scmrevision {revision}

# list dependencies
# - These should be names of other modules that have .s4ext files
# - The dependencies will be built first
depends {depends}

# optional extensions
recommends

# Inner build directory (default is ".")
build_subdirectory .

# homepage
homepage {homepage}

# Firstname1 Lastname1 ([SubOrg1, ]Org1), Firstname2 Lastname2 ([SubOrg2, ]Org2)
# For example: Jane Roe (Superware), John Doe (Lab1, Nowhere), Joe Bloggs (Noware)
contributors {contributors}

# Match category in the xml description of the module (where it shows up in Modules menu)
category {category}

# url to icon (png, size 128x128 pixels)
iconurl {iconurl}

# Give people an idea what to expect from this code
#  - Is it just a test or something you stand behind?
status

# Tier of the extension in the Extensions Catalog
tier {tier}

# One line stating what the module does
description {description}

# Space separated list of urls
screenshoturls {screenshoturls}

# 0 or 1: Define if the extension should be enabled after its installation.
enabled 1
"""


def read_values() -> Dict[str, str]:
    """The ``EXTENSION_...`` variables of CMakeLists.txt by the rest of their names in small letters; variables that a
    value refers to are put in."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    found: Dict[str, str] = {}
    for name, value in re.findall(r'^set\((EXTENSION_\w+) "([^"]*)"\)', text, re.MULTILINE):
        found[name] = re.sub(r"\$\{(\w+)\}", lambda match: found[match.group(1)], value)
    return {name[len("EXTENSION_") :].lower(): value for name, value in found.items()}


def format_s4ext(values: Dict[str, str]) -> str:
    """The text of ConFUDA.s4ext."""
    return S4EXT.format(**values, revision=REVISION, tier=TIER)


def format_entry(values: Dict[str, str]) -> str:
    """The text of ConFUDA.json, the entry of the Extensions Catalog."""
    entry = {
        "$schema": SCHEMA,
        "category": values["category"],
        "scm_url": f"{values['homepage']}.git",
        "scm_revision": REVISION,
        "build_dependencies": values["depends"].split(),
        "build_subdirectory": ".",
        "tier": TIER,
    }
    return json.dumps(entry, indent=2) + "\n"


def main() -> None:
    values = read_values()
    (REPOSITORY / "ConFUDA.s4ext").write_text(format_s4ext(values), encoding="utf-8")
    (REPOSITORY / "ConFUDA.json").write_text(format_entry(values), encoding="utf-8")


if __name__ == "__main__":
    main()
