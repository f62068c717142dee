"""Packs of labelled slices: what goes in comes out, who is held out, and what is refused."""

import numpy as np
import pytest
import torch
from Testing.method.toy_acdc import write_patients

from confuda.app.cli import main
from confuda.errors import InputError
from confuda.training.acdc import find_acdc_cases, is_always_held_out, load_slices
from confuda.training.packed_segmenter import ResidentSlices
from confuda.training.packed_slices import (
    LARGEST_PACK_BYTES,
    PackedSlices,
    PackSource,
    pack_sources,
    read_pack,
    write_pack,
)


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    """A toy ACDC with 8 mm, and a toy M&Ms with 5 mm between slices."""
    folder = tmp_path_factory.mktemp("sets")
    write_patients(folder / "acdc", (1, 10, 15))
    write_patients(folder / "mnms", (101, 115, 120), thickness_mm=5.0, slices=4)
    return folder


@pytest.fixture(scope="module")
def pack(two_sets, tmp_path_factory):
    sources = [PackSource(name, two_sets / name, "acdc") for name in ("acdc", "mnms")]
    path = tmp_path_factory.mktemp("pack") / "slices.npz"
    packed = pack_sources(sources, 1.5, 96)
    size = write_pack(packed, path)
    assert size == path.stat().st_size
    return packed, path


def test_labels_come_back_exactly_and_images_nearly(pack, two_sets) -> None:
    written, path = pack
    read = read_pack(path)
    assert np.array_equal(read.labels, written.labels) and set(np.unique(read.labels)) == {0, 1, 2, 3}
    difference = np.abs(read.images.astype(int) - written.images)
    # The toy hearts are full of noise, which JPEG keeps worst.
    assert difference.mean() < 4 and np.percentile(difference, 99.9) < 24
    slices = load_slices(find_acdc_cases(two_sets / "acdc")[:1], 1.5, 96)
    assert np.array_equal(read.labels[:3], slices.labels) and np.array_equal(written.images[:3], slices.images)
    assert path.stat().st_size < read.images.nbytes / 2


def test_volumes_keep_names_order_and_distances(pack) -> None:
    read = read_pack(pack[1])
    assert read.names[0] == "acdc/patient001_frame01" and read.names[-1] == "mnms/patient120_frame12"
    assert np.bincount(read.volume).tolist() == [3] * 6 + [4] * 6
    np.testing.assert_allclose(read.distance_mm, [8.0] * 6 + [5.0] * 6)
    assert read.spacing_mm == 1.5


def test_each_data_set_holds_out_its_own_patients(pack) -> None:
    read = read_pack(pack[1])
    held_out = {name.split("_")[0] for name, out in zip(read.names, read.held_out) if out}
    assert held_out == {"acdc/patient010", "mnms/patient115"}
    assert is_always_held_out("patient100") and not is_always_held_out("patient105")
    assert is_always_held_out("patient105", "mnms") and not is_always_held_out("patient100", "mnms")
    training, rest = read.select(False), read.select(True)
    assert len(training.images) + len(rest.images) == len(read.images)
    assert {name.split("_")[0] for name in rest.names} == held_out and rest.held_out.all()
    assert np.array_equal(np.unique(training.volume), np.arange(len(training.names)))
    number = training.names.index("mnms/patient120_frame01")
    own = read.volume == read.names.index("mnms/patient120_frame01")
    assert np.array_equal(training.images[training.volume == number], read.images[own])


def test_neighbours_are_slices_of_the_same_volume(pack) -> None:
    slices = ResidentSlices(read_pack(pack[1]), torch.device("cpu"))
    index = torch.tensor([0, 1, 2, 3, 18, 20])
    near = slices.find_neighbours(index, torch.ones_like(index))
    assert near.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [18, 18, 19], [19, 20, 21]]
    far = slices.find_neighbours(index, torch.full_like(index, 2))
    assert far.tolist() == [[0, 0, 2], [1, 1, 1], [0, 2, 2], [3, 3, 5], [18, 18, 20], [18, 20, 20]]
    none = slices.find_neighbours(index, torch.zeros_like(index))
    assert torch.equal(none, index[:, None].expand(-1, 3))


def test_the_command_packs_two_data_sets(two_sets, tmp_path, capsys) -> None:
    output = tmp_path / "slices.npz"
    data = ["--data", f"acdc={two_sets / 'acdc'}", "--data", f"mnms={two_sets / 'mnms'}"]
    size = ["--set", "spacing_mm=1.5", "--set", "window=96"]
    assert main(["train", "pack", *data, "-o", str(output), *size]) == 0
    assert "42 slices of 12 volumes, 4 of them held out" in capsys.readouterr().err
    assert read_pack(output).images.shape == (42, 96, 96)
    # A folder without a name is ACDC.
    assert main(["train", "pack", "--data", str(two_sets / "mnms"), "-o", str(output), *size]) == 0
    assert {name.split("_")[0] for name in read_pack(output).select(True).names} == {"acdc/patient120"}


@pytest.mark.parametrize("setting", ["crop=96", "window=many", "window=7", "spacing_mm=0", "spacing_mm=true"])
def test_settings_that_no_pack_has_are_refused(two_sets, tmp_path, capsys, setting) -> None:
    output = tmp_path / "slices.npz"
    assert main(["train", "pack", "--data", str(two_sets / "acdc"), "-o", str(output), "--set", setting]) == 2
    assert setting.split("=")[0] in capsys.readouterr().err and not output.exists()


def test_pack_says_what_it_misses(tmp_path, capsys) -> None:
    assert main(["train", "pack", "-o", str(tmp_path / "slices.npz")]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["train", "pack", "--data", f"mnms={tmp_path}", "-o", str(tmp_path / "slices.npz")]) == 3
    assert "patient001_frame01.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "slices.npz").exists()


def make_noise(count: int, size: int) -> PackedSlices:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
    volume, labels = np.zeros(count, int), np.zeros_like(images)
    return PackedSlices(images, labels, volume, np.full(1, 8.0), np.zeros(1, bool), ["acdc/noise"], 1.5)


@pytest.mark.slow
def test_a_pack_above_50_megabytes_is_not_written(tmp_path) -> None:
    """Noise does not compress: 64 images of a million pixels take about a megabyte each."""
    assert LARGEST_PACK_BYTES == 50_000_000
    with pytest.raises(InputError, match=r"would take \d\d MB: choose a smaller window"):
        write_pack(make_noise(64, 1024), tmp_path / "large.npz")
    assert not list(tmp_path.iterdir())


def check_refused(path, capsys) -> None:
    assert main(["train", "segmenter", "--packed", str(path), "-o", str(path.parent / "run")]) == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "confuda train pack" in said[0] and "Traceback" not in said[0]


def test_damaged_packs_are_refused_in_one_sentence(pack, two_sets, tmp_path, capsys) -> None:
    content = pack[1].read_bytes()
    path = tmp_path / "slices.npz"
    check_refused(path, capsys)
    for damaged in (b"", content[: len(content) // 2], content[100:], b"PK" + b"\0" * 400, b"slices", b"\x93NUMPY"):
        path.write_bytes(damaged)
        check_refused(path, capsys)
    np.save(tmp_path / "one.npy", np.zeros(3))
    check_refused(tmp_path / "one.npy", capsys)


def test_a_flipped_byte_is_refused_or_harmless(pack, tmp_path) -> None:
    written, path = pack
    content = path.read_bytes()
    other = tmp_path / "slices.npz"
    refused = 0
    for place in range(0, len(content), len(content) // 60):
        changed = bytearray(content)
        changed[place] ^= 0x55
        other.write_bytes(changed)
        try:
            assert np.array_equal(read_pack(other).labels, written.labels)
        except InputError as error:
            refused += 1
            assert "damaged" in str(error)
    assert refused > 50


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.full((6, 32, 32), 4, np.uint8)},
        {"labels": np.zeros((6, 32, 31), np.uint8)},
        {"volume": np.array([0, 0, 0, 1, 1, 2])},
        {"volume": np.array([0, 1, 0, 1, 0, 1])},
        {"distance_mm": np.array([8.0, 0.0])},
        {"distance_mm": np.array([8.0, np.nan])},
        {"held_out": np.zeros(3, bool)},
        {"names": ["one"]},
        {"spacing_mm": np.inf},
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path, changes) -> None:
    volume = np.array([0, 0, 0, 1, 1, 1])
    whole = make_noise(6, 32)._replace(
        volume=volume, distance_mm=np.full(2, 8.0), held_out=np.array([False, True]), names=["a/1", "a/2"]
    )
    write_pack(whole, tmp_path / "whole.npz")
    assert read_pack(tmp_path / "whole.npz").names == ["a/1", "a/2"]
    write_pack(whole._replace(**changes), tmp_path / "other.npz")
    with pytest.raises(InputError, match="no pack of slices"):
        read_pack(tmp_path / "other.npz")
