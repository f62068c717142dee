"""A bundle is what it says it is, or it is refused."""

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from Testing.method.toy_neighbours import show_neighbours

from confuda.adaptation.runs import adapt
from confuda.adaptation.settings import AdaptationSettings
from confuda.app.cli import main
from confuda.bundle.description import read_description
from confuda.bundle.format import SHIPPED_BUNDLE, hash_file, load_bundle, save_bundle, verify_bundle
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


def test_a_bundle_as_version_0_1_0_wrote_it_loads(bundle, tmp_path) -> None:
    """Its files and fields, put down here without what writes bundles today: weights in float16, a byte for each pixel
    and label of the exemplars, and no word of channels, weights or views."""
    images = torch.arange(2 * 96 * 96).reshape(2, 96, 96).to(torch.uint8)
    labels = (images // 64).contiguous()
    tensors = {
        "segmenter.safetensors": {name: value.half() for name, value in bundle.segmenter.state_dict().items()},
        "rain.safetensors": {name: value.half() for name, value in bundle.rain.state_dict().items()},
        "source.safetensors": {
            "images": images,
            "labels": labels,
            "centroids": bundle.bank.vectors.clone(),
            "mass": bundle.bank.mass.clone(),
        },
    }
    for name, content in tensors.items():
        save_file(content, tmp_path / name)
    description = {
        "name": "confuda-acdc",
        "version": "0.1.0",
        "classes": ["background", "MYO", "LV", "RV"],
        **{name: bundle.description[name] for name in ("spacing_mm", "crop", "segmenter", "rain")},
        "training": {"data": "ACDC", "licence": "CC BY-NC-SA 4.0"},
        "scores": {},
        "format": "confuda-bundle",
        "format_version": 1,
        "files": {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in tensors},
    }
    assert set(description["segmenter"]) <= {"width", "normalisation", "standardise"}
    (tmp_path / "bundle.json").write_text(json.dumps(description))

    old = load_bundle(tmp_path)
    torch.testing.assert_close(old.images[:, 0] * 255, images.float())
    assert torch.equal(old.labels, labels.long()) and old.samples.tolist() == [[0], [1]]
    assert old.segmenter.channels == 1 and old.class_weights == [1, 1, 1, 1] == old.scar_weights
    settings = AdaptationSettings(steps=1, source_batch=1, target_batch=1)
    adapted = adapt(old, old.images[:, 0, : old.crop, : old.crop].numpy(), settings=settings)
    assert adapted.steps == 1
    with torch.no_grad():
        before, after = (network(old.images[:, :, :64, :64]) for network in (bundle.segmenter, old.segmenter))
    torch.testing.assert_close(before, after, atol=0.05, rtol=0.05)


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
        ({"scar_weights": [1, 4, 1]}, "scar_weights"),
        ({"views": 3}, "views"),
        ({"views": "8"}, "views"),
        ({"views": [4]}, "views"),
        ({"segmenter": {"width": 10**9}}, "sizes"),
        ({"segmenter": {"width": 8, "normalisation": "instance"}}, "does not fit"),
        ({"segmenter": {"width": 4, "normalisation": "unheard"}}, "does not fit"),
    ],
)
def test_foreign_descriptions_are_refused(copied, fields, word) -> None:
    change_description(copied, **fields)
    with pytest.raises(BundleError, match=word):
        load_bundle(copied)


@pytest.fixture
def between(bundle, tmp_path):
    """The folder of a bundle of format 2, whose network has three channels."""
    save_bundle(show_neighbours(bundle), tmp_path / "between")
    return tmp_path / "between"


def change_tensors(folder, **tensors) -> None:
    """Other exemplars, of which bundle.json knows; None leaves one out."""
    path = folder / "source.safetensors"
    changed = {**load_file(path), **tensors}
    save_file({name: value for name, value in changed.items() if value is not None}, path)
    change_description(folder, files={**read_description(folder)["files"], path.name: hash_file(path)})


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"channels": 2}, "channels"),
        ({"channels": 0}, "channels"),
        ({"channels": True}, "channels"),
        ({"channels": "3"}, "channels"),
        ({"channels": [3]}, "channels"),
        ({"channels": 3.0}, "channels"),
        ({"channels": 1}, "does not fit"),
        ({"widths": [4, 8, 16]}, "does not fit"),
        ({"widths": [8, 8, 16, 32]}, "does not fit"),
        ({"widths": [4, 8, 16, 64]}, "does not fit"),
        ({"widths": [4, 8, 16, 10**9]}, "out of range"),
        ({"widths": [4, 8, 16, "32"]}, "out of range"),
        ({"widths": [4, 8, 16, -32]}, "out of range"),
        ({"widths": [4] * 1000}, "out of range"),
        ({"widths": "4"}, "out of range"),
        ({"widths": None}, "out of range"),
        ({"bottleneck": 0}, "out of range"),
        ({"bottleneck": 2048}, "does not fit"),
        ({"bottleneck": 64.0}, "out of range"),
        ({"classes": 7}, "unknown settings"),
        ({"depth": 3}, "unknown settings"),
    ],
)
def test_networks_of_format_2_that_cannot_be_are_refused(between, settings, word) -> None:
    own = read_description(between)["segmenter"]
    assert load_bundle(between).segmenter.channels == 3
    change_description(between, segmenter={**own, **settings})
    with pytest.raises(BundleError, match=word):
        load_bundle(between)


def test_format_1_knows_no_channels(between) -> None:
    change_description(between, format_version=1)
    with pytest.raises(BundleError, match="unknown settings of the segmenter for format 1"):
        load_bundle(between)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": torch.tensor([[0, 0, 1], [17, 18, 19]])},
        {"samples": torch.tensor([[-1, 0, 1]])},
        {"samples": torch.tensor([[0, 1]])},
        {"samples": torch.tensor([0, 1, 2])},
        {"samples": torch.zeros((0, 3), dtype=torch.int64)},
        {"samples": torch.tensor([[0.0, 0.0, 1.0]])},
        {"samples": None},
        {"labels": None},
        {"labels": torch.zeros(7, dtype=torch.uint8)},
        {"labels": torch.zeros((18, 96, 96), dtype=torch.uint8)},
        {"labels": torch.zeros(18 * 96 * 24, dtype=torch.float32)},
        {"labels": torch.zeros(18 * 96 * 24, dtype=torch.int64)},
        {"labels": torch.zeros(18 * 96 * 24 + 1, dtype=torch.uint8)},
        {"images": torch.zeros((18, 32, 32), dtype=torch.uint8)},
        {"images": torch.zeros((), dtype=torch.uint8)},
        {"images": torch.zeros(18 * 96 * 96, dtype=torch.uint8)},
    ],
    ids=lambda change: ", ".join(
        f"{name} {'missing' if value is None else list(value.shape)}" for name, value in change.items()
    ),
)
def test_exemplars_of_format_2_that_do_not_fit_are_refused(between, change) -> None:
    assert len(load_bundle(between).images) == 18
    change_tensors(between, **change)
    with pytest.raises(BundleError, match="source.safetensors"):
        load_bundle(between)


def test_missing_pieces_are_named(copied, tmp_path) -> None:
    with pytest.raises(BundleError, match="bundle.json"):
        read_description(tmp_path)
    (copied / "rain.safetensors").unlink()
    with pytest.raises(BundleError, match="rain.safetensors"):
        load_bundle(copied)


def test_a_pickle_is_never_read(copied) -> None:
    torch.save({"weight": torch.zeros(1)}, copied / "segmenter.safetensors")
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


def test_a_bundle_that_has_something_of_the_users_beside_it_is_never_replaced(copied) -> None:
    """What 'confuda segment -o adapted --bundle adapted' wrote, say."""
    (copied / "LGE.seg.nrrd").write_text("keep")
    with pytest.raises(InputError, match=r"would be lost \(LGE.seg.nrrd\)"):
        save_bundle(load_bundle(copied), copied)
    assert (copied / "LGE.seg.nrrd").read_text() == "keep"
    verify_bundle(copied)


@pytest.mark.skipif(os.name == "nt", reason="few users may make links there")
def test_saving_over_a_link_to_a_bundle_replaces_that_bundle(copied, tmp_path) -> None:
    (tmp_path / "link").symlink_to(copied, target_is_directory=True)
    (copied / "README.md").write_text("an older one")
    save_bundle(load_bundle(copied), tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (copied / "README.md").read_text() != "an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == [copied.name, "link"]


def test_saving_over_a_bundle_leaves_one_bundle_and_nothing_else(small_bundle_folder, copied) -> None:
    save_bundle(load_bundle(small_bundle_folder), copied)
    verify_bundle(copied)
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]
