"""The method in memory: what a notebook gets, on arrays of any order of axes."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.packaging.documents import run_examples

import confuda
from confuda.adaptation.settings import AdaptationSettings
from confuda.app.cli import main
from confuda.bundle import format as bundle_format
from confuda.errors import Cancelled, InputError, UsageError
from confuda.result import Adapted

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"
DOCUMENT = PACKAGE.parent / "docs" / "python.md"

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def bundle(small_bundle_folder):
    return confuda.load_bundle(small_bundle_folder)


@pytest.fixture(scope="module")
def volume(heart):
    """The toy heart with an origin and with axes that run to the patient's right, front and head."""
    image = sitk.Image(heart[0])
    image.SetOrigin((12.0, -7.0, 50.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return confuda.Volume.from_image(image)


# The page of the documentation


def test_lines_of_the_documentation_run_as_they_stand(
    volume, small_bundle_folder, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    # With the small networks in the place of the shipped ones, for speed.
    monkeypatch.setattr(bundle_format, "SHIPPED_BUNDLE", small_bundle_folder)
    names = {"array": volume.array, "affine": volume.affine, "other": None}
    pytest.importorskip("tqdm")
    assert run_examples(DOCUMENT, names) == 4
    assert names["result"].labels.shape == volume.array.shape and "MYO" in capsys.readouterr().out
    assert (tmp_path / "LGE.seg.nrrd").is_file() and (tmp_path / "adapted-bundle" / "bundle.json").is_file()
    assert names["adapted"].facts["mode"] == "one-shot" and len(names["adapted"].chosen[0]) == 1


def test_nothing_is_loaded_before_it_is_used() -> None:
    program = (
        "import sys, confuda; "
        "assert {'Segmenter', 'Volume', 'load_bundle', 'read_volume'} <= set(dir(confuda)); "
        "assert not {'torch', 'SimpleITK', 'numpy'} & set(sys.modules); "
        "confuda.Volume; assert 'SimpleITK' in sys.modules and 'torch' not in sys.modules; "
        "confuda.Segmenter; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(PACKAGE)}, check=True)


# Where a volume lies


def test_an_affine_is_in_ras_unless_it_is_said_to_be_in_lps() -> None:
    # Axes: i to the back, 2 mm; j to the head, 8 mm; k to the left, 1.5 mm.
    affine = np.array([[0, 0, -1.5, 30], [-2, 0, 0, 40], [0, 8, 0, -5], [0, 0, 0, 1]], float)
    array = np.random.default_rng(0).random((40, 5, 50))
    ras = confuda.Volume(array, affine)
    # (1, 2, 3) lies at x = 30 - 4.5, y = 40 - 2, z = -5 + 16 in RAS; LPS has the first two with the other sign.
    assert ras.image.TransformIndexToPhysicalPoint((1, 2, 3)) == pytest.approx((-25.5, -38.0, 11.0))
    assert ras.image[1, 2, 3] == array[1, 2, 3]
    assert ras.spacing_mm == pytest.approx((2, 8, 1.5)) and ras.slice_count == 5
    np.testing.assert_allclose(ras.affine, affine)
    np.testing.assert_array_equal(ras.array, array)
    lps = confuda.Volume(array, TO_LPS @ affine, space="LPS")
    np.testing.assert_allclose(lps.affine, affine)


def test_a_heart_that_is_cut_off_is_warned_of(volume, bundle) -> None:
    """The toy heart's left ventricle has its middle at 0.55 of the columns."""
    cut = confuda.Volume(volume.array[:53], spacing_mm=(1.5, 1.5, 8.0))
    whole, half = (confuda.Segmenter(bundle, "cpu").segment(one).warnings for one in (volume, cut))
    assert not any("cut off" in text for text in whole)
    assert sum("cut off" in text for text in half) == 1


def test_labels_have_the_axes_of_the_array_in_any_order_and_direction(volume, bundle) -> None:
    segmenter = confuda.Segmenter(bundle, "cpu")
    expected = segmenter.segment(volume).labels
    assert expected.shape == volume.array.shape and set(np.unique(expected)) == {0, 1, 2, 3}
    for order, flipped in (((2, 0, 1), ()), ((1, 0, 2), (0,)), ((2, 1, 0), (1, 2))):
        array, affine = volume.array.transpose(order), volume.affine[:, [*order, 3]]
        for axis in flipped:
            affine[:, 3] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
        moved = segmenter.segment(confuda.Volume(np.flip(array, flipped), affine)).labels
        np.testing.assert_array_equal(np.flip(moved, flipped).transpose(np.argsort(order)), expected)


def test_with_spacings_alone_slices_first_and_slices_last_are_the_same_heart(volume, bundle) -> None:
    array = volume.array
    segmenter = confuda.Segmenter(bundle, "cpu")
    last = segmenter.segment(confuda.Volume(array, spacing_mm=(1.5, 1.5, 8.0)))
    first = segmenter.segment(confuda.Volume(array.transpose(2, 1, 0), spacing_mm=(8.0, 1.5, 1.5)))
    np.testing.assert_array_equal(first.labels.transpose(2, 1, 0), last.labels)
    assert last.volumes_ml["LV"] == pytest.approx((last.labels == 2).sum() * 1.5 * 1.5 * 8 / 1000)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"array": np.zeros((4, 4))}, "three axes"),
        ({"array": np.full((4, 40, 40), "a")}, "real numbers"),
        ({"spacing_mm": None}, "either an affine or spacing_mm"),
        ({"affine": np.eye(4)}, "either an affine or spacing_mm"),
        ({"spacing_mm": (1, 1)}, "three finite numbers"),
        ({"spacing_mm": (1, 0, 1)}, "three finite numbers"),
        ({"spacing_mm": None, "affine": np.eye(3)}, "4 x 4"),
        ({"spacing_mm": None, "affine": np.eye(4), "space": "XYZ"}, "RAS, LPS"),
        ({"spacing_mm": None, "affine": np.eye(4) + 0.2 * np.eye(4, k=1)}, "right angles"),
        ({"array": np.zeros((4, 40, 40))}, "empty"),
        ({"spacing_mm": (8, 0.001, 0.001)}, "no heart"),
    ],
)
def test_what_makes_no_volume_is_refused_in_one_sentence(change, says) -> None:
    given = {"array": np.random.default_rng(0).random((4, 40, 40)), "spacing_mm": (8.0, 1.5, 1.5), **change}
    with pytest.raises(InputError, match=says):
        confuda.Volume(given.pop("array"), given.pop("affine", None), **given)


@pytest.mark.parametrize("kind", [">i2", ">u2", ">f4", ">f8", "<i2", "<f4", "f2", "longdouble", "i8"])
def test_numbers_of_every_size_and_order_of_bytes_are_taken(kind) -> None:
    """nibabel gives those of a file that a machine of the other order wrote as they are."""
    array = np.random.default_rng(0).integers(0, 1000, (30, 40, 4)).astype(kind)
    np.testing.assert_array_equal(confuda.Volume(array, spacing_mm=(1.5, 1.5, 8)).array, array.astype(float))


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda image: image * 0, "empty"),
        (lambda image: image[:, :, 0], "three axes"),
        (lambda image: sitk.JoinSeries([image, image]), "three axes"),
        (lambda image: sitk.Compose([image, image]), "one real number"),
        (lambda image: sitk.RealAndImaginaryToComplex(image, image), "one real number"),
    ],
)
def test_an_image_that_makes_no_volume_is_refused_in_one_sentence(volume, change, says) -> None:
    with pytest.raises(InputError, match=says):
        confuda.Volume.from_image(change(sitk.Cast(volume.image, sitk.sitkFloat32)))


def test_nan_in_an_image_is_replaced_and_told_as_in_an_array(volume) -> None:
    image = sitk.Cast(volume.image, sitk.sitkFloat32)
    image[0, 0, 0] = float("nan")
    taken = confuda.Volume.from_image(image)
    assert np.isfinite(taken.array).all() and "1 NaN" in taken.warnings[0]


def test_nan_is_replaced_and_told_in_the_result(volume, bundle) -> None:
    array = volume.array
    array[0, 0, 0] = np.nan
    result = confuda.Segmenter(bundle, "cpu").segment(confuda.Volume(array, volume.affine))
    assert any("NaN" in warning for warning in result.warnings) and result.labels.any()


# What comes out


def test_the_largest_soft_label_is_the_label(volume, bundle) -> None:
    result = confuda.Segmenter(bundle, "cpu").segment(volume)
    assert result.soft_labels.shape == (4, *volume.array.shape) and result.soft_labels.dtype == np.float32
    np.testing.assert_array_equal(result.soft_labels.argmax(axis=0), result.labels)


def test_where_no_heart_is_all_is_background_and_a_warning_says_so(bundle) -> None:
    noise = np.random.default_rng(1).normal(size=(5, 96, 96))
    result = confuda.Segmenter(bundle, "cpu").segment(confuda.Volume(noise, spacing_mm=(8.0, 1.5, 1.5)))
    assert not result.labels.any() and result.soft_labels[0].min() == 1 and result.agreement is None
    assert any("No heart was found" in warning for warning in result.warnings) and result.accepted


def test_python_and_the_command_line_give_the_same_voxels(volume, bundle, small_bundle_folder, tmp_path) -> None:
    sitk.WriteImage(volume.image, str(tmp_path / "v.nrrd"))
    options = ["--bundle", str(small_bundle_folder), "--device", "cpu", "--seed", "3", "--set", "steps=3"]
    assert main(["adapt", str(tmp_path / "v.nrrd"), "-o", str(tmp_path / "o.nrrd"), *options]) == 0
    result = confuda.Segmenter(bundle, "cpu").adapt_and_segment(volume, seed=3, settings={"steps": 3})
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "o.nrrd"))).T, result.labels)
    assert result.steps == 3 and len(result.losses) == 2, "the steps are shared out among the runs"
    result.save(tmp_path / "saved.nii.gz")
    saved = sitk.ReadImage(str(tmp_path / "saved.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(saved).T, result.labels)


def test_the_bundle_is_left_as_it_was(volume, small_bundle_folder) -> None:
    bundle = confuda.load_bundle(small_bundle_folder)
    before = {name: value.clone() for name, value in bundle.segmenter.state_dict().items()}
    confuda.Segmenter(bundle, "cpu").adapt_and_segment(volume, settings={"steps": 2, "learning_rate": 0.1})
    for name, value in bundle.segmenter.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_observer_hears_the_stages_and_cancels(volume, bundle) -> None:
    class Impatient(confuda.Observer):
        stages = []

        def progress(self, stage, step, total, eta_s, losses=None) -> None:
            self.stages.append(stage)
            if step == 2:
                raise Cancelled("Enough.")

    with pytest.raises(Cancelled):
        confuda.Segmenter(bundle, "cpu", Impatient()).adapt_and_segment(volume, settings={"steps": 50})
    assert list(dict.fromkeys(Impatient.stages)) == ["find", "adapt"] and len(Impatient.stages) < 6


@pytest.mark.parametrize(
    "options, error, says",
    [
        ({"mode": "no-shot"}, UsageError, "Unknown mode"),
        ({"method": "magic"}, UsageError, "Unknown method"),
        ({"slice": 1}, UsageError, "one-shot"),
        ({"mode": "one-shot", "slice": 6}, InputError, "slices 0 to 5"),
        ({"center": (500, 1)}, InputError, "outside the volume"),
        ({"settings": {"warmth": 1}}, UsageError, "Unknown setting"),
    ],
)
def test_wrong_options_are_one_sentence(volume, bundle, options, error, says) -> None:
    with pytest.raises(error, match=says):
        confuda.Segmenter(bundle, "cpu").adapt_and_segment(volume, **options)


# Judging


def test_a_structure_of_an_impossible_volume_is_noticed_by_whoever_judges(volume, bundle) -> None:
    """The cohort's one adaptation judges through here, too."""
    larger = copy.deepcopy(bundle.segmenter)
    with torch.no_grad():
        larger.classifier.bias[1] += 1.0  # It marks a little more muscle than the source network.
    adapted = Adapted(larger, AdaptationSettings(), [], [np.arange(3)], {})
    segmenter = confuda.Segmenter(bundle, "cpu")

    def look_and_judge(thickness_mm):
        look = segmenter.look(confuda.Volume(volume.array, spacing_mm=(1.5, 1.5, thickness_mm)))
        return look.opinion, segmenter.judge(look, adapted)

    before, verdict = look_and_judge(40.0)
    assert before.voxel_ml == pytest.approx(1.5 * 1.5 * 40 / 1000)
    small, large = (opinion.count_voxels()["MYO"] * 1.5 * 1.5 / 1000 for opinion in (before, verdict.opinion))
    assert small < large and verdict.accepted
    # Slices so thick that 600 mL, more than any heart holds, lie between what the two networks say.
    assert look_and_judge(600.0 / large * 0.98)[1].accepted
    refused = look_and_judge(600.0 / ((small + large) / 2))[1]
    assert not refused.accepted and refused.reason == "MYO has an impossible volume"
