"""Fuzzing of bundles: a changed one loads, finite and of the stated shapes, or is refused in a sentence."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import List, NamedTuple, Tuple

import numpy as np
from hypothesis import strategies as st
from Testing.torture.fuzz_edits import BYTE_EDITS, VALUE_EDITS, ByteEdit, ValueEdit, hold, limited


class BundleEdit(NamedTuple):
    """A changed bundle: one file, changed in its bytes, its JSON values (description or safetensors header), or both;
    ``truthful`` where the hashes in the description follow, so that the change gets past them."""

    file: str
    values: Tuple[ValueEdit, ...]
    bytes: Tuple[ByteEdit, ...]
    truthful: bool


BUNDLE_EDITS = st.builds(
    BundleEdit,
    st.sampled_from(["bundle.json"] * 3 + ["segmenter.safetensors", "rain.safetensors", "source.safetensors"]),
    st.lists(VALUE_EDITS, max_size=2).map(tuple),
    st.lists(BYTE_EDITS, max_size=2).map(tuple),
    st.sampled_from([True, True, True, False]),
)


def make_tiny_bundle(folder: Path) -> Path:
    """A bundle of the real format whose networks are as small as they can be, with random weights."""
    import torch

    from confuda.bundle.format import Bundle, save_bundle
    from confuda.labels import CLASS_NAMES
    from confuda.losses.centroids import SourceBank
    from confuda.networks.drunet import DRUNet
    from confuda.networks.rain import RAIN

    torch.manual_seed(0)
    description = {
        "name": "tiny",
        "version": "0",
        "classes": list(CLASS_NAMES),
        "spacing_mm": 1.5,
        "crop": 32,
        "class_weights": [1, 1, 1, 1],
        "segmenter": {"width": 2, "normalisation": "instance"},
        "rain": {"widths": [2, 2, 4, 4], "latent": 2},
        "training": {"licence": "none"},
        "scores": {},
    }
    images, labels = torch.rand(2, 1, 32, 32), torch.randint(0, 4, (2, 32, 32))
    bank = SourceBank(len(CLASS_NAMES), 2)
    save_bundle(
        Bundle(description, DRUNet(width=2, normalisation="instance"), RAIN((2, 2, 4, 4), 2), images, labels, bank),
        folder,
    )
    return folder


def edit_bundle(folder: Path, edit: BundleEdit) -> None:
    """Change the bundle in ``folder``."""
    from confuda.bundle.description import DESCRIPTION_NAME, FILE_NAMES
    from confuda.bundle.format import hash_file

    path = folder / edit.file
    content = path.read_bytes()
    if edit.file == DESCRIPTION_NAME:
        content = _edit_values(content, edit.values)
    else:
        length = int.from_bytes(content[:8], "little")
        header = _edit_values(content[8 : 8 + length], edit.values)
        content = len(header).to_bytes(8, "little") + header + content[8 + length :]
    for change in edit.bytes:
        content = change.apply(content)
    path.write_bytes(content)
    if edit.truthful and edit.file in FILE_NAMES:
        description = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
        description["files"][edit.file] = hash_file(path)
        (folder / DESCRIPTION_NAME).write_text(json.dumps(description), encoding="utf-8")


def _edit_values(content: bytes, edits: Tuple[ValueEdit, ...]) -> bytes:
    if not edits:
        return content
    values = json.loads(content)
    for edit in edits:
        values = edit.apply(values)
    return json.dumps(values).encode()


def check_bundle(folder: Path) -> bool:
    """Load ``folder``; True where it loads, and then holds only finite values of the shapes that it states.

    Raises:
        AssertionError: where it loads and should not have.
        Exception: any but BundleError is a finding.
    """
    import torch

    from confuda.bundle.format import load_bundle
    from confuda.errors import BundleError
    from confuda.inference.prediction import NO_FLIP, Predictor

    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        assert str(error).strip(), "refused without a word"
        return False
    values = [*bundle.segmenter.state_dict().values(), *bundle.rain.state_dict().values()]
    values += [bundle.images, bundle.bank.vectors, bundle.bank.mass]
    assert all(torch.isfinite(value).all() for value in values), "loads with values that are not finite"
    answer = Predictor(bundle.segmenter).predict(bundle.images[:1, 0].numpy(), NO_FLIP)
    assert np.isfinite(answer).all() and answer.shape[0] == 4, "loads, and its network gives no usable answer"
    bundle.rain.encode_style(bundle.images[:1])
    return True


def fuzz_bundles(count: int, number: int = 0) -> str:
    """``count`` changed bundles: each loads or is refused; returns how many did which."""
    outcomes: List[bool] = []
    with tempfile.TemporaryDirectory() as place:
        whole = make_tiny_bundle(Path(place) / "whole")
        assert check_bundle(whole)

        def check(edit: BundleEdit) -> None:
            changed = Path(place) / "changed"
            shutil.copytree(whole, changed)
            try:
                edit_bundle(changed, edit)
                with limited():
                    outcomes.append(check_bundle(changed))
            finally:
                shutil.rmtree(changed)

        hold(check, BUNDLE_EDITS, count, number)
    return f"{len(outcomes)} bundles: {outcomes.count(False)} refused, {outcomes.count(True)} loaded"
