"""The study of a large cohort finds what is lost."""

import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

pytest.importorskip("psutil")

from cohort_scale import compare_memory, list_losses, make_volumes  # noqa: E402


def write_results(output: Path, rows) -> None:
    output.mkdir()
    lines = ["volume,status,reason,segmentation", *(",".join(row) for row in rows)]
    (output / "results.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_whole_cohort_has_lost_nothing(tmp_path) -> None:
    write_results(tmp_path / "out", [("a.nii.gz", "done", "", "a.seg.nrrd")])
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkUInt8), str(tmp_path / "out" / "a.seg.nrrd"))
    assert list_losses(tmp_path / "out", ["a.nii.gz"]) == []


def test_each_loss_is_told(tmp_path) -> None:
    output = tmp_path / "out"
    rows = [
        ("a.nii.gz", "done", "", "a.seg.nrrd"),
        ("b.nii.gz", "failed", "killed", ""),
        ("c.nii.gz", "waiting", "", ""),
    ]
    write_results(output, rows)
    (output / "a.seg.nrrd").write_bytes(b"half")
    (output / ".confuda-0123.nrrd").write_bytes(b"")
    losses = list_losses(output, ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"])
    for told in ("b.nii.gz: failed: killed", "c.nii.gz: waiting: ", "d.nii.gz has no row", "3 rows for 4 volumes",
                 "a.seg.nrrd cannot be read", ".confuda-0123.nrrd was left"):  # fmt: skip
        assert told in losses
    assert len(losses) == 6


def test_memory_of_the_second_quarter_is_compared_with_the_last() -> None:
    looks = [{"mb": size} for size in (10, 20, 100, 110, 115, 118, 150, 170)]
    assert compare_memory(looks, "mb") == {"early": 105, "late": 160}


def test_volumes_differ_and_are_kept(tmp_path) -> None:
    make_volumes(tmp_path, 2)
    one, two = (sitk.ReadImage(str(tmp_path / f"volume0000{number}.nii.gz")) for number in (0, 1))
    assert one.GetSize() == two.GetSize() == (110, 120, 4) and one.GetOrigin() != two.GetOrigin()
    written = (tmp_path / "volume00000.nii.gz").stat().st_mtime_ns
    make_volumes(tmp_path, 2)
    assert (tmp_path / "volume00000.nii.gz").stat().st_mtime_ns == written
