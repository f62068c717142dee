"""The report of a case and its uncertainty map: what a reader relies on, and what must never be in it."""

import dataclasses
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.adaptation.settings import AdaptationSettings
from confuda.app.cli import main
from confuda.app.job import Job
from confuda.app.run import run_job
from confuda.bundle.format import load_bundle
from confuda.imaging.stack import ShortAxisStack
from confuda.inference.acceptance import form_opinion
from confuda.inference.prediction import Predictor, compute_entropy
from confuda.io.volume_file import read_volume
from confuda.labels import STRUCTURES
from confuda.report.case import Case
from confuda.report.page import build_page
from confuda.report.uncertainty import measure_uncertainty

ADDRESS = re.compile(r"data:image/(png|svg\+xml);base64,[\w+/=]+")
VOID = {"meta", "input", "br", "image", "img", "use", "path"}


class Reader(HTMLParser):
    """Checks that tags are balanced, and keeps tags with their attributes and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def case_folder(heart, small_bundle_folder, tmp_path_factory):
    """A run with a report, on a volume whose file and folder are named after a patient and that gives a warning."""
    folder = tmp_path_factory.mktemp("hospital") / "DOE^JOHN 1970"
    folder.mkdir()
    voxels = sitk.GetArrayFromImage(heart[0])
    voxels[0, 0, 0] = np.nan
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(heart[0])
    sitk.WriteImage(image, str(folder / "Doe_John_LGE.nrrd"))
    job = Job(
        folder / "Doe_John_LGE.nrrd",
        folder / "Doe_John.seg.nrrd",
        bundle=small_bundle_folder,
        settings={"steps": 4, "runs": 2},
        report=folder / "report",
    )
    summary = run_job(job)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture(scope="module")
def page(case_folder) -> str:
    return (case_folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def summary(case_folder):
    return json.loads((case_folder / "summary.json").read_text(encoding="utf-8"))


def adapt(volume, output, bundle, *extra) -> int:
    return main(
        ["adapt", str(volume), "-o", str(output), "--bundle", str(bundle), "--set", "steps=2", *map(str, extra)]
    )


@pytest.fixture(scope="module")
def volume(heart, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("volumes") / "heart.nrrd"
    sitk.WriteImage(heart[0], str(path))
    return path


# The page


def test_the_page_is_whole_and_fetches_nothing(page) -> None:
    reader = Reader(page)
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert not re.search(r"https?:|//|@import|url\(|javascript:", ADDRESS.sub("", page))
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "iframe", "object", "a", "form", "base"}
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert re.match(rf"#|{ADDRESS.pattern}$", attributes.get(name, "#"))
    policy = next(tag["content"] for name, tag in reader.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_the_page_names_nobody(page, case_folder) -> None:
    text = ADDRESS.sub("", page)
    for secret in ("doe", "john", "1970", "hospital", str(case_folder.parent), ".nrrd"):
        assert secret.lower() not in text.lower()


def test_the_page_says_what_was_done_and_what_came_out(page, summary) -> None:
    text = Reader(page).text
    for name in summary["volumes_ml"]:
        assert f"{summary['volumes_ml'][name]:.1f}" in text
    for word in ("medical device", "Without adaptation", "With adaptation", "Entropy", "Views that disagree"):
        assert word in text
    for word in ("toy", "SHA-256 of bundle.json", "torch", "python", "SimpleITK", "seed", "few-shot", "set by hand"):
        assert word in text
    assert summary["warnings"] and summary["warnings"][0] in text
    assert "The adaptation was kept" in text or "The adaptation was not kept" in text
    drawn = " ".join(tag.get("alt", "") for _, tag in Reader(page).tags)
    assert "Total" in drawn and "Contrast of structures" in drawn and "Losses over 4 steps" in text
    assert "first 30 % of the steps" in text and "the weight rises, not the error" in text
    assert "These are 2 runs from the beginning" in text


def test_every_slice_of_heart_is_shown_with_its_outlines(page, case_folder) -> None:
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(case_folder / "Doe_John.seg.nrrd")))
    reader = Reader(page)
    panels = [tag for name, tag in reader.tags if tag.get("class") == "panel"]
    assert len(panels) == 4 * int((labels > 0).any(axis=(1, 2)).sum())
    for structure in STRUCTURES:
        assert any(name == "path" and tag["class"] == structure.name for name, tag in reader.tags)


def test_slices_are_numbered_as_in_the_file(heart, small_bundle_folder, tmp_path) -> None:
    """A stack that runs the other way: the slice that was asked for is the one that is marked."""
    image = sitk.Image(heart[0])
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "v.nrrd"))
    assert (
        adapt(
            tmp_path / "v.nrrd", tmp_path / "o.nrrd", small_bundle_folder, "--report", tmp_path / "r",
            "--mode", "one-shot", "--slice", "1",
        ) == 0
    )  # fmt: skip
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<div class="number">(\d+)<br><em>adapted to', page) == ["1"]
    assert re.findall(r'<div class="number">(\d+)', page) == ["0", "1", "2", "3", "4", "5"]


def test_a_refused_adaptation_is_told_with_its_reason(volume, small_bundle_folder, tmp_path, capsys) -> None:
    code = adapt(
        volume, tmp_path / "o.nrrd", small_bundle_folder, "--report", tmp_path / "r", "--set", "learning_rate=10",
        "--json",
    )  # fmt: skip
    assert code == 0
    summary = json.loads(capsys.readouterr().out)
    text = Reader((tmp_path / "r" / "report.html").read_text(encoding="utf-8")).text
    assert not summary["accepted"]
    assert "The adaptation was not kept" in text and "Reason: " in text


def test_without_adaptation_there_is_one_segmentation_and_no_curve(volume, small_bundle_folder, tmp_path) -> None:
    extra = ("--report", tmp_path / "r", "--method", "none")
    assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, *extra) == 0
    text = Reader((tmp_path / "r" / "report.html").read_text(encoding="utf-8")).text
    assert "The network was not adapted" in text and "With adaptation" not in text and "Losses" not in text


def test_where_no_heart_was_found_the_page_says_so(volume) -> None:
    image = read_volume(volume).image
    empty = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    empty.CopyInformation(image)
    summary = {
        "method": "confuda", "mode": "few-shot", "preset": "fast", "device": "cpu", "steps": 0, "seconds": {"total": 1},
        "peak_memory_mb": None, "volumes_ml": {"MYO": 0.0, "LV": 0.0, "RV": 0.0}, "accepted": True,
        "warnings": ["<img onerror=alert(1)> & more"],
    }  # fmt: skip
    reader = Reader(build_page(Case(ShortAxisStack(image, 1.5), AdaptationSettings(), empty, summary)))
    assert "No heart was found" in reader.text
    assert "<img onerror=alert(1)> & more" in reader.text
    assert not any("onerror" in attributes for _, attributes in reader.tags)


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_its_libraries_a_report_is_refused_before_any_work(
    missing, volume, small_bundle_folder, tmp_path, monkeypatch, capsys
) -> None:
    """As in Slicer, where matplotlib is not; all but the report works there."""
    monkeypatch.setitem(sys.modules, missing, None)
    assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, "--report", tmp_path / "r") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"'pip install {missing}'" in said[0]
    assert list(tmp_path.iterdir()) == []


# The map


@pytest.mark.parametrize("name", ["u.nrrd", "u.nii.gz"])
def test_the_map_lies_on_the_volumes_grid(heart, small_bundle_folder, tmp_path, name, capsys) -> None:
    image = sitk.PermuteAxes(heart[0], (2, 0, 1))
    image.SetOrigin((12.5, -30.25, 99.0))
    sitk.WriteImage(image, str(tmp_path / "v.nrrd"))
    code = adapt(
        tmp_path / "v.nrrd", tmp_path / "o.nrrd", small_bundle_folder, "--uncertainty", tmp_path / name, "--json"
    )
    assert code == 0
    told = json.loads(capsys.readouterr().out)["uncertainty"]
    field, labels = sitk.ReadImage(str(tmp_path / name)), sitk.ReadImage(str(tmp_path / "o.nrrd"))
    assert field.GetPixelID() == sitk.sitkFloat32
    assert field.GetSize() == image.GetSize()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(field, get)(), getattr(image, get)(), atol=1e-5)
    doubt, seen = sitk.GetArrayFromImage(field), sitk.GetArrayFromImage(labels)
    assert doubt.min() >= 0 and doubt.max() <= 1
    edge = sitk.GetArrayFromImage(sitk.LabelContour(labels)) > 0
    assert doubt[edge].mean() > 1.5 * doubt[(seen > 0) & ~edge].mean()
    assert told["path"] == str(tmp_path / name) and 0 < told["agreement"] <= 1
    assert told["heart_entropy"] == pytest.approx(doubt[seen > 0].mean(), abs=0.03)


def test_without_asking_there_is_no_map_and_no_page(volume, small_bundle_folder, tmp_path, capsys) -> None:
    assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["uncertainty"] is None and summary["report"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["o.nrrd"]


def test_the_report_brings_its_map_along_unless_it_has_a_place_of_its_own(
    case_folder, volume, small_bundle_folder, tmp_path
) -> None:
    assert sorted(path.name for path in (case_folder / "report").iterdir()) == ["report.html", "uncertainty.nrrd"]
    extra = ("--report", tmp_path / "r", "--uncertainty", tmp_path / "u.nii.gz")
    assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, *extra) == 0
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["report.html"]
    assert (tmp_path / "u.nii.gz").is_file()


def test_entropy_of_known_soft_labels() -> None:
    known = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]], np.float32).T
    entropy = compute_entropy(known)
    np.testing.assert_allclose(entropy, [0, 1, 0.5], atol=1e-6)


def test_agreement_is_that_of_the_acceptance_check_and_numbers_fit_together(volume, small_bundle_folder) -> None:
    bundle = load_bundle(small_bundle_folder)
    slices = ShortAxisStack(read_volume(volume).image, bundle.spacing_mm).crop(None, bundle.crop).slices
    opinion = form_opinion(Predictor(bundle.segmenter, bundle.class_weights), slices)
    labels = opinion.probabilities.argmax(axis=0)
    found = measure_uncertainty(opinion)
    assert found.agreement == pytest.approx(opinion.agreement, abs=1e-6)
    assert found.heart_entropy == pytest.approx(found.entropy[labels > 0].mean(), abs=1e-6)
    assert set(np.unique(np.round(found.dissent * 8, 4))) <= set(range(9))
    for structure in STRUCTURES:
        pixels = (labels == structure.label).sum(axis=(1, 2))
        seen = pixels > 0
        by_slice = found.slice_entropy[structure.name][seen] * pixels[seen]
        assert by_slice.sum() / pixels.sum() == pytest.approx(found.entropy_by_structure[structure.name], abs=1e-5)
        assert (
            0 <= np.nanmin(found.slice_agreement[structure.name]) <= found.agreement_by_structure[structure.name] <= 1
        )


# Files of others


def test_a_foreign_file_is_never_overwritten(volume, small_bundle_folder, tmp_path, capsys) -> None:
    for name in ("report.html", "uncertainty.nrrd"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, "--report", folder) == 3
        assert name in capsys.readouterr().err
        assert [(path.name, path.read_text(encoding="utf-8")) for path in folder.iterdir()] == [(name, "mine")]
    assert not (tmp_path / "o.nrrd").exists()


def test_an_older_report_of_ours_is_replaced(volume, small_bundle_folder, tmp_path) -> None:
    for seed in ("1", "2"):
        extra = ("--report", tmp_path / "r", "--seed", seed)
        assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, *extra) == 0
    assert "<dt>seed</dt><dd>2</dd>" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["report.html", "uncertainty.nrrd"]


@pytest.mark.parametrize(
    "extra, code",
    [
        (("--report", "FOLDER/no/such"), 3),
        (("--report", "VOLUME"), 3),
        (("--uncertainty", "FOLDER/no/such/u.nrrd"), 3),
        (("--uncertainty", "FOLDER/u.txt"), 2),
        (("--uncertainty", "FOLDER/u.seg.nrrd"), 2),
        (("--uncertainty", "FOLDER/o.nrrd"), 2),
        (("--uncertainty", "VOLUME"), 2),
    ],
)
def test_places_that_are_none_are_refused_before_any_work(
    extra, code, volume, small_bundle_folder, tmp_path, capsys
) -> None:
    before = volume.read_bytes()
    filled = [part.replace("FOLDER", str(tmp_path)).replace("VOLUME", str(volume)) for part in extra]
    assert adapt(volume, tmp_path / "o.nrrd", small_bundle_folder, *filled) == code
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [] and volume.read_bytes() == before


def test_a_report_is_a_field_of_a_job() -> None:
    """The worker and Slicer name these two."""
    assert {"report", "uncertainty"} <= {field.name for field in dataclasses.fields(Job)}
