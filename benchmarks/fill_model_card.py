"""Put measured scores into a bundle's description and model card; the weights stay as they are.

    python benchmarks/fill_model_card.py ConFUDASegment/Resources/Models/confuda-acdc out/*/scores.json

The scores in the bundle become exactly those of the files, which ``benchmarks/quality.py`` wrote for this very bundle.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from scores import identify_bundle

from confuda.bundle.description import read_description
from confuda.bundle.format import load_bundle, save_bundle
from confuda.bundle.model_card import check_scores
from confuda.errors import BundleError, ConfudaError, InputError


def read_scores(paths: Sequence[Path], bundle_hash: str) -> Dict[str, Any]:
    """The scores of all files, by title.

    Raises:
        InputError: if a file cannot be read, has another form, repeats a title, or is about another bundle.
    """
    scores: Dict[str, Any] = {}
    for path in paths:
        try:
            own = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as JSON: give a scores.json of benchmarks/quality.py.") from error
        check_scores(own)
        for title, runs in own.items():
            if title in scores:
                raise InputError(f"Two files have scores for '{title}': give one of them another --title.")
            if any(row.get("bundle") != bundle_hash for row in runs.values()):
                raise InputError(f"The scores for '{title}' in {path} were measured with another bundle.")
            scores[title] = runs
    return scores


def fill_model_card(folder: Path, paths: Sequence[Path]) -> None:
    """Replace the scores of the bundle in ``folder`` by those of ``paths``, in bundle.json and README.md.

    Raises:
        BundleError: if the bundle is unusable, or its weights would not stay as they are, byte for byte.
        InputError: see :func:`read_scores`.
    """
    bundle = load_bundle(folder)
    scores = read_scores(paths, identify_bundle(bundle.description))
    filled = dataclasses.replace(bundle, description={**bundle.description, "scores": scores})
    with tempfile.TemporaryDirectory() as beside:
        trial = Path(beside) / folder.name
        save_bundle(filled, trial)
        if read_description(trial)["files"] != bundle.description["files"]:
            raise BundleError(f"The weights of {folder.name} would not stay as they are: build the bundle anew.")
    save_bundle(filled, folder)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("scores", type=Path, nargs="+", help="scores.json of benchmarks/quality.py")
    parsed = parser.parse_args(arguments)
    try:
        fill_model_card(parsed.bundle.resolve(), parsed.scores)
    except ConfudaError as error:
        print(f"fill_model_card: {error}", file=sys.stderr)
        return error.exit_code
    print((parsed.bundle / "README.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
