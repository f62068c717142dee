"""The benchmarks measure what they say, keep what they measured, and let no picture near the repository."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import REPOSITORY, SAMPLE, make_heart

from confuda.app.cli import main as run_confuda
from confuda.bundle.format import FILE_NAMES, load_bundle, read_description
from confuda.bundle.model_card import format_model_card
from confuda.errors import InputError, UsageError

# The benchmarks are programs that find each other in their own folder, not a package.
sys.path.insert(0, str(REPOSITORY / "benchmarks"))
fill_model_card, labelled, peer, quality, scores, speed, speed_volume, step_profile = (
    importlib.import_module(name)
    for name in (
        "fill_model_card",
        "labelled",
        "peer",
        "quality",
        "scores",
        "speed",
        "speed_volume",
        "step_profile",
    )
)


def make_row(case, run, dice, preset="balanced", hd95_mm=5.0):
    structures = {name: {"dice": dice, "hd95_mm": hd95_mm} for name in ("MYO", "LV", "RV")}
    return {
        "identity": {"bundle": "b"},
        "case": case,
        "run": run,
        "preset": "" if run == "none" else preset,
        "scores": {**structures, "average": {"dice": dice, "hd95_mm": hd95_mm}},
        "summary": {"seconds": {"total": 2.0}, "accepted": True},
    }


def make_rows(run, values, **fields):
    return [make_row(f"patient{number}", run, value, **fields) for number, value in enumerate(values)]


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


def test_means_are_those_of_the_cases_by_run_and_preset():
    rows = make_rows("none", [0.5, 0.7]) + make_rows("confuda:few-shot", [0.8], preset="fast")
    rows[0]["scores"]["RV"]["dice"] = 0.1
    means = scores.summarise(rows)
    assert list(means) == ["none", "confuda:few-shot fast"]
    assert means["none"]["dice"] == means["none"]["LV"] == 0.6
    assert means["none"]["RV"] == 0.4
    assert means["none"]["cases"] == 2 and means["none"]["seconds"] == 2.0 and means["none"]["hd95_mm"] == 5.0
    assert means["none"]["bundle"] == "b"
    description = {"spacing_mm": 1.5, "crop": 64, "segmenter": {}, "rain": {}, "scores": {"toys": means}}
    assert "| none | 2 | 0.600 | 0.600 | 0.400 | 0.600 | 5.0 |" in format_model_card(description)


def test_paired_comparison_has_the_known_answers():
    source = [0.5, 0.6, 0.7, 0.8, 0.9]
    gains = [0.01, 0.02, 0.03, 0.04, -0.05]
    rows = make_rows("none", source)
    rows += make_rows("confuda:few-shot", np.add(source, gains), hd95_mm=4.0)[::-1]
    (comparison,) = scores.compare_runs(rows)
    assert (comparison.run, comparison.against, comparison.cases) == ("confuda:few-shot balanced", "none", 5)
    assert comparison.mean_gain == pytest.approx(0.01)
    assert comparison.improved == pytest.approx(0.8)
    assert (comparison.worst_case, comparison.worst_gain) == ("patient4", pytest.approx(-0.05))
    assert comparison.hd95_change_mm == pytest.approx(-1)
    assert -0.05 < comparison.low < 0.01 < comparison.high < 0.04
    # The negative ranks sum to 5; of the 32 sign patterns 10 have a sum of at most 5.
    assert comparison.p == pytest.approx(20 / 32)


def test_a_gain_in_each_of_six_cases_is_as_unlikely_as_six_heads_or_six_tails():
    gains = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert scores.compute_wilcoxon_p(gains) == pytest.approx(2 / 64)
    assert scores.compute_wilcoxon_p(np.zeros(4)) == 1.0


def test_the_interval_of_the_mean_gain_is_that_of_a_normal_sample():
    gains = np.random.default_rng(1).normal(0.02, 0.01, 400)
    low, high = scores.bootstrap_mean(gains)
    error = 1.96 * gains.std() / 20
    assert (low, high) == pytest.approx((gains.mean() - error, gains.mean() + error), abs=0.1 * error)
    assert scores.bootstrap_mean(np.full(5, 0.25)) == (0.25, 0.25)
    assert scores.bootstrap_mean(np.array([0.25])) == (None, None)


def test_an_adaptation_is_compared_with_the_control_of_its_own_preset():
    rows = make_rows("none", [0.5, 0.5])
    for preset, control in (("fast", 0.51), ("balanced", 0.52)):
        rows += make_rows("source:few-shot", [control] * 2, preset=preset)
        rows += make_rows("confuda:one-shot", [0.6] * 2, preset=preset)
    found = {(one.run, one.against): one.mean_gain for one in scores.compare_runs(rows)}
    assert found == pytest.approx(
        {
            ("source:few-shot fast", "none"): 0.01,
            ("confuda:one-shot fast", "none"): 0.1,
            ("confuda:one-shot fast", "source:few-shot fast"): 0.09,
            ("source:few-shot balanced", "none"): 0.02,
            ("confuda:one-shot balanced", "none"): 0.1,
            ("confuda:one-shot balanced", "source:few-shot balanced"): 0.08,
        }
    )


def test_only_cases_that_both_have_are_compared():
    rows = make_rows("none", [0.5, 0.6, 0.7]) + make_rows("confuda:few-shot", [0.6])
    (comparison,) = scores.compare_runs(rows)
    assert comparison.cases == 1 and comparison.mean_gain == pytest.approx(0.1) and comparison.low is None
    assert scores.compare_runs(rows[:3]) == []


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


def test_another_bundle_or_half_a_file_is_measured_again(hearts, small_bundle_folder, tmp_path, capsys):
    bundle = shutil.copytree(small_bundle_folder, tmp_path / "bundle")
    options = ["--runs", "none", "--cases", "patient1"]
    assert measure(hearts, bundle, tmp_path / "out", *options) == 0
    description = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**description, "name": "renamed"}))
    assert measure(hearts, bundle, tmp_path / "out", *options) == 0
    assert "1 of 1 rows are there already" in capsys.readouterr().err
    (bundle / "bundle.json").write_text(json.dumps({**description, "crop": 96}))
    assert measure(hearts, bundle, tmp_path / "out", *options) == 0
    assert "0 of 1 rows are there already" in capsys.readouterr().err
    path = tmp_path / "out" / "patient1_LGE-none.json"
    path.write_text(path.read_text()[:100])
    assert measure(hearts, bundle, tmp_path / "out", *options) == 0
    assert json.loads(path.read_text())["case"] == "patient1_LGE"


def test_two_processes_give_the_scores_of_one(hearts, small_bundle_folder, tmp_path, capsys):
    for jobs in ("1", "2"):
        options = ["--runs", "confuda:one-shot", "--jobs", jobs]
        assert measure(hearts, small_bundle_folder, tmp_path / jobs, *options) == 0
    for patient in (1, 2):
        name = f"patient{patient}_LGE-confuda-one-shot-balanced.json"
        one, other = (json.loads((tmp_path / jobs / name).read_text()) for jobs in ("1", "2"))
        assert one["scores"]["average"]["dice"] == pytest.approx(other["scores"]["average"]["dice"], abs=1e-3)


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


def test_the_volume_for_speed_has_the_size_asked_for_and_the_heart_of_the_sample(tmp_path):
    sample = sitk.ReadImage(str(SAMPLE))
    side_mm = max(count * mm for count, mm in zip(sample.GetSize()[:2], sample.GetSpacing()[:2]))
    for slices, size in ((15, 96), (5, 64)):
        volume = sitk.ReadImage(str(speed_volume.make_volume(slices, size, tmp_path / "volume.nrrd")))
        assert volume.GetSize() == (size, size, slices)
        assert volume.GetSpacing()[0] * size == pytest.approx(side_mm)
        assert volume.GetSpacing()[2] * slices == pytest.approx(sample.GetSpacing()[2] * sample.GetSize()[2])
        # The same tissue at the same place: the sample, looked at through the new grid, slice by slice.
        flat = sitk.Resample(sample[:, :, 0], volume[:, :, 0], sitk.Transform(2, sitk.sitkIdentity), sitk.sitkLinear)
        np.testing.assert_allclose(
            sitk.GetArrayFromImage(volume)[0], sitk.GetArrayFromImage(flat).astype(float), atol=1
        )


def test_the_start_is_measured_and_the_command_line_needs_no_torch(tmp_path, capsys):
    assert speed.main(["-o", str(tmp_path), "--parts", "import", "--repeats", "1"]) == 0
    measured = json.loads((tmp_path / "speed.json").read_text())
    assert measured["import"]["cli_loads_torch"] is False
    assert all(measured["import"][name] > 0 for name in ("python_s", "cli_s", "torch_s", "pipeline_s"))
    assert "loads torch: no" in (tmp_path / "speed.md").read_text()


def test_tables_and_picture_show_every_run_of_the_speed_measurement(tmp_path):
    row = {
        "run": "adapt, fast",
        "threads": 2,
        "to_file_s": 12.34,
        "shortest_s": 12.0,
        "longest_s": 13.0,
        "stages_s": {"load": 1.5, "adapt": 9.0, "total": 11.0},
        "peak_memory_mb": None,
        "steps": 20,
    }
    scaling = [{**row, "over": over, "slices": 5, "size": 64, "run": "none"} for over in ("slices", "size")]
    text = speed.format_report({"machine": speed.describe_machine(), "presets": [row], "scaling": scaling})
    assert "| adapt, fast | 2 | 12.3 | 12.0-13.0 | 1.5 | 9.0 |  | 20 |" in text
    assert "| 5 | 64 | none | 2 | 12.3 |" in text
    assert speed.draw_scaling(scaling, tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_profile_of_a_step_counts_its_work(small_bundle_folder, tmp_path):
    image, _ = make_heart()
    sitk.WriteImage(image, str(tmp_path / "heart.nrrd"))
    found = step_profile.profile_step(tmp_path / "heart.nrrd", small_bundle_folder, "fast", 1, 2, 64)
    assert found["threads"] == 1 and found["step_s"] > 0
    assert found["reached_gflops"] == pytest.approx(found["step_gflop"] / found["step_s"], rel=0.05)
    assert any("convolution" in one["operator"] for one in found["operators"])
    assert sum(one["share"] for one in found["operators"]) <= 1.001
    # A forward pass of one image, three times for the backward pass, is far less than a step of all images.
    bundle = load_bundle(small_bundle_folder)
    with step_profile.FlopCounterMode(display=False) as counter:
        bundle.segmenter(bundle.images[:1, :, :64, :64])
    assert found["step_gflop"] > 3 * counter.get_total_flops() / 1e9


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
