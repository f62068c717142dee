"""What a table is before it is run: folds of the real data, defaults, order, hours; and a user's own method in it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from Testing.method.test_benchmark import make_arguments, read_rows
from Testing.method.toy_mscmrseg import write_patient
from Testing.packaging.documents import read_blocks

from confuda.adaptation.methods import METHOD_CLASSES
from confuda.app.cli import main
from confuda.benchmark.cells import Cell, CellRunner
from confuda.benchmark.command import run_benchmark
from confuda.benchmark.folds import make_folds
from confuda.benchmark.hours import estimate_cells_s, estimate_source_s
from confuda.benchmark.options import BenchmarkOptions
from confuda.benchmark.recipe import make_recipe
from confuda.benchmark.source_model import crop_like_source, crop_middle, measure_field_mm
from confuda.io.segmentation_file import read_segmentation
from confuda.measure.metrics import evaluate
from confuda.training.mscmrseg import DATASET, find_mscmrseg_patients

DEVELOPERS = Path(__file__).resolve().parents[2] / "docs" / "developers.md"


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ms-cmrseg")
    for number in range(1, 7):
        write_patient(folder, number, registered=False)
    return folder


@pytest.fixture
def forget_own_methods():
    before = dict(METHOD_CLASSES)
    yield
    METHOD_CLASSES.clear()
    METHOD_CLASSES.update(before)


class Stop(Exception):
    pass


def hear_plan(options: BenchmarkOptions) -> str:
    """The line that is said before anything is run."""
    heard = []

    def report(line: str) -> None:
        heard.append(line)
        raise Stop

    with pytest.raises(Stop):
        run_benchmark(options, report)
    return heard[0]


def test_folds_of_the_whole_stacks_keep_target_and_test_out_of_the_source(shared_data) -> None:
    patients = find_mscmrseg_patients(shared_data / "MS-CMRSeg")
    folds = make_folds(patients, 5, 0)
    tested = sorted(patient.number for fold in folds for patient in fold.test)
    assert tested == [1, 2, 4, 6, 7, 8, 9, 13, 14, 15, 18, 19, 29, 36, 41]
    for fold in folds:
        assert (len(fold.source), len(fold.target), len(fold.test)) == (16, 6, 3)
        numbers = [{patient.number for patient in part} for part in (fold.source, fold.target, fold.test)]
        assert len(set.union(*numbers)) == 25
        assert all(patient.images["C0"].parent.name == "bssfp" for patient in fold.source)
        assert all(patient.images["LGE"].parent.name == "native" for patient in (*fold.target, *fold.test))


def test_the_defaults_are_the_folds_that_chose_nothing_and_three_seeds(toy_folder, tmp_path) -> None:
    options = BenchmarkOptions("table1", toy_folder, tmp_path, device="cpu")
    # Folds 2 to 5: the source network, its control at 3 seeds, and 5 methods at 3 + 3 + 1 seeds.
    assert hear_plan(options).startswith("table1: 156 cells, 0 of them")
    assert hear_plan(dataclasses.replace(options, only_folds=[1], settings=["full"])).startswith("table1: 7 cells")
    # Two rows of the four are cells of table 1.
    assert hear_plan(dataclasses.replace(options, table="table2")).startswith("table2: 112 cells")


def test_hours_are_told_before_the_start_and_follow_the_steps(toy_folder, tmp_path) -> None:
    options = BenchmarkOptions("table1", toy_folder, tmp_path, device="cpu")
    few, many = (
        float(hear_plan(dataclasses.replace(options, values={"steps": steps})).split("about ")[1].split(" h")[0])
        for steps in (1000, 10_000)
    )
    assert 0 < few < many


def test_seconds_are_those_of_the_cells_that_are_there() -> None:
    recipe = make_recipe("small", {"steps": 100})
    settings = recipe.make_settings(1, {})
    cells = [Cell(method, "few-shot", settings, None, 0) for method in ("none", "source", "fuda", "confuda")]
    assert estimate_cells_s(cells, 0.2, {}) == pytest.approx(10 + 20 + 20)
    there = {"fuda": [{"seconds": {"total": 200.0}, "settings": {"steps": 50}}]}
    assert estimate_cells_s(cells, 0.2, there) == pytest.approx(10 + 400 + 20)
    # 100 passes over 160 slices, and 1.5 times 1,100 batches of 8; a step of 20 images takes 0.2 s.
    assert estimate_source_s(recipe, 160, 0.2) == pytest.approx(0.01 * (100 * 160 + 1.5 * 1100 * 8))


@pytest.mark.slow
def test_all_methods_of_a_seed_come_before_the_next_seed(toy_folder, tmp_path, capsys) -> None:
    more = ["--methods", "fuda", "blockcl", "--settings", "one-shot", "few-shot", "--seeds", "0", "1"]
    assert main([*make_arguments("table1", toy_folder, tmp_path), *more]) == 0
    lines = [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines() if line.startswith("cell ")]
    order = [(line.split(", ")[1], line.split(", ")[2], line.split(", ")[3][:6]) for line in lines]
    without = [place for place in order if place[0] != "-"]
    assert without == [
        (setting, fold, seed)
        for setting in ("few-shot", "one-shot")
        for seed in ("seed 0", "seed 1")
        for fold in ("fold 1", "fold 2")
        for _ in range(2)
    ]


def write_example(folder: Path, weight: str = "0.1") -> Path:
    """The complete method in docs/developers.md, as a file."""
    (text,) = [block.text for block in read_blocks(DEVELOPERS) if "class Entropy(Method)" in block.text]
    assert "weight = 0.1" in text
    path = folder / "entropy.py"
    path.write_text(text.replace("weight = 0.1", f"weight = {weight}"))
    return path


@pytest.mark.slow
def test_the_method_in_the_documents_becomes_a_row_by_one_file(
    toy_folder, tmp_path, capsys, forget_own_methods
) -> None:
    arguments = make_arguments("table1", toy_folder, tmp_path / "out")
    arguments += ["--only-folds", "2", "--settings", "few-shot", "--methods", "source", "entropy"]
    arguments += ["--method-file", str(write_example(tmp_path))]
    assert main(arguments) == 0
    rows = read_rows(tmp_path / "out" / "table1.csv")
    assert [row["method"] for row in rows][2:] == ["source only, as many steps", "entropy"]
    assert 0 <= float(rows[-1]["dice_average_mean"]) <= 1
    (record,) = (tmp_path / "out" / "cells").glob("entropy-few-shot-fold2-*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["settings"]["steps"] == 2
    assert "| few-shot | entropy | source only, as many steps | 3 |" in (tmp_path / "out" / "table1.md").read_text(
        encoding="utf-8"
    )
    # The file decides about its own cells, and about no other.
    write_example(tmp_path, "0.2")
    capsys.readouterr()
    assert main(arguments) == 0
    assert "3 cells, 2 of them are there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, word",
    [
        (None, "cannot be read"),
        ("x = 1", "defines no method"),
        ("from confuda.adaptation.methods.fuda import FUDA", "defines no method"),
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("from confuda.adaptation.methods.base import Method\nclass M(Method):\n    name = 'fuda'", "another name"),
    ],
)
def test_a_method_file_that_holds_none_is_told(content, word, toy_folder, tmp_path, capsys, forget_own_methods) -> None:
    file = tmp_path / "own.py"
    if content is not None:
        file.write_text(content)
    assert main([*make_arguments("table1", toy_folder, tmp_path / "out"), "--method-file", str(file)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and word in said[0] and str(file) in said[0]


def test_neighbouring_seeds_draw_other_target_patients(toy_folder) -> None:
    folds = make_folds(find_mscmrseg_patients(toy_folder), 2, 0)
    bundle = type("Sizes", (), {"spacing_mm": 1.5, "crop": 64})()
    for fold in folds:
        fold = fold._replace(target=fold.source + fold.target)
        runner = CellRunner(fold, bundle, "cpu")
        drawn = [runner.choose_target("few-shot", seed) for seed in range(len(fold.target))]
        assert not any(np.array_equal(a, b) for k, a in enumerate(drawn) for b in drawn[:k])


def test_targets_are_black_where_source_images_end(toy_folder) -> None:
    """The toy's images are 96 pixels of 1.5 mm: a window of 112 pixels sees 8 pixels of nothing at each edge anyway."""
    (fold, _) = make_folds(find_mscmrseg_patients(toy_folder), 2, 0)
    assert measure_field_mm(fold) == pytest.approx(144)
    path = fold.test[0].images["LGE"]
    whole, cut = crop_like_source(path, 1.5, 80, 144.0), crop_like_source(path, 1.5, 80, 96.0)
    assert np.array_equal(whole.slices, crop_middle(path, 1.5, 80).slices) and whole.slices[:, 0].any()
    assert not cut.slices[:, :8].any() and not cut.slices[:, :, -8:].any()
    assert np.array_equal(cut.slices[:, 8:-8, 8:-8], crop_middle(path, 1.5, 64).slices)
    truth = read_segmentation(fold.test[0].labels["LGE"], DATASET)
    labels = cut.cut(cut.stack.resample_labels(truth))
    soft = np.stack([labels == label for label in range(4)]).astype(np.float32)
    assert evaluate(truth, cut.restore(soft))["average"]["dice"] == 1.0
