"""The package: what `make package` lays out and zips is what CMake lists, and the module runs from it on the host, out
of a folder that nobody can write to and that has a space and an umlaut in its name."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import List, Optional

import pytest
from package.make_package import PackagingError, install_extension, make_package, read_version
from Testing.packaging.description import MODULE, REPOSITORY, cmake_list, cmake_value, s4ext

MODULES = "lib/Slicer-5.12/qt-scripted-modules"


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    try:
        return make_package(tmp_path_factory.mktemp("dist"))
    except PackagingError as error:
        if "pip install cmake" in str(error):
            pytest.skip(str(error))
        raise


def read_names(package: Path) -> List[str]:
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_the_zip_holds_what_cmake_lists_in_one_folder(package):
    top = f"ConFUDA-{read_version()}-Slicer-5.12"
    assert package.name == f"{top}.zip"
    listed = cmake_list("MODULE_PYTHON_SCRIPTS") + cmake_list("MODULE_PYTHON_RESOURCES")
    expected = {f"{top}/{MODULES}/{name}" for name in listed} | {f"{top}/share/Slicer-5.12/ConFUDA.s4ext"}
    assert sorted(read_names(package)) == sorted(expected)


def test_files_in_the_zip_are_the_trees_own(package):
    with zipfile.ZipFile(package) as archive:
        for entry in archive.namelist():
            _, found, name = entry.partition(f"{MODULES}/")
            if found:
                assert archive.read(entry) == (MODULE / name).read_bytes(), name


def test_the_same_tree_gives_the_same_zip(package, tmp_path):
    assert make_package(tmp_path).read_bytes() == package.read_bytes()


def test_the_package_stays_small_enough_for_the_extensions_index(package):
    """The repository, with its history, must stay below 100 MB: the package is most of what each version adds."""
    assert package.stat().st_size < 20e6


def test_description_that_the_build_writes_is_the_s4ext_at_the_top_level(package):
    """CMake itself reads the variables here; the file at the top level was written by hand."""
    with zipfile.ZipFile(package) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".s4ext")]
        lines = archive.read(name).decode("utf-8").splitlines()
    built = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    by_hand = s4ext()
    built.pop("scmrevision")  # the commit there, the branch here
    assert built == {key: by_hand[key] for key in built}
    assert set(by_hand) - set(built) == {"scmrevision", "recommends", "tier"}


def copy_tree(folder: Path) -> Path:
    hidden = shutil.ignore_patterns("__pycache__", ".git", "*.safetensors")
    shutil.copytree(MODULE, folder / "ConFUDASegment", ignore=hidden)
    for name in cmake_list("MODULE_PYTHON_RESOURCES"):
        (folder / "ConFUDASegment" / name).touch()
    shutil.copy(REPOSITORY / "CMakeLists.txt", folder)
    return folder


@pytest.mark.parametrize(
    "file, old, new, says",
    [
        ("ConFUDASegment/CMakeLists.txt", "confuda/adaptation/loop.py", "confuda/adopt.py", "confuda/adopt.py"),
        ("ConFUDASegment/CMakeLists.txt", "RESOURCES ${", "RESSOURCES ${", "RESSOURCES"),
        ("CMakeLists.txt", 'EXTENSION_CATEGORY "Cardiac"', 'EXTENSION_CATEGORY ""', "EXTENSION_CATEGORY is not set"),
        ("CMakeLists.txt", 'DEPENDS "PyTorch"', "DEPENDS PyTorch;Other", "one quoted string"),
        ("CMakeLists.txt", "include(${Slicer_USE_FILE})", "", "slicerMacroBuildScriptedModule"),
    ],
)
def test_a_wrong_cmake_file_makes_no_package(package, tmp_path, file, old, new, says):
    tree = copy_tree(tmp_path / "tree")
    path = tree / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PackagingError) as caught:
        install_extension(tmp_path / "out", source=tree)
    assert says in str(caught.value)


def test_layout_follows_the_version_of_slicer(package, tmp_path):
    files = install_extension(tmp_path / "out", "5.13")
    assert {path.parts[:3] for path in files} == {
        ("lib", "Slicer-5.13", "qt-scripted-modules"),
        ("share", "Slicer-5.13", "ConFUDA.s4ext"),
    }


def test_the_module_tells_slicer_what_cmake_tells_the_index():
    text = (MODULE / "ConFUDASegment.py").read_text(encoding="utf-8")
    assert f'"{cmake_value("EXTENSION_CATEGORY")}")]' in text
    assert f'parent.contributors = ["{cmake_value("EXTENSION_CONTRIBUTORS")}"]' in text


def make_read_only(folder: Path) -> Optional[List[str]]:
    """What a command must begin with so that nothing in ``folder`` can be written; None where that can't be had.

    Modes do not bind root, so root gets a read-only mount that only the command sees, or else another user.
    """
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    ways = [
        [],
        ["unshare", "--mount", "sh", "-c", mount, str(folder)],
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
    ]
    for way in ways:
        works = [*way, sys.executable, "-c", "print('runs')"]
        writes = [*way, sys.executable, "-c", "import sys; open(sys.argv[1], 'w')", str(folder / "written")]
        try:
            if subprocess.run(works, capture_output=True).returncode == 0:
                if subprocess.run(writes, capture_output=True).returncode != 0:
                    return way
                (folder / "written").unlink()
        except FileNotFoundError:
            continue
    return None


RUN_FROM_PACKAGE = """
import json, os, subprocess, sys
from pathlib import Path

repository, folder = sys.argv[1:]
try:
    open(os.path.join(folder, "written"), "w")
    sys.exit("the folder can be written to")
except OSError:
    pass
sys.path.insert(0, repository)
from Testing.host import start

host = start(Path(folder))
widget = host.loadModule(Path(folder))
import slicer
import ConFUDASegmentLib
from ConFUDASegmentLib.machine import workerEnvironment

volume = host.loadVolume(Path(folder) / "Resources" / "SampleData" / "SimulatedLGE.nrrd", "SimulatedLGE")
steps = []
node = widget.logic.adaptAndSegment(
    volume,
    settings={"steps": 2, "strength": 1.0},
    onProgress=lambda progress: steps.append(progress.step) if progress.stage == "adapt" else None,
)
program = "import confuda.bundle.format as b; print(b.__file__); print(b.SHIPPED_BUNDLE)"
worker = subprocess.run(
    [sys.executable, "-c", program],
    env=workerEnvironment(os.path.dirname(sys.modules["ConFUDASegment"].__file__)),
    stdout=subprocess.PIPE, text=True, check=True, cwd=os.sep,
)
answer = {
    "module": slicer.modules.confudasegment.path,
    "library": ConFUDASegmentLib.__file__,
    "worker": worker.stdout.split("\\n")[:2],
    "steps": steps,
    "adapted": widget.logic.job.summary["steps"],
    "volumes_ml": widget.logic.job.summary["volumes_ml"],
    "segments": [node.GetSegmentation().GetNthSegment(i).GetName() for i in range(3)],
    "rows": widget.logic.job.tableNode.GetNumberOfRows(),
}
host.unloadModule()
print("RESULT" + json.dumps(answer))
"""


def test_the_module_runs_from_the_zip_in_a_read_only_folder(package, tmp_path, host):
    """Adaptation included: the true worker, with the packaged bundle, on the packaged sample."""
    pytest.importorskip("torch")
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "Erweiterungen für Slicer")
    (unpacked,) = (tmp_path / "Erweiterungen für Slicer").iterdir()
    before = sorted(unpacked.rglob("*"))
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)  # another user may have to work there
    for parent in [tmp_path, *tmp_path.parents[:3]]:
        if os.stat(parent).st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    way = make_read_only(unpacked)
    if way is None:
        pytest.skip("no way to make a folder read-only for this user: no mount namespaces and no setpriv")
    folder = unpacked / MODULES
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONUTF8")}
    environment.update(HOME=str(home), TMPDIR=str(home), OMP_NUM_THREADS="2")
    try:
        answer = subprocess.run(
            [*way, sys.executable, "-c", RUN_FROM_PACKAGE, str(REPOSITORY), str(folder)],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=900,
        )
    finally:
        for path in [unpacked, *before]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    result = json.loads(answer.stdout.partition("RESULT")[2])
    for path in [result["module"], result["library"], *result["worker"]]:
        assert Path(path).is_relative_to(folder), path
    assert max(result["steps"]) == result["adapted"] == 2
    assert all(millilitres > 10 for millilitres in result["volumes_ml"].values())
    assert len(set(result["segments"])) == result["rows"] == 3
    assert sorted(unpacked.rglob("*")) == before
