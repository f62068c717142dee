"""What a cohort finds in a folder, under which names, and how it shares out the cores."""

import re
from typing import List

import pytest
from Testing.method.toy_cohort import read_rows, strip_pictures, write_dicom, write_heart

from confuda.app.cli import main
from confuda.cohort.dask_pool import PoolOptions, count_cores
from confuda.cohort.volumes import find_volumes, make_names
from confuda.errors import InputError


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
