"""The benchmarks measure what they say, keep what they measured, and let no picture near the repository."""

import importlib
import json
import shutil
import sys

import pytest
import SimpleITK as sitk
from Testing.conftest import REPOSITORY, make_heart
from Testing.method.test_benchmark_scores import make_rows

from confuda.app.cli import main as run_confuda
from confuda.bundle.description import FILE_NAMES, read_description
from confuda.bundle.model_card import format_model_card
from confuda.errors import InputError, UsageError

# The benchmarks are programs that find each other in their own folder, not a package.
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
fill_model_card, labelled, peer, quality, scores = (
    importlib.import_module(name) for name in ("fill_model_card", "labelled", "peer", "quality", "scores")
)


@pytest.fixture
def hearts(tmp_path):
    """A folder of two toy volumes with their labels, named as MS-CMRSeg's."""
    folder = tmp_path / "toy" / "hearts"
    folder.mkdir(parents=True)
    for patient in (1, 2):
        image, truth = make_heart(slices=3, size=64, seed=patient)
        sitk.WriteImage(image, str(folder / f"patient{patient}_LGE.nii.gz"))
        sitk.WriteImage(truth, str(folder / f"patient{patient}_LGE_manual.nii.gz"))
    return folder


def measure(hearts, bundle, output, *options):
    arguments = [str(hearts), "-o", str(output), "--bundle", str(bundle), "--set", "steps=2", "--threads", "1"]
    return quality.main([*arguments, *options])


def read_times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("patient*.json")}


@pytest.mark.parametrize(
    "volume, truth",
    [
        ("patient1_LGE.nii.gz", "patient1_LGE_manual.nii.gz"),
        ("patient1_T2.nii.gz", "patient1_manual.nii.gz"),
        ("patient001/patient001_frame01.nii.gz", "patient001/patient001_frame01_gt.nii.gz"),
        ("Simulated.nrrd", "Simulated-truth.seg.nrrd"),
    ],
)
def test_labels_are_found_beside_their_volume(tmp_path, volume, truth):
    for name in (volume, truth, "unlabelled_LGE.nii.gz", "patient1.txt", "other/patient1_LGE_manual.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert labelled.find_labelled(tmp_path) == [(tmp_path / volume, tmp_path / truth)]


def test_only_the_sequence_and_the_cases_asked_for_are_measured(tmp_path):
    for patient in (1, 10):
        for name in ("C0", "T2", "LGE", "manual"):
            (tmp_path / f"patient{patient}_{name}.nii.gz").touch()
    pairs = labelled.find_labelled(tmp_path, "T2")
    assert [volume.name for volume, _ in pairs] == ["patient10_T2.nii.gz", "patient1_T2.nii.gz"]
    assert labelled.choose_cases(tmp_path, "T2", ["patient1"]) == pairs[1:]
    with pytest.raises(InputError, match="nothing to measure"):
        labelled.choose_cases(tmp_path, "T1", None)
    (tmp_path / "again").mkdir()
    for name in ("patient1_T2.nii.gz", "patient1_manual.nii.gz"):
        (tmp_path / "again" / name).touch()
    with pytest.raises(InputError, match="patient1_T2"):
        labelled.choose_cases(tmp_path, "T2", None)


def test_no_adaptation_is_measured_once_and_the_rest_with_each_preset():
    planned = quality.plan_configurations(["none", "confuda:few-shot", "none"], ["fast", "balanced"])
    assert planned == [("none", ""), ("confuda:few-shot", "fast"), ("confuda:few-shot", "balanced")]
    for run in ("confuda", "confuda:many-shot", "none:few-shot", "unheard:few-shot"):
        with pytest.raises(UsageError, match=run):
            quality.plan_configurations([run], ["fast"])


@pytest.mark.slow
def test_quality_measures_draws_and_does_not_measure_again(hearts, small_bundle_folder, tmp_path, capsys):
    output, contours = tmp_path / "out", tmp_path / "contours"
    options = ["--runs", "none", "confuda:few-shot", "--presets", "fast", "--contours", str(contours)]
    assert measure(hearts, small_bundle_folder, output, *options) == 0
    row = json.loads((output / "patient1_LGE-confuda-few-shot-fast.json").read_text())
    assert 0 < row["scores"]["average"]["dice"] <= 1 and row["summary"]["steps"] == 2
    assert json.loads((output / "scores.json").read_text())["toy hearts"]["none"]["cases"] == 2
    (comparison,) = json.loads((output / "comparison.json").read_text())
    assert comparison["cases"] == 2 and comparison["run"] == "confuda:few-shot fast steps=2"
    assert "| **mean of 2** | none |" in (output / "table.md").read_text()
    for patient in (1, 2):
        assert (contours / f"patient{patient}_LGE.png").read_bytes().startswith(b"\x89PNG")
    assert not list(output.glob("*.png")) + list(output.glob("*.nrrd"))

    before = read_times(output)
    capsys.readouterr()
    assert measure(hearts, small_bundle_folder, output, *options) == 0
    assert read_times(output) == before and len(before) == 4
    assert "4 of 4 rows are there already" in capsys.readouterr().err

    assert measure(hearts, small_bundle_folder, output, *options, "--set", "learning_rate=0.001") == 0
    changed = {name for name, time in read_times(output).items() if time != before[name]}
    assert changed == {f"patient{patient}_LGE-confuda-few-shot-fast.json" for patient in (1, 2)}

    (contours / "patient2_LGE-none.seg.nrrd").unlink()
    before = read_times(output)
    assert measure(hearts, small_bundle_folder, output, *options, "--set", "learning_rate=0.001") == 0
    changed = {name for name, time in read_times(output).items() if time != before[name]}
    assert changed == {"patient2_LGE-none.json"}


@pytest.mark.parametrize("inside", [".", "out/pictures"])
def test_pictures_inside_the_repository_are_refused(hearts, small_bundle_folder, tmp_path, capsys, inside):
    folder = REPOSITORY / inside
    there = folder.exists()
    options = ["--runs", "none", "--contours", str(folder)]
    assert measure(hearts, small_bundle_folder, tmp_path / "out", *options) == 2
    assert "outside the repository" in capsys.readouterr().err
    assert folder.exists() == there and not (tmp_path / "out").exists()
    link = tmp_path / "link"
    link.symlink_to(REPOSITORY, target_is_directory=True)
    assert measure(hearts, small_bundle_folder, tmp_path / "out", "--contours", str(link / "pictures")) == 2


@pytest.mark.parametrize(
    "options, code, word",
    [
        (["--runs", "confuda"], 2, "METHOD:MODE"),
        (["--runs", "confuda:few-shot", "--presets", "unheard"], 2, "preset"),
        (["--set", "steps"], 2, "NAME=VALUE"),
        (["--sequence", "T1"], 3, "nothing to measure"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    hearts, small_bundle_folder, tmp_path, capsys, options, code, word
):
    assert measure(hearts, small_bundle_folder, tmp_path / "out", *options) == code
    assert word in capsys.readouterr().err


@pytest.mark.slow
def test_model_card_is_filled_from_measured_scores_and_nothing_else_changes(
    hearts, small_bundle_folder, tmp_path, capsys
):
    bundle = shutil.copytree(small_bundle_folder, tmp_path / "bundle")
    before = {name: (bundle / name).read_bytes() for name in FILE_NAMES}
    for title in ("first", "second"):
        options = ["--runs", "none", "--title", title, "--scores", str(tmp_path / f"{title}.json")]
        assert measure(hearts, bundle, tmp_path / title, *options) == 0
    files = [str(tmp_path / f"{title}.json") for title in ("first", "second")]
    for _ in range(2):
        assert fill_model_card.main([str(bundle), *files]) == 0
    assert {name: (bundle / name).read_bytes() for name in FILE_NAMES} == before
    assert run_confuda(["bundle", "verify", str(bundle)]) == 0
    description = read_description(bundle)
    mean = json.loads((tmp_path / "first.json").read_text())["first"]["none"]
    assert list(description["scores"]) == ["first", "second"] and description["scores"]["first"]["none"] == mean
    assert {**description, "scores": {}} == read_description(small_bundle_folder)
    card = (bundle / "README.md").read_text()
    assert card == format_model_card(description)
    assert "Measured on first" in card and "| run | n | Dice MYO | Dice LV | Dice RV | Dice average | HD95 mm |" in card
    assert f"| none | 2 | {mean['MYO']:.3f} | {mean['LV']:.3f} |" in card
    assert {path.name for path in bundle.iterdir()} == {*FILE_NAMES, "bundle.json", "README.md"}


def test_scores_of_another_bundle_or_of_another_form_stay_out_of_the_card(small_bundle_folder, tmp_path, capsys):
    bundle = shutil.copytree(small_bundle_folder, tmp_path / "bundle")
    card = (bundle / "README.md").read_bytes()
    path = tmp_path / "scores.json"
    foreign = {"data": scores.summarise(make_rows("none", [0.9]))}
    for content, word in (
        (json.dumps(foreign), "another bundle"),
        (json.dumps({"data": {"none": {"dice": 0.9}}}), "cases"),
        (json.dumps({"data": {"none": {**foreign["data"]["none"], "MYO": "good"}}}), "MYO"),
        (json.dumps([1]), "JSON object"),
        ("{", "cannot be read"),
    ):
        path.write_text(content)
        assert fill_model_card.main([str(bundle), str(path)]) == 3
        assert word in capsys.readouterr().err
    assert (bundle / "README.md").read_bytes() == card


def test_the_peer_is_refused_unless_it_is_the_known_one_outside_the_repository(hearts, tmp_path, capsys, monkeypatch):
    arguments = [str(hearts), "-o", str(tmp_path / "out"), "--cache"]
    assert peer.main([*arguments, str(REPOSITORY / "cache")]) == 2
    assert "outside the repository" in capsys.readouterr().err
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / peer.WHEEL_NAME).write_bytes(b"something else")
    with pytest.raises(InputError, match="SHA-256"):
        peer.fetch_wheel(tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert peer.main([*arguments, str(tmp_path / "cache")]) == 2
    assert "pip install onnxruntime" in capsys.readouterr().err
