"""Lay the installed extension out as Slicer's packaging does, and zip it.

    python package/make_package.py -o dist

The extension's own CMake files decide what goes in and where: they are configured and installed by the true cmake,
against `package/slicer_stand_in` instead of a build tree of Slicer. Slicer's packaging adds byte code to this, nothing
else. The archive has one folder, as the Extensions Manager expects, and is the same for the same commit.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import List, Optional, Sequence

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
SLICER_VERSIONS = ("5.8", "5.10", "5.12", "5.13")
FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of each file in the archive, the earliest that a zip can hold: the same content gives the same bytes."""


class PackagingError(RuntimeError):
    """The package can't be made; the message says why."""


def find_cmake() -> Path:
    """cmake beside this Python (pip install cmake), else the one on PATH.

    Raises:
        PackagingError: if there is none.
    """
    beside = shutil.which("cmake", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("cmake")
    if found is None:
        raise PackagingError("Laying the extension out needs cmake: install it with 'pip install cmake'.")
    return Path(found)


def install_extension(prefix: Path, slicer_version: str = "5.12", source: Path = REPOSITORY) -> List[Path]:
    """Configure and install the extension into ``prefix``; returns its files, relative to ``prefix`` and sorted.

    Raises:
        PackagingError: if cmake is absent or refuses the extension, with its last words.
    """
    cmake = find_cmake()
    # Nothing is compiled, so no machine needs a compiler or make for this: cmake takes their places.
    nothing = {name: str(cmake) for name in ("CMAKE_MAKE_PROGRAM", "CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER")}
    taken_for_granted = {
        f"CMAKE_{language}_COMPILER_{what}": "1" for language in ("C", "CXX") for what in ("FORCED", "ID_RUN")
    }
    values = {
        "Slicer_DIR": str(HERE / "slicer_stand_in"),
        "Slicer_STAND_IN_VERSION": slicer_version,
        "BUILD_TESTING": "ON",
        **nothing,
        **taken_for_granted,
    }
    with tempfile.TemporaryDirectory(prefix="confuda-package-") as build:
        definitions = [f"-D{name}={value}" for name, value in values.items()]
        _run([str(cmake), "-G", "Unix Makefiles", "-S", str(source), "-B", build, *definitions])
        _run([str(cmake), "--install", build, "--prefix", str(prefix)])
    return sorted(path.relative_to(prefix) for path in prefix.rglob("*") if path.is_file())


def make_package(folder: Path, slicer_version: str = "5.12") -> Path:
    """Write ``ConFUDA-<version>-Slicer-<version>.zip`` into ``folder``; returns its path.

    Raises:
        PackagingError: as :func:`install_extension`.
    """
    name = f"ConFUDA-{read_version()}-Slicer-{slicer_version}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="confuda-package-") as prefix:
        files = install_extension(Path(prefix), slicer_version)
        draft = folder / f".{name}.zip"
        try:
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                for path in files:
                    entry = zipfile.ZipInfo(f"{name}/{path.as_posix()}", FIXED_TIME)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o100644 << 16
                    archive.writestr(entry, (Path(prefix) / path).read_bytes())
            return draft.replace(folder / f"{name}.zip")
        finally:
            draft.unlink(missing_ok=True)


def read_version() -> str:
    """The version that ``confuda --version`` tells."""
    text = (REPOSITORY / "ConFUDASegment" / "confuda" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def _run(command: List[str]) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise PackagingError(f"cmake refuses the extension:\n{result.stdout[-2000:]}")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), help="folder of the zip (dist by default)")
    parser.add_argument("--slicer-version", choices=SLICER_VERSIONS, default="5.12", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        package = make_package(options.output, options.slicer_version)
    except PackagingError as error:
        print(error, file=sys.stderr)
        return 1
    with zipfile.ZipFile(package) as archive:
        count = len(archive.namelist())
    print(f"{package}: {count} files, {package.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
