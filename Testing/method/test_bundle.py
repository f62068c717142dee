"""A bundle is what it says it is, or it is refused."""

import json
import shutil

import pytest
import torch

from confuda.app.cli import main
from confuda.bundle.format import SHIPPED_BUNDLE, load_bundle, read_description, save_bundle, verify_bundle
from confuda.errors import BundleError, InputError


@pytest.fixture
def copied(small_bundle_folder, tmp_path):
    return shutil.copytree(small_bundle_folder, tmp_path / "copied")


def change_description(folder, **fields) -> None:
    path = folder / "bundle.json"
    description = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps(description))


def test_saved_bundle_loads_with_the_same_weights(small_bundle_folder, tmp_path) -> None:
    bundle = load_bundle(small_bundle_folder)
    save_bundle(bundle, tmp_path / "again")
    again = load_bundle(tmp_path / "again")
    for name, value in bundle.segmenter.state_dict().items():
        torch.testing.assert_close(again.segmenter.state_dict()[name], value)
    torch.testing.assert_close(again.images, bundle.images, atol=1 / 255, rtol=0)
    torch.testing.assert_close(again.bank.vectors, bundle.bank.vectors)
    assert torch.equal(again.labels, bundle.labels)


@pytest.mark.parametrize("name", ["segmenter.safetensors", "rain.safetensors", "source.safetensors"])
def test_one_flipped_byte_is_found(copied, name, capsys) -> None:
    assert main(["bundle", "verify", str(copied)]) == 0
    path = copied / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["bundle", "verify", str(copied)]) == 4
    assert name in capsys.readouterr().err


def test_shipped_bundle_is_whole_small_and_says_what_it_is() -> None:
    description = verify_bundle(SHIPPED_BUNDLE)
    load_bundle(SHIPPED_BUNDLE)
    assert sum(path.stat().st_size for path in SHIPPED_BUNDLE.iterdir()) < 12e6
    assert description["training"]["licence"] == "CC BY-NC-SA 4.0"
    assert "Bernard" in description["training"]["citation"]
    card = (SHIPPED_BUNDLE / "README.md").read_text(encoding="utf-8")
    for word in ("ACDC", "CC BY-NC-SA 4.0", "Bernard", "not a medical device"):
        assert word in card


@pytest.mark.parametrize(
    "fields, word",
    [
        ({"format": "other"}, "ConFUDA bundle"),
        ({"format_version": 99}, "newer"),
        ({"format_version": "1"}, "format version"),
        ({"files": {"../../etc/passwd": "0"}}, "exactly the files"),
        ({"classes": ["background", "LV"]}, "classes"),
        ({"crop": 100}, "crop"),
        ({"spacing_mm": -1}, "spacing_mm"),
        ({"class_weights": [1, 4, 1]}, "class_weights"),
        ({"class_weights": [1, 0, 1, 1]}, "class_weights"),
        ({"class_weights": [1, "4", 1, 1]}, "class_weights"),
        ({"segmenter": {"width": 10**9}}, "sizes"),
        ({"segmenter": {"width": 8, "normalisation": "instance"}}, "does not fit"),
        ({"segmenter": {"width": 4, "normalisation": "unheard"}}, "does not fit"),
    ],
)
def test_foreign_descriptions_are_refused(copied, fields, word) -> None:
    change_description(copied, **fields)
    with pytest.raises(BundleError, match=word):
        load_bundle(copied)


def test_missing_pieces_are_named(copied, tmp_path) -> None:
    with pytest.raises(BundleError, match="bundle.json"):
        read_description(tmp_path)
    (copied / "rain.safetensors").unlink()
    with pytest.raises(BundleError, match="rain.safetensors"):
        load_bundle(copied)


def test_a_pickle_is_never_read(copied) -> None:
    torch.save({"weight": torch.zeros(1)}, copied / "segmenter.safetensors")
    from confuda.bundle.format import hash_file

    files = {**read_description(copied)["files"], "segmenter.safetensors": hash_file(copied / "segmenter.safetensors")}
    change_description(copied, files=files)
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(copied)


def test_a_folder_that_is_no_bundle_is_never_replaced(small_bundle_folder, tmp_path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="no bundle"):
        save_bundle(load_bundle(small_bundle_folder), tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


def test_saving_over_a_bundle_leaves_one_bundle_and_nothing_else(small_bundle_folder, copied) -> None:
    save_bundle(load_bundle(small_bundle_folder), copied)
    verify_bundle(copied)
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]
