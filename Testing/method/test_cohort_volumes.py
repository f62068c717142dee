"""What a cohort finds in a folder, under which names, and how it shares out the cores."""

import os
import re
import subprocess
import sys
from typing import List

import pytest
from Testing.method.toy_cohort import read_rows, strip_pictures, write_dicom, write_heart

from confuda.app.cli import main
from confuda.cohort.command import remove_drafts
from confuda.cohort.dask_pool import PoolOptions, count_cores
from confuda.cohort.failure import remove_logs
from confuda.cohort.record import fingerprint, make_failure
from confuda.cohort.table import write_table
from confuda.cohort.volumes import find_volumes, list_files, make_names
from confuda.errors import InputError
from confuda.io.volume_file import read_volume


def test_volumes_are_found_and_labels_and_results_are_not(tmp_path) -> None:
    for name in ("p10.nii.gz", "p2.nii.gz", "p2.nrrd", "sub/p2.mha", ".hidden.nii.gz", ".cache/p3.nii.gz"):
        write_heart(tmp_path / name)
    for name in ("p2_manual.nii.gz", "p2_gt.nii.gz", "p2-label.nrrd", "p2.seg.nrrd", "p2_mask.nii", "seg.nrrd"):
        write_heart(tmp_path / name)
    write_heart(tmp_path / "earlier" / "cases" / "x.nii.gz")
    (tmp_path / "earlier" / "confuda-cohort.json").write_text("{}")
    volumes = find_volumes(tmp_path)
    assert [volume.relative for volume in volumes] == ["p2.nii.gz", "p2.nrrd", "p10.nii.gz", "sub/p2.mha"]
    names = [volume.name for volume in volumes]
    assert len(set(names)) == 4 and names[2:] == ["p10", "sub-p2"]
    assert names == [volume.name for volume in find_volumes(tmp_path)]
    assert [volume.name for volume in find_volumes(tmp_path, "sub/*")] == ["sub-p2"]
    with pytest.raises(InputError, match="none of its 4 volumes"):
        find_volumes(tmp_path, "*LGE*")


def test_dicom_series_are_found_one_by_one_and_those_without_images_are_told(tmp_path) -> None:
    write_dicom(tmp_path / "study" / "one", "1.2.3.4", "a")
    write_dicom(tmp_path / "study" / "two", "1.2.3.5", "a")
    write_dicom(tmp_path / "study" / "two", "1.2.3.6", "b")
    write_dicom(tmp_path / "study" / "two", "1.2.3.7", "c", modality="SR")
    said: List[str] = []
    volumes = find_volumes(tmp_path, warn=said.append)
    assert [volume.name for volume in volumes] == ["study-one", "study-two-series1", "study-two-series2"]
    assert [path.name[0] for volume in volumes[1:] for path in volume.series] == ["a"] * 3 + ["b"] * 3
    assert len(said) == 1 and "without images" in said[0]


def write_all(folder, uid: str) -> None:
    write_heart(folder / "p1.nii.gz")
    write_dicom(folder / "study", uid, "a")


def test_folders_that_are_links_are_looked_into_once(tmp_path) -> None:
    scans, archive = tmp_path / "scans", tmp_path / "archive"
    write_all(scans, "1.2.3.4")
    write_all(archive / "p7", "1.2.3.5")
    (archive / "p7" / "study" / "round").symlink_to(scans)
    (scans / "linked").symlink_to(archive / "p7")
    (scans / "again").symlink_to(scans / "study")
    volumes = find_volumes(scans)
    assert [volume.relative for volume in volumes] == ["linked/p1.nii.gz", "linked/study", "p1.nii.gz", "study"]
    assert len(list_files(volumes[1])) == 3


def test_slices_in_linked_folders_belong_to_the_volume(tmp_path) -> None:
    write_dicom(tmp_path / "all", "1.2.3.4", "a")
    (tmp_path / "series" / "first").mkdir(parents=True)
    first, *others = sorted((tmp_path / "all").iterdir())
    first.rename(tmp_path / "series" / "first" / "a")
    (tmp_path / "series" / "others").symlink_to(tmp_path / "all")
    assert read_volume(tmp_path / "series").slice_count == 1 + len(others)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that cannot be read, even by root")
def test_a_file_that_cannot_be_read_may_be_a_slice_and_is_told(tmp_path) -> None:
    write_dicom(tmp_path / "study", "1.2.3.4", "a")
    (tmp_path / "study" / "a9").symlink_to("/proc/self/mem")
    said: List[str] = []
    (volume,) = find_volumes(tmp_path, warn=said.append)
    assert len(said) == 1 and "1 DICOM files are damaged" in said[0]
    for path in (tmp_path / "study", volume.path):
        with pytest.raises(InputError, match="damaged or incomplete"):
            read_volume(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_the_files_is_passed_over(tmp_path) -> None:
    write_heart(tmp_path / "p1.nii.gz")
    os.mkfifo(tmp_path / "pipe")
    program = (
        "import sys; from pathlib import Path; from confuda.cohort.volumes import find_volumes; "
        "print(len(find_volumes(Path(sys.argv[1]))))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1\n"


def test_what_a_cohort_writes_into_a_dicom_folder_does_not_change_the_volume(tmp_path) -> None:
    write_dicom(tmp_path, "1.2.3.4", "a")
    (volume,) = find_volumes(tmp_path)
    before = fingerprint(volume)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "confuda-cohort.json").write_text("{}")
    (tmp_path / "results" / "results.csv").write_text("case")
    (tmp_path / ".DS_Store").write_text("view")
    assert fingerprint(volume) == before and len(before[1]) == 3
    write_dicom(tmp_path, "1.2.3.4", "b")
    assert fingerprint(volume) != before


def test_voxels_of_any_name_beside_a_header_belong_to_the_volume(tmp_path) -> None:
    write_heart(tmp_path / "heart.mhd")
    (tmp_path / "heart.raw").rename(tmp_path / "voxels.bin")
    header = tmp_path / "heart.mhd"
    header.write_text(header.read_text().replace("heart.raw", "voxels.bin"))
    (volume,) = find_volumes(tmp_path)
    before = fingerprint(volume)
    os.utime(tmp_path / "voxels.bin", ns=(1, 1))
    assert [path.name for path in list_files(volume)] == ["heart.mhd", "voxels.bin"] and fingerprint(volume) != before


def test_only_what_a_cohort_wrote_itself_is_removed_before_a_run(tmp_path) -> None:
    own = [".adapted-bundle-former/bundle.json", "logs/case-00001.log"]
    others = [".adapted-bundle-backup/bundle.json", "logs/case-notes.log"]
    for name in (*own, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    remove_drafts(tmp_path)
    remove_logs(tmp_path)
    assert not any((tmp_path / name).exists() for name in own)
    assert all((tmp_path / name).exists() for name in others)


def test_no_cell_of_the_table_begins_as_a_formula(tmp_path) -> None:
    for name in ("=2+3.nii.gz", "+1.nii.gz", "-1.nii.gz", "@SUM(A1).nii.gz", "plain.nii.gz"):
        write_heart(tmp_path / "in" / name)
    records = [make_failure(volume, "", "The volume is gone.") for volume in find_volumes(tmp_path / "in")]
    write_table(tmp_path / "results.csv", records)
    rows = read_rows(tmp_path)
    assert not [cell for row in rows for cell in row.values() if cell[:1] in tuple("=+-@")]
    assert all((tmp_path / "in" / row["volume"]).is_file() for row in rows) and len(rows) == 5


def test_names_are_unique_on_every_file_system_and_never_too_long() -> None:
    names = make_names(["a/b.nii", "A-B.nrrd", "x" * 300 + ".nii", "ä ö:*.nii", "...nii"])
    assert len({name.casefold() for name in names}) == 5
    assert max(len(name.encode()) for name in names) <= 100
    assert not any(re.search(r'[\s/\\:*?"<>|]', name) for name in names)


@pytest.mark.slow
def test_one_of_several_series_in_a_folder_is_segmented(small_bundle_folder, tmp_path) -> None:
    for number, prefix in enumerate("ab"):
        write_dicom(tmp_path / "study" / "Doe^Jane", f"1.2.3.{number}", prefix)
    output = tmp_path / "out"
    assert main(["cohort", str(tmp_path / "study"), "-o", str(output), "--bundle", str(small_bundle_folder)]
                + ["--segment-only", "--threads", "1"]) == 0  # fmt: skip
    assert [row["status"] for row in read_rows(output)] == ["done", "done"]
    assert "Doe" not in strip_pictures((output / "contact-sheet.html").read_text(encoding="utf-8"))


def test_all_workers_together_use_each_core_once() -> None:
    for workers in range(1, 9):
        threads = PoolOptions(workers=workers).share_threads()
        assert threads >= 1 and (threads * workers <= count_cores() or threads == 1)
    assert PoolOptions(scheduler="tcp://127.0.0.1:1").share_threads() == 1
