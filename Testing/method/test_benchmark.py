"""The paper's tables: who is source, target and test; cells that survive an interruption; the figures in the end."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.method.toy_mscmrseg import write_patient

from confuda.adaptation.target import choose_middle_slice
from confuda.app.cli import main
from confuda.benchmark import source_model
from confuda.benchmark.cells import CellRunner
from confuda.benchmark.folds import make_folds
from confuda.benchmark.recipe import SETTINGS, make_recipe
from confuda.benchmark.source_model import gather_styles, prepare_source
from confuda.errors import InputError, UsageError
from confuda.io.segmentation_file import read_segmentation
from confuda.measure.metrics import evaluate
from confuda.training.mscmrseg import DATASET, find_mscmrseg_patients
from confuda.training.slices import load_slices

TINY = {
    "source.width": 4,
    "source.spacing_mm": 1.5,
    "source.crop": 64,
    "source.window": 96,
    "source.epochs": 4,
    "source.batch": 4,
    "source.rise_steps": 2,
    "source.learning_rate": 0.01,
    "rain.widths": [4, 4, 8, 8],
    "rain.latent": 4,
    "rain.batch": 2,
    "rain.autoencoder_steps": 2,
    "rain.style_steps": 2,
    "steps": 2,
    "source_batch": 2,
    "target_batch": 1,
    "discriminator_width": 4,
}


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory) -> Path:
    """Six labelled patients, and two whom nobody has labelled: they can be nothing but target."""
    folder = tmp_path_factory.mktemp("ms-cmrseg")
    for number in range(1, 7):
        write_patient(folder, number, registered=False)
    for number in (7, 8):
        write_patient(folder, number, registered=False, labelled=())
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """The order of sums, and so the last digits, depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_arguments(table: str, folder: Path, output: Path, *more: str) -> List[str]:
    tiny = [f"--set={name}={json.dumps(value)}" for name, value in TINY.items()]
    common = ["--data", str(folder), "-o", str(output), "--folds", "2", "--threads", "1", "--device", "cpu"]
    common += ["--only-folds", "1", "2", "--seeds", "0"]
    return ["benchmark", table, *common, *tiny, *more]


def read_rows(path: Path) -> List[Dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_is_not_labelled_is_never_source_nor_test(toy_folder) -> None:
    for fold in make_folds(find_mscmrseg_patients(toy_folder), 2, 0):
        assert {patient.number for patient in fold.target} >= {7, 8}
        assert all(patient.has_labelled("C0") for patient in fold.source)
        assert all(patient.has_labelled("LGE") for patient in fold.test)


def test_too_little_data_is_refused_with_the_path_that_was_expected(tmp_path, toy_folder) -> None:
    patients = find_mscmrseg_patients(toy_folder)
    with pytest.raises(UsageError):
        make_folds(patients, 1, 0)
    with pytest.raises(InputError, match="too few for 7 folds"):
        make_folds(patients, 7, 0)
    with pytest.raises(InputError, match="patient7_C0_manual.nii.gz"):
        make_folds(patients[6:], 2, 0)
    write_patient(tmp_path, 1, registered=False, labelled=["C0"])
    with pytest.raises(InputError, match=str(tmp_path / "patient1_LGE_manual.nii.gz")):
        make_folds(find_mscmrseg_patients(tmp_path), 2, 0)


def test_style_transfer_sees_bssfp_and_t2_of_the_source_and_no_label(toy_folder) -> None:
    recipe = make_recipe("small", TINY)
    fold = make_folds(find_mscmrseg_patients(toy_folder), 2, 0)[0]
    slices = load_slices([patient.make_case("C0") for patient in fold.source], 1.5, 96, DATASET)
    styles = gather_styles(fold, slices, recipe.source)
    assert len(styles.names) == 2 * len(fold.source) and len(styles.images) == 2 * len(slices.images)
    assert not styles.labels.any()
    assert not any("LGE" in name for name in styles.names)


@pytest.mark.slow
def test_interrupted_source_training_goes_on_as_if_it_had_not_stopped(toy_folder, tmp_path, monkeypatch) -> None:
    recipe = make_recipe("small", TINY)
    fold = make_folds(find_mscmrseg_patients(toy_folder), 2, 0)[0]
    device = torch.device("cpu")

    def prepare(folder: Path, report) -> torch.Tensor:
        bundle = prepare_source(fold, recipe, folder, 0, device, report)
        weights = [*bundle.segmenter.state_dict().values(), *bundle.rain.state_dict().values()]
        return torch.cat([value.flatten() for value in weights])

    def do_nothing(line: str) -> None:
        pass

    class Stop(Exception):
        pass

    def stop_at(mark: str):
        def stop(line: str) -> None:
            if mark in line:
                raise Stop

        return stop

    whole = prepare(tmp_path / "whole", do_nothing)
    monkeypatch.setattr(source_model, "CHECKPOINT_EVERY_S", 0.0)
    # In the last step of the source network, and in the last step of RAIN, before their checkpoints are whole.
    for mark in ("loss", "identity"):
        with pytest.raises(Stop):
            prepare(tmp_path / "parts", stop_at(mark))
    torch.testing.assert_close(prepare(tmp_path / "parts", do_nothing), whole, rtol=0, atol=0)


def test_the_settings_allow_one_slice_one_patient_or_all(toy_folder, tmp_path) -> None:
    recipe = make_recipe("small", TINY)
    fold = make_folds(find_mscmrseg_patients(toy_folder), 2, 0)[0]
    bundle = prepare_source(fold, recipe, tmp_path, 0, torch.device("cpu"), lambda line: None)
    runner = CellRunner(fold, bundle, torch.device("cpu"))
    one, few, full = (runner.choose_target(setting, 3) for setting in SETTINGS)
    assert [len(part) for part in (one, few, full)] == [1, 3, 3 * len(fold.target)]
    assert any(np.array_equal(one[0], plane) for plane in few)
    assert any(np.array_equal(few, full[k : k + 3]) for k in range(0, len(full), 3))
    assert one.shape[1:] == (64, 64) and 0 <= full.min() and full.max() <= 1


def test_the_slice_of_the_one_shot_setting_is_in_the_middle_of_what_is_seen() -> None:
    labels = np.zeros((7, 8, 8), np.uint8)
    assert choose_middle_slice(labels) == 3
    labels[4:, 0, 0] = 1
    assert choose_middle_slice(labels) == 5
    labels[2, 0, :3] = (1, 2, 3)
    assert choose_middle_slice(labels) == 2


@pytest.fixture(scope="module")
def finished(toy_folder, tmp_path_factory) -> Path:
    """Table 1 with two methods in one setting, and then table 2, in one go."""
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("finished")
    chosen = ["--methods", "adaptseg", "fuda", "confuda", "--settings", "one-shot"]
    assert main(make_arguments("table1", toy_folder, output, *chosen)) == 0
    return output


@pytest.mark.slow
def test_table_1_comes_out_whole(finished, toy_folder) -> None:
    rows = read_rows(finished / "table1.csv")
    names = ["without UDA", "second observer", "AdaptSeg", "FUDA", "ConFUDA"]
    assert [row["method"] for row in rows] == names
    assert [row["cells"] for row in rows] == ["2", "0", "2", "2", "2"]
    assert all(row["cases"] == "6" for row in rows if row["method"] != "second observer")
    text = (finished / "table1.md").read_text(encoding="utf-8")
    assert "Scale **small**" in text and "confuda" in text and "Set by hand" in text and "6 / 8" not in text
    for name in ("table1-dice.png", "table1-examples.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_cell_holds_what_the_metrics_say_about_its_segmentation(finished, toy_folder) -> None:
    folds = make_folds(find_mscmrseg_patients(toy_folder), 2, 0)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (finished / "cells").glob("confuda-*.json")]
    assert sorted(record["fold"] for record in records) == [1, 2]
    for record in records:
        patients = folds[record["fold"] - 1].test
        assert [case["case"] for case in record["cases"]] == [patient.name for patient in patients]
        (example,) = (finished / "examples").glob(f"confuda-one-shot-fold{record['fold']}-*")
        scores = evaluate(read_segmentation(patients[0].labels["LGE"]), sitk.ReadImage(str(example)))
        for name in ("MYO", "LV", "RV", "average"):
            for key in ("dice", "hd95_mm"):
                assert record["cases"][0]["scores"][name][key] == pytest.approx(scores[name][key], abs=1e-3)
        assert record["settings"]["steps"] == 2 and record["seconds"]["total"] > 0
        assert {"confuda", "torch", "python"} <= set(record["versions"])
        assert str(toy_folder) not in json.dumps(record)


@pytest.mark.slow
def test_the_mean_of_the_table_is_that_of_the_cells(finished) -> None:
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((finished / "cells").glob("none-*.json"))
    ]
    values = [[case["scores"]["RV"]["dice"] for case in record["cases"]] for record in records]
    row = read_rows(finished / "table1.csv")[0]
    assert float(row["dice_RV_mean"]) == pytest.approx(np.mean([np.mean(cell) for cell in values]), abs=1e-4)
    assert float(row["dice_RV_std"]) == pytest.approx(np.mean([np.std(cell) for cell in values]), abs=1e-4)


@pytest.mark.slow
def test_table_2_takes_the_cells_it_shares_and_runs_the_others(finished, toy_folder, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "cells").iterdir()}
    assert main(make_arguments("table2", toy_folder, finished, "--settings", "one-shot")) == 0
    assert "8 cells, 4 of them are there already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ablation, table = read_rows(finished / "table2.csv"), read_rows(finished / "table1.csv")
    assert [row["method"] for row in ablation] == ["FUDA", "+ CCL", "+ CNR", "+ MPCCL"]
    assert all(row["cells"] == "2" for row in ablation)
    for first, second in ((ablation[0], table[3]), (ablation[3], table[4])):
        assert first["dice_average_mean"] == second["dice_average_mean"]


@pytest.mark.slow
def test_an_interrupted_table_is_the_same_in_the_end(finished, toy_folder, tmp_path, capsys) -> None:
    chosen = ["--methods", "adaptseg", "fuda", "confuda", "--settings", "one-shot"]
    arguments = make_arguments("table1", toy_folder, tmp_path / "out", *chosen)
    package = Path(__file__).resolve().parents[2] / "ConFUDASegment"
    process = subprocess.Popen(
        [sys.executable, "-m", "confuda", *arguments],
        env={"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("cell 1/"):
            break
    process.terminate()
    assert process.wait(timeout=600) == 130
    process.stderr.close()
    left = {path: path.read_bytes() for path in (tmp_path / "out" / "cells").glob("*.json")}
    assert 1 <= len(left) < 8
    assert main(arguments) == 0
    assert f"8 cells, {len(left)} of them are there already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in left} == left
    assert (tmp_path / "out" / "table1.csv").read_text(encoding="utf-8") == (finished / "table1.csv").read_text()


@pytest.mark.slow
def test_a_damaged_cell_and_another_recipe_are_run_anew(finished, toy_folder, capsys) -> None:
    only = ["--methods", "fuda", "--settings", "one-shot", "--only-folds", "2"]
    arguments = make_arguments("table1", toy_folder, finished, *only)
    (record,) = (finished / "cells").glob("fuda-one-shot-fold2-*.json")
    whole = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(record.read_text(encoding="utf-8")[:100])
    assert main(arguments) == 0
    assert "2 cells, 1 of them are there already" in capsys.readouterr().err
    assert json.loads(record.read_text(encoding="utf-8"))["cases"] == whole["cases"]
    assert main([*arguments, "--set", "lambda_consistency=0.01"]) == 0
    assert "2 cells, 1 of them are there already" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "2 cells, 2 of them are there already" in capsys.readouterr().err


@pytest.mark.slow
def test_without_matplotlib_the_tables_are_there_all_the_same(finished, toy_folder, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = make_arguments("table1", toy_folder, finished, "--methods", "fuda", "--settings", "one-shot")
    assert main(arguments) == 0
    streams = capsys.readouterr()
    assert "matplotlib" in streams.err and "table1.csv" in streams.out and ".png" not in streams.out


@pytest.mark.slow
def test_the_control_and_the_source_network_are_rows_of_their_own(toy_folder, tmp_path) -> None:
    chosen = ["--methods", "source", "--settings", "full", "--only-folds", "1", "--seeds", "1", "2"]
    assert main(make_arguments("table1", toy_folder, tmp_path, *chosen)) == 0
    rows = {row["method"]: row for row in read_rows(tmp_path / "table1.csv")}
    assert rows["without UDA"]["cells"] == "1" and rows["source only, as many steps"]["cells"] == "2"


def test_table_2_has_its_own_rows(toy_folder, tmp_path, capsys) -> None:
    assert main(make_arguments("table2", toy_folder, tmp_path, "--methods", "fuda")) == 2
    assert "table1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, code, word",
    [
        (["--methods", "magic"], 2, "magic"),
        (["--settings", "zero-shot"], 2, "zero-shot"),
        (["--only-folds", "3"], 2, "fold 3"),
        (["--set", "stepz=3"], 2, "stepz"),
        (["--set", "source.widht=3"], 2, "widht"),
        (["--set", "source.crop=50"], 2, "crop"),
        (["--set", "rain.latent=many"], 2, "latent"),
        (["--threads", "0"], 2, "threads"),
        (["--device", "abacus"], 2, "abacus"),
        (["--data", "/no/such/folder"], 3, "/no/such/folder/patient1_C0.nii.gz"),
    ],
)
def test_wrong_options_are_told_before_any_work(more, code, word, toy_folder, tmp_path, capsys) -> None:
    assert main([*make_arguments("table1", toy_folder, tmp_path / "out"), *more]) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and word in said[0]
    assert not (tmp_path / "out").exists()
