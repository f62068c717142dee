"""Bundles that are damaged or of a foreign kind: code 4, one sentence, the earlier output intact."""

import json
import os
import shutil

import pytest
from Testing.torture.commands import run_here
from Testing.torture.runs import Place
from Testing.toy_bundle import share_toy_bundle


def empty(path):
    os.truncate(path, 0)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def take_of_another(path):
    from confuda.bundle.format import SHIPPED_BUNDLE

    shutil.copy(SHIPPED_BUNDLE / path.name, path)


def make_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "truncated": truncate,
    "empty": empty,
    "bit-flipped": flip_bit,
    "of another bundle": take_of_another,
    "a folder": make_folder,
}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", ["bundle.json", "segmenter.safetensors", "rain.safetensors", "source.safetensors"])
def test_damaged_file(name, kind, tmp_path, seen) -> None:
    """One file of the bundle is missing, cut, flipped or exchanged: code 4, one sentence, earlier output intact."""
    bundle = shutil.copytree(share_toy_bundle(), tmp_path / "bundle")
    DAMAGES[kind](bundle / name)
    place = Place(tmp_path)
    arguments = place.list_arguments()
    arguments[arguments.index("--bundle") + 1] = str(bundle)
    outcome = run_here(arguments)
    if (name, kind) == ("bundle.json", "bit-flipped") and outcome.code == 0:
        seen("loads: the flipped bit is in a text that decides nothing")
        return
    assert outcome.code == 4, outcome.err
    place.check_untouched()
    seen(f"code 4, '{outcome.err.strip().splitlines()[-1].replace(str(tmp_path), '...')}'")


@pytest.mark.parametrize(
    "fields, word",
    [
        pytest.param({"format_version": 3}, "update ConFUDA", id="of a newer format"),
        pytest.param({"format_version": 2}, "does not fit", id="of format 2 with labels of format 1"),
        pytest.param({"format": "other"}, "ConFUDA bundle", id="of another program"),
        pytest.param(
            {"segmenter": {"width": 1024, "normalisation": "instance"}}, "does not fit", id="a network of 60 GB"
        ),
        pytest.param({"rain": {"widths": [8] * 1000, "latent": 4}}, "out of range", id="a RAIN of 1000 layers"),
        pytest.param({"rain": {"widths": 8, "latent": 4}}, "out of range", id="sizes that are no list"),
        pytest.param({"segmenter": {"width": 4, "normalisation": []}}, "does not fit", id="an unheard normalisation"),
        pytest.param({"name": "\ud800"}, "JSON", id="half a letter"),
    ],
)
def test_foreign_description(fields, word, tmp_path, seen) -> None:
    """A bundle.json that says what cannot be: code 4, one sentence."""
    from confuda.bundle.format import load_bundle
    from confuda.errors import BundleError

    bundle = shutil.copytree(share_toy_bundle(), tmp_path / "bundle")
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(BundleError, match=word) as error:
        load_bundle(bundle)
    seen(f"code 4, '{str(error.value).replace(str(tmp_path), '...')}'")
