"""What the extension says of itself in CMake and in ConFUDA.s4ext, read as text."""

import re
from pathlib import Path
from typing import Dict, List, Set

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "ConFUDASegment"


def cmake_value(name: str) -> str:
    """A variable of the root CMakeLists.txt."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf'^set\({name} "([^"]*)"\)', text, re.MULTILINE).group(1)


def cmake_list(name: str) -> List[str]:
    """A list of files of the module's CMakeLists.txt, relative to the module's folder."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    items = re.search(rf"set\({name}\n(.*?)\n\s*\)", text, re.DOTALL).group(1).split()
    return [item.replace("${MODULE_NAME}", "ConFUDASegment") for item in items]


def s4ext() -> Dict[str, str]:
    """The fields of ConFUDA.s4ext."""
    lines = (REPOSITORY / "ConFUDA.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return {key: value.strip() for key, _, value in pairs}


def tree(*folders: str, suffix: str = "") -> Set[str]:
    """The files that lie in these folders of the module, relative to the module's folder."""
    files = (path for folder in folders for path in (MODULE / folder).rglob("*" + suffix) if path.is_file())
    hidden = ("__pycache__", ".ruff_cache", ".DS_Store")
    return {path.relative_to(MODULE).as_posix() for path in files if not any(part in hidden for part in path.parts)}
