"""`pip install .` gives a working command with its bundle, away from the checkout."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_installed_package_finds_its_bundle(tmp_path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path / "site"), str(REPOSITORY)], check=True, capture_output=True)
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if 'ConFUDASegment' not in p]; "
        f"sys.path.insert(0, {str(tmp_path / 'site')!r}); import confuda.bundle.format as b; "
        "b.load_bundle(); print(b.SHIPPED_BUNDLE)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().startswith(str(tmp_path))
    source, installed = REPOSITORY / "ConFUDASegment", tmp_path / "site"
    modules = {path.relative_to(source) for path in (source / "confuda").rglob("*.py")}
    assert modules == {path.relative_to(installed) for path in (installed / "confuda").rglob("*.py")}
    # What is under which licence is told by the package itself.
    (metadata,) = installed.glob("confuda-*.dist-info/METADATA")
    assert "\nLicense-Expression: Apache-2.0 AND CC-BY-NC-SA-4.0\n" in metadata.read_text(encoding="utf-8")
    assert {path.name for path in (metadata.parent / "licenses").iterdir()} == {"LICENSE.txt", "LICENSE-models.txt"}
