"""A whole cine: one adaptation, labels of each frame, and the function that follows from them."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart
from Testing.scanner_files import write_cine as write_dicom_cine

from confuda.app.cli import main
from confuda.bundle.format import load_bundle
from confuda.cine import ONE_FRAME, find_crop_center, segment_cine
from confuda.errors import InputError, UsageError
from confuda.imaging.volume import Volume
from confuda.io.cine_file import write_cine
from confuda.labels import LV
from confuda.measure.coverage import CUT_OFF
from confuda.measure.metrics import compute_volumes_ml, measure_dice
from confuda.observer import Observer
from confuda.segmenter import Segmenter

PHASES = (0.0, 0.6, 1.0, 0.5)
"""How far the toy heart has contracted in each frame: end-diastole first, end-systole third."""


def make_beat(phase: float, seed: int):
    """The toy heart with a cavity that is the smaller the more it has contracted; image and labels."""
    image, truth = make_heart(seed=seed)
    labels = sitk.GetArrayFromImage(truth)
    _, size, _ = labels.shape
    rows, columns = np.mgrid[:size, :size]
    values = sitk.GetArrayFromImage(image)
    for number in range(len(labels)):
        inner = (0.13 - 0.045 * phase) * size * (1 - 0.08 * number)
        distance = np.hypot(rows - 0.45 * size, columns - 0.55 * size)
        closed = (labels[number] == LV.label) & (distance >= inner)
        labels[number][closed] = 1
        values[number][closed] -= 115  # The toy's muscle is darker than its blood by so much.
    image, truth = (sitk.GetImageFromArray(array) for array in (values, labels))
    for made in (image, truth):
        made.SetSpacing((1.5, 1.5, 8.0))
    return image, truth


@pytest.fixture(scope="module")
def beat():
    frames = [make_beat(phase, seed=10 + number) for number, phase in enumerate(PHASES)]
    return [frame[0] for frame in frames], [frame[1] for frame in frames]


@pytest.fixture(scope="module")
def bundle(small_bundle_folder):
    return load_bundle(small_bundle_folder)


class Listener(Observer):
    def __init__(self) -> None:
        self.adapted = []
        self.warnings = []

    def progress(self, stage, step, total, eta_s, losses=None) -> None:
        if stage == "adapt":
            self.adapted.append(step)

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def measure_fraction(label_maps) -> float:
    """Ejection fraction of LV in percent, done by hand."""
    volumes = [compute_volumes_ml(labels)["LV"] for labels in label_maps]
    return 100 * (max(volumes) - min(volumes)) / max(volumes)


def test_each_frame_is_segmented_and_the_fraction_is_that_of_the_truth(beat, bundle) -> None:
    images, truths = beat
    result = segment_cine(Segmenter(bundle, "cpu"), [Volume.from_image(image) for image in images], method="none")
    assert result.frames == [0, 1, 2, 3] and (result.ed, result.es) == (0, 2)
    for labels, truth in zip(result.label_maps, truths):
        assert labels.IsSameImageGeometryAs(truth)
        found, true = (sitk.GetArrayViewFromImage(labels) == 2, sitk.GetArrayViewFromImage(truth) == 2)
        assert measure_dice(found, true) > 0.85
    function = result.function.describe()
    assert function["lv_ejection_fraction_percent"] == pytest.approx(measure_fraction(truths), abs=8)
    assert function["lv_ejection_fraction_percent"] == pytest.approx(measure_fraction(result.label_maps), abs=0.01)
    assert (function["lv_ed_frame"], function["lv_es_frame"]) == (0, 2)
    assert function["lv_edv_ml"] == pytest.approx(compute_volumes_ml(truths[0])["LV"], rel=0.15)


def test_one_adaptation_to_both_ends_of_the_cycle_serves_all_frames(beat, bundle) -> None:
    listener = Listener()
    result = segment_cine(
        Segmenter(bundle, "cpu", listener),
        [Volume.from_image(image) for image in beat[0]],
        preset="fast",
        settings={"steps": 3, "runs": 1},
    )
    assert sorted(set(listener.adapted) - {0}) == [1, 2, 3]
    assert sorted(result.looks) == [0, 2] and sorted(result.verdicts) == [0, 2]
    # Slices of both frames, more than either has.
    assert len(result.adapted.chosen) == 2 and all(len(chosen) for chosen in result.adapted.chosen)
    assert len(result.label_maps) == 4 and all(sitk.GetArrayViewFromImage(m).any() for m in result.label_maps)
    assert result.timings["adapt"] > 0 and result.timings["total"] >= result.timings["predict"] > 0
    summary = result.summarise()
    assert summary["steps"] == 3 and summary["frames"] == [0, 1, 2, 3]
    assert summary["volumes_ml"]["LV"] == pytest.approx(summary["function"]["lv_edv_ml"], abs=0.01)


def test_what_both_ends_gain_nothing_by_is_not_kept(beat, bundle, monkeypatch) -> None:
    monkeypatch.setattr("confuda.cine.judge_gain", lambda before, after: "nothing was gained")
    volumes = [Volume.from_image(image) for image in beat[0]]
    listener = Listener()
    settings = {"steps": 1, "runs": 1, "learning_rate": 1e-6}
    result = segment_cine(Segmenter(bundle, "cpu", listener), volumes, "ed,es", settings=settings)
    assert not result.accepted and any("since nothing was gained" in warning for warning in listener.warnings)
    assert "it would have changed" in result.summarise()["adaptation"]["text"]
    source = segment_cine(Segmenter(bundle, "cpu"), volumes, "ed,es", method="none")
    assert source.summarise()["adaptation"] is None
    for given, own in zip(result.label_maps, source.label_maps):
        assert np.array_equal(sitk.GetArrayViewFromImage(given), sitk.GetArrayViewFromImage(own))


def test_only_the_two_ends_of_the_cycle_are_segmented_where_they_are_asked_for(beat, bundle) -> None:
    volumes = [Volume.from_image(image) for image in beat[0]]
    result = segment_cine(Segmenter(bundle, "cpu"), volumes, "ed,es", method="none")
    everything = segment_cine(Segmenter(bundle, "cpu"), volumes, method="none")
    assert result.frames == [0, 2] and result.function.describe()["lv_es_frame"] == 2
    for number, labels in zip(result.frames, result.label_maps):
        assert np.array_equal(
            sitk.GetArrayViewFromImage(labels), sitk.GetArrayViewFromImage(everything.label_maps[number])
        )


def test_a_cine_without_a_heart_is_empty_and_says_so(bundle) -> None:
    random = np.random.default_rng(0)
    frames = [sitk.GetImageFromArray(random.normal(0, 1, (5, 96, 96)).astype(np.float32)) for _ in range(3)]
    for frame in frames:
        frame.SetSpacing((1.5, 1.5, 8.0))
    listener = Listener()
    result = segment_cine(
        Segmenter(bundle, "cpu", listener), [Volume.from_image(frame) for frame in frames], method="none"
    )
    if any("No heart" in warning for warning in listener.warnings):
        assert not any(sitk.GetArrayViewFromImage(labels).any() for labels in result.label_maps)
        assert result.function.describe()["lv_ejection_fraction_percent"] is None and result.agreement is None
    else:
        pytest.fail("noise was taken for a heart")


def test_one_frame_has_no_fraction_and_says_so(beat, bundle) -> None:
    for images, which in (([beat[0][0]], "all"), ([beat[0][0]] * 2, "ed,es")):
        listener = Listener()
        volumes = [Volume.from_image(image) for image in images]
        result = segment_cine(Segmenter(bundle, "cpu", listener), volumes, which, method="none")
        assert result.frames == [0] and ONE_FRAME in listener.warnings
        assert result.function.describe()["lv_ejection_fraction_percent"] is None


def test_a_stack_that_ends_within_the_ventricle_says_so(beat, bundle) -> None:
    listener = Listener()
    volumes = [Volume.from_image(image[:, :, :3]) for image in beat[0]]  # The cavity ends at 70 % of its largest area.
    segment_cine(Segmenter(bundle, "cpu", listener), volumes, "ed,es", method="none")
    assert CUT_OFF in listener.warnings
    listener = Listener()
    whole = [Volume.from_image(image) for image in beat[0]]
    segment_cine(Segmenter(bundle, "cpu", listener), whole, "ed,es", method="none")
    assert CUT_OFF not in listener.warnings


def test_the_middle_of_the_window_is_found_in_voxels(beat, bundle) -> None:
    segmenter = Segmenter(bundle, "cpu")
    for flipped in (False, True):
        image = sitk.Flip(beat[0][0], [flipped, False, False])
        look = segmenter.look(Volume.from_image(image))
        again = segmenter.look(Volume.from_image(image), find_crop_center(look))
        assert again.crop.grid == look.crop.grid


def test_what_is_no_choice_of_frames_is_refused(beat, bundle) -> None:
    with pytest.raises(InputError, match="at least one frame"):
        segment_cine(Segmenter(bundle, "cpu"), [])
    with pytest.raises(UsageError, match="all frames, or in ed,es"):
        segment_cine(Segmenter(bundle, "cpu"), [Volume.from_image(beat[0][0])], "systole")


@pytest.fixture(scope="module")
def cine_path(beat, tmp_path_factory):
    return write_cine(beat[0], tmp_path_factory.mktemp("cine") / "cine.nii.gz")


def run(capsys, *arguments):
    code = main(["adapt", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command_line_writes_all_frames_and_tells_function(
    capsys, cine_path, small_bundle_folder, tmp_path
) -> None:
    output, table = tmp_path / "labels.nii.gz", tmp_path / "numbers.csv"
    code, out, err = run(
        capsys, cine_path, "-o", output, "--frames", "all", "--method", "none", "--bundle", small_bundle_folder,
        "--device", "cpu", "--height-cm", 180, "--weight-kg", 80, "--csv", table, "--json",
        "--report", tmp_path / "page",
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out)
    written = sitk.ReadImage(str(output))
    assert written.GetSize() == (96, 96, 6, 4)
    voxel_ml = 1.5 * 1.5 * 8 / 1000
    volumes = [float((sitk.GetArrayViewFromImage(written[..., t]) == 2).sum()) * voxel_ml for t in range(4)]
    function = summary["function"]
    assert function["lv_volume_ml"] == pytest.approx(volumes, abs=0.01)
    assert function["lv_ejection_fraction_percent"] == pytest.approx(
        100 * (max(volumes) - min(volumes)) / max(volumes), abs=0.01
    )
    assert function["lv_edv_ml_per_m2"] == pytest.approx(max(volumes) / 2, abs=0.01)  # sqrt(180 * 80 / 3600) = 2 m2
    rows = {(row["quantity"], row["of"]): row["value"] for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert float(rows["lv_volume_ml", "frame 2"]) == pytest.approx(volumes[2], abs=0.01)
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert "Ejection fraction" in page and f"{function['lv_ejection_fraction_percent']:.1f}" in page
    assert (tmp_path / "labels-function.png").read_bytes().startswith(b"\x89PNG")


def test_one_frame_is_a_volume_of_its_own(capsys, beat, cine_path, small_bundle_folder, tmp_path) -> None:
    sitk.WriteImage(beat[0][2], str(tmp_path / "frame.nii.gz"))
    same = ["--method", "none", "--bundle", small_bundle_folder, "--device", "cpu"]
    code, _, err = run(capsys, cine_path, "-o", tmp_path / "a.nii.gz", "--frames", "2", "--scar", "fwhm", *same)
    assert code == 0 and "warning: Scar is measured in one frame of several" in err
    assert run(capsys, tmp_path / "frame.nii.gz", "-o", tmp_path / "b.nii.gz", *same)[0] == 0
    first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))) for name in ("a.nii.gz", "b.nii.gz"))
    assert first.any() and np.array_equal(first, second)


def test_the_command_line_tells_the_fraction_and_what_a_lone_height_lacks(
    capsys, cine_path, small_bundle_folder, tmp_path
) -> None:
    code, out, err = run(
        capsys, cine_path, "-o", tmp_path / "labels.nii.gz", "--frames", "ed,es", "--method", "none",
        "--bundle", small_bundle_folder, "--device", "cpu", "--height-cm", 180,
    )  # fmt: skip
    assert code == 0
    labels = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    fraction = measure_fraction([labels[..., 0], labels[..., 1]])
    assert f"ejection fraction LV {fraction:.0f} %" in out
    assert "warning: Nothing is given per body surface: the weight is not known." in err


def test_the_frame_that_cannot_be_used_is_named(capsys, beat, tmp_path) -> None:
    images = list(beat[0])
    for value, told in ((0.0, "frame 2, is empty: all voxels are 0"), (np.nan, "frame 2, holds no numbers")):
        images[2] = sitk.GetImageFromArray(np.full((6, 96, 96), value, dtype=np.float32))
        images[2].CopyInformation(beat[0][2])
        path = write_cine([sitk.Cast(image, sitk.sitkFloat32) for image in images], tmp_path / "cine.seq.nrrd")
        code, _, err = run(capsys, path, "-o", tmp_path / "labels.nii.gz", "--frames", "all", "--method", "none")
        assert code == 3 and told in err and not (tmp_path / "labels.nii.gz").exists()


def test_a_dicom_cine_brings_its_times_and_the_bodys_size(capsys, beat, small_bundle_folder, tmp_path) -> None:
    folder = write_dicom_cine(
        tmp_path / "dicom", [sitk.Cast(image + 50, sitk.sitkUInt16) for image in beat[0]],
        PatientSize="1.80", PatientWeight="80",
    )  # fmt: skip
    output = tmp_path / "labels.seq.nrrd"
    code, out, err = run(
        capsys, folder or tmp_path / "dicom", "-o", output, "--frames", "all", "--method", "none",
        "--bundle", small_bundle_folder, "--device", "cpu", "--output-labels", "acdc", "--json",
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out)
    assert summary["function"]["body_surface_area_m2"] == 2.0
    assert np.diff(summary["frame_times_ms"]) == pytest.approx([40, 40, 40])
    header = output.read_bytes().partition(b"\n\n")[0].decode()
    assert "DataNodeClassName:=vtkMRMLLabelMapVolumeNode" in header and '"time"' in header
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    voxel_ml = 1.5 * 1.5 * 8 / 1000
    assert (labels[..., 0] == 3).sum() * voxel_ml == pytest.approx(summary["function"]["lv_volume_ml"][0], abs=0.01)


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (("-o", "x.seg.nrrd", "--frames", "all"), 2, ".seq.nrrd, .nii.gz or .nii"),
        (("-o", "x.nii.gz", "--frames", "systole"), 2, "all, or ed,es"),
        (("-o", "x.nii.gz", "--frames", "all", "--scar", "fwhm"), 2, "late enhancement"),
        (("-o", "x.nii.gz", "--frames", "all", "--height-cm", "1.8"), 2, "cm"),
        (("-o", "x.nii.gz", "--height-cm", "180"), 2, "cine"),
        (("-o", "x.nii.gz", "--frames", "9", "--method", "none"), 3, "no frame 9: its frames are 0 to 3"),
        (("-o", "x.nii.gz", "--method", "none"), 3, "--frames N (0 to 3), or all with --frames all"),
    ],
)
def test_what_a_cine_cannot_do_is_refused(capsys, cine_path, tmp_path, monkeypatch, arguments, code, told) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        returned, _, err = run(capsys, cine_path, *arguments)
    except SystemExit as end:
        returned, err = end.code, capsys.readouterr().err
    assert returned == code and told in err
    assert list(tmp_path.iterdir()) == []
