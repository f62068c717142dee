"""The published scale on the CPU: two steps of batch 2 of everything that a cell needs, and a figure in the end."""

import math
from pathlib import Path

import pytest
import torch
from Testing.method.toy_mscmrseg import write_patient

from confuda.benchmark.cells import Cell, CellRunner, hash_cell, hash_source, name_files
from confuda.benchmark.folds import make_folds
from confuda.benchmark.recipe import make_recipe
from confuda.benchmark.source_model import prepare_source
from confuda.training.mscmrseg import find_mscmrseg_patients

TWO_STEPS = {
    "source.epochs": 1,
    "source.batch": 2,
    "rain.autoencoder_steps": 2,
    "rain.style_steps": 2,
    "rain.batch": 2,
    "steps": 2,
    "source_batch": 2,
    "warmup_share": 0.5,
}


@pytest.mark.slow
def test_two_steps_of_the_published_scale_run_on_the_cpu(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(1, 5):
        write_patient(data, number)
    recipe = make_recipe("paper", TWO_STEPS)
    fold = make_folds(find_mscmrseg_patients(data), 4, 0)[0]
    fold = fold._replace(source=fold.source[:1])
    assert recipe.source.count_steps(3) == 2 and recipe.make_settings(3, {}).steps == 2
    device = torch.device("cpu")
    bundle = prepare_source(fold, recipe, tmp_path / "source", 0, device, lambda line: None)
    # With three input channels instead of one it would have 13.48 million: 576 more in the first convolution.
    assert sum(part.numel() for part in bundle.segmenter.parameters()) == pytest.approx(13.48e6, rel=1e-3)
    assert bundle.crop == 224 and bundle.spacing_mm == 1.0
    cell = Cell("confuda", "one-shot", recipe.make_settings(3, {}), fold, 0)
    recipe_hash = hash_cell(cell, hash_source(fold, recipe, 0))
    record = CellRunner(fold, bundle, device).run(cell, recipe_hash, name_files(tmp_path / "out", cell, recipe_hash))
    scores = [case["scores"]["average"]["dice"] for case in record["cases"]]
    assert len(scores) == len(fold.test) and all(math.isfinite(score) and 0 <= score <= 1 for score in scores)
