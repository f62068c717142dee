"""The shipped bundle on images it never saw: the bundled sample, and real volumes where they are."""

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import SAMPLE, SAMPLE_TRUTH

from confuda.app.cli import main
from confuda.bundle.description import read_description
from confuda.bundle.format import SHIPPED_BUNDLE
from confuda.io.segmentation_file import read_segmentation
from confuda.labels import STRUCTURES
from confuda.measure.metrics import evaluate
from confuda.measure.overlap import measure_dice


def segment(volume, output, *options) -> dict:
    assert main(["adapt", str(volume), "-o", str(output), *options]) == 0
    return read_segmentation(output)


@pytest.mark.slow
def test_sample_is_segmented_well_and_adaptation_does_not_harm(tmp_path, capsys) -> None:
    truth = read_segmentation(SAMPLE_TRUTH)
    plain = evaluate(truth, segment(SAMPLE, tmp_path / "none.nii.gz", "--method", "none"))
    adapted = evaluate(truth, segment(SAMPLE, tmp_path / "confuda.seg.nrrd", "--preset", "fast"))
    assert adapted["average"]["dice"] > 0.75
    assert adapted["average"]["dice"] > plain["average"]["dice"] - 0.03
    assert math.isfinite(adapted["average"]["hd95_mm"])


@pytest.mark.slow
def test_heart_far_from_the_middle_is_found(tmp_path, capsys) -> None:
    image = sitk.ReadImage(str(SAMPLE))
    shifted = sitk.ConstantPad(image, (120, 0, 0), (0, 90, 0), 0)
    sitk.WriteImage(shifted, str(tmp_path / "shifted.nrrd"))
    here = segment(SAMPLE, tmp_path / "here.nii.gz", "--method", "none")
    there = segment(tmp_path / "shifted.nrrd", tmp_path / "there.nii.gz", "--method", "none")
    moved = sitk.Resample(here, there, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert evaluate(moved, there)["average"]["dice"] > 0.9


def test_a_given_centre_is_used(tmp_path, capsys) -> None:
    image = sitk.ReadImage(str(SAMPLE))
    corner = segment(SAMPLE, tmp_path / "corner.nii.gz", "--method", "none", "--center", "0,0")
    labels = sitk.GetArrayFromImage(corner)
    description = read_description(SHIPPED_BUNDLE)
    reach_mm = description["crop"] / 2 * description["spacing_mm"]
    columns = int(reach_mm / image.GetSpacing()[0]) + 2
    assert not labels[:, :, columns:].any()


@pytest.mark.slow
@pytest.mark.parametrize("patient", [1, 41])
def test_real_late_enhancement(shared_data, patient, tmp_path, capsys) -> None:
    folder = shared_data / "MS-CMRSeg" / "native"
    options = ["--preset", "fast", "--json"]
    prediction = segment(folder / f"patient{patient}_LGE.nii.gz", tmp_path / "out.seg.nrrd", *options)
    summary = json.loads(capsys.readouterr().out)
    assert summary["method"] == "confuda" and summary["adaptation"]["text"]
    scores = evaluate(read_segmentation(folder / f"patient{patient}_LGE_manual.nii.gz"), prediction)
    assert scores["average"]["dice"] > 0.7


def test_training_data_and_sample_do_not_overlap() -> None:
    data = read_description(SHIPPED_BUNDLE)["training"]["data"]
    assert "held out" in data and "patients 10, 20, ..., 100" in data
    assert "patient100" in (SAMPLE.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_frames_of_a_cine_agree_with_each_other(tmp_path) -> None:
    """From frame to frame the middle slices change no more than in the experts' own labels, interpolated in time."""
    cine = SAMPLE.with_name("SimulatedCine.seq.nrrd")
    options = ["--frames", "all", "--method", "none"]
    assert main(["adapt", str(cine), "-o", str(tmp_path / "labels.nii.gz"), *options]) == 0
    own = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels.nii.gz")))
    # Slicer's sequence: ITK reads its frames as the components of a voxel.
    experts = sitk.ReadImage(str(cine.with_name("SimulatedCine-truth.seq.nrrd")))
    truth = np.moveaxis(sitk.GetArrayFromImage(experts), -1, 0)
    assert own.shape == truth.shape
    middle = slice(truth.shape[1] // 2 - 1, truth.shape[1] // 2 + 2)
    for structure in STRUCTURES:
        ours, theirs = (
            np.mean([measure_dice(one, other) for one, other in zip(masks, masks[1:])])
            for masks in (labels[:, middle] == structure.label for labels in (own, truth))
        )
        assert ours >= theirs - 0.02, (structure.name, ours, theirs)
