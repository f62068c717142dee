"""Scar on phantoms of known grey values, and on the bundled sample, whose scar was drawn."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from test_wall import FRONT_DEGREES, make_phantom
from Testing.conftest import SAMPLE

from confuda.errors import InputError, UsageError
from confuda.io.segmentation_file import read_segmentation
from confuda.labels import LV, MYO, RV
from confuda.measure.scar import find_remote_muscle, measure_scar, parse_scar_method
from confuda.measure.wall import measure_wall
from confuda.training.sample import find_scar

SAMPLES = SAMPLE.parent
REMOTE, NOISE, SCAR, BLOOD = 100.0, 5.0, 400.0, 380.0
FWHM, FIVE_SD = parse_scar_method("fwhm"), parse_scar_method("5sd")
INNER_MM = np.array([0, 24, 23, 22, 21, 20, 19, 18, 17, 16, 0, 0], float)


class Heart:
    """The wall's phantom with grey values: remote muscle with noise, blood; ``radius`` in mm and ``turned`` in degrees
    from the anterior insertion to the septum and on tell where a voxel lies."""

    def __init__(self, seed: int = 0) -> None:
        self.phantom = make_phantom()
        self.labels = self.phantom.labels
        self.muscle = self.labels == MYO.label
        count, rows, columns = self.labels.shape
        y, x = np.mgrid[0:rows, 0:columns]
        radius = np.hypot((y - rows / 2 + 0.3) * 1.25, (x - columns / 2 + 0.2) * 1.25)
        self.depth = (radius[None] - INNER_MM[:, None, None]) / 10
        self.turned = np.broadcast_to((FRONT_DEGREES - self.phantom.degrees) % 360, self.labels.shape)
        self.values = np.random.default_rng(seed).normal(REMOTE, NOISE, self.labels.shape)
        self.values[(self.labels == LV.label) | (self.labels == RV.label)] = BLOOD
        self.voxel_ml = 8 * 1.25 * 1.25 / 1000

    def find_sector(self, low: float, high: float, depth: float = 1.0) -> np.ndarray:
        """Muscle of slices with a cavity between two angles, from inside to ``depth`` of the wall."""
        slices = np.zeros(self.labels.shape, bool)
        slices[1:10] = True
        return self.muscle & slices & (self.turned >= low) & (self.turned < high) & (self.depth <= depth)

    def measure(self, method):
        labels = self.phantom.make_image()
        volume = sitk.GetImageFromArray(self.values.astype(np.float32))
        volume.CopyInformation(labels)
        return measure_scar(volume, labels, 2, method)


def test_segments_of_which_nothing_is_marked_are_not_given() -> None:
    """Of the base but a piece is marked, in fewer than half of its segments."""
    heart = Heart()
    base = np.zeros(heart.labels.shape, bool)
    base[1:4] = True
    heart.labels[base & heart.muscle & ((heart.turned < 10) | (heart.turned > 50))] = 0
    scar = heart.measure(FIVE_SD)
    assert set(scar.segments) & set(range(1, 7)) == {1, 2}
    json.dumps(scar.describe(), allow_nan=False)
    wall = measure_wall(heart.phantom.make_image(), 2).describe()
    assert [part["segment"] for part in wall["not_given"]] == [3, 4, 5, 6]
    assert {part["reason"] for part in wall["not_given"]} == {"no muscle is marked there"}


@pytest.mark.parametrize("value", [0.1, 1e20])
def test_muscle_of_one_value_is_remote_muscle_without_spread(value) -> None:
    assert find_remote_muscle(np.full(4321, value)) == (value, 0.0)


@pytest.mark.parametrize("method", [FWHM, FIVE_SD])
def test_scar_is_what_was_drawn_in_ml_g_and_percent(method) -> None:
    heart = Heart()
    drawn = heart.find_sector(120, 180)
    heart.values[drawn] += SCAR - REMOTE
    scar = heart.measure(method)
    assert np.array_equal(scar.mask, drawn)
    told = scar.describe()
    assert told["scar_ml"] == pytest.approx(drawn.sum() * heart.voxel_ml, abs=0.01)
    assert told["scar_g"] == pytest.approx(drawn.sum() * heart.voxel_ml * 1.05, abs=0.01)
    assert told["scar_percent_of_lv_mass"] == pytest.approx(100 * drawn.sum() / heart.muscle.sum(), abs=0.01)
    assert told["microvascular_obstruction_ml"] == 0 and scar.warnings == ()
    assert told["remote_mean"] == pytest.approx(REMOTE, abs=1) and told["remote_sd"] == pytest.approx(NOISE, abs=1)
    assert told["method"] == method.name and "not a diagnosis" in told["note"]


def test_thresholds_are_half_the_maximum_and_n_deviations() -> None:
    heart = Heart()
    core, border = heart.find_sector(120, 180), heart.find_sector(180, 210)
    heart.values[core], heart.values[border] = SCAR, 200.0
    # (100 + 400) / 2 = 250 lies above the border's grey, 100 + 5 * 5 = 125 below it, 100 + 20 * 5 = 200 about at it.
    assert np.array_equal(heart.measure(FWHM).mask, core)
    assert heart.measure(FWHM).threshold == pytest.approx(250, abs=2)
    assert np.array_equal(heart.measure(FIVE_SD).mask, core | border)
    assert heart.measure(FIVE_SD).threshold == pytest.approx(125, abs=5)
    assert heart.measure(parse_scar_method("2sd")).threshold == pytest.approx(110, abs=3)


def test_an_offset_and_another_scale_of_each_slice_change_nothing() -> None:
    heart = Heart()
    heart.values[heart.find_sector(120, 180)] = SCAR
    expected = heart.measure(FIVE_SD).mask
    for number in range(len(heart.values)):
        heart.values[number] = 1000 + (1 + 0.1 * (number % 3)) * heart.values[number] + 40 * (number % 2)
    assert np.array_equal(heart.measure(FIVE_SD).mask, expected)
    assert np.array_equal(heart.measure(FWHM).mask, expected)


@pytest.mark.parametrize("method", [FWHM, FIVE_SD])
def test_a_dark_core_inside_the_scar_counts_as_scar(method) -> None:
    heart = Heart()
    drawn, core = heart.find_sector(120, 200), heart.find_sector(140, 175, depth=0.5)
    heart.values[drawn] = SCAR
    heart.values[core] = REMOTE - 30
    scar = heart.measure(method)
    assert np.array_equal(scar.mask, drawn) and np.array_equal(scar.obstruction, core)
    assert scar.describe()["microvascular_obstruction_ml"] == pytest.approx(core.sum() * heart.voxel_ml, abs=0.01)


def test_muscle_that_scar_does_not_enclose_is_no_dark_core() -> None:
    heart = Heart()
    outer = heart.find_sector(120, 200) & ~heart.find_sector(120, 200, depth=0.5)
    heart.values[outer] = SCAR
    # The inner half goes on to either side: remote muscle.
    scar = heart.measure(FWHM)
    assert np.array_equal(scar.mask, outer) and not scar.obstruction.any()


@pytest.mark.parametrize("method", [FWHM, FIVE_SD])
@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_muscle_has_no_scar(method, seed: int) -> None:
    assert Heart(seed).measure(method).volume_ml == 0


def test_a_healthy_muscle_is_told_in_strict_json() -> None:
    """Its half maximum does not exist, and JSON knows no infinity."""
    told = Heart().measure(FWHM).describe()
    assert told["threshold"] is None and told["scar_ml"] == 0.0
    json.dumps(told, allow_nan=False)


def test_a_speck_smaller_than_half_a_millilitre_is_no_scar() -> None:
    heart = Heart()
    speck = heart.find_sector(120, 180)
    speck[:3] = speck[4:] = False
    some = np.argwhere(speck)[: int(0.4 / heart.voxel_ml)]
    heart.values[tuple(some.T)] = SCAR
    assert heart.measure(FIVE_SD).volume_ml == 0 and heart.measure(FWHM).volume_ml == 0


def test_transmurality_is_the_share_of_the_wall_along_rays() -> None:
    heart = Heart()
    # The inner half of inferior segments (4, 10), a quarter of the apical septal one's neighbours none.
    heart.values[heart.find_sector(120, 180, depth=0.5)] = SCAR
    heart.values[heart.find_sector(300, 360)] = SCAR
    scar = heart.measure(FWHM)
    for segment, slices in ((4, (1, 2, 3)), (10, (4, 5, 6))):
        part = scar.segments[segment]
        assert part.transmurality_percent == pytest.approx(50, abs=6)
        # Of the area between radii r and r + 10 the inner half has (r + 2.5) * 5 of (r + 5) * 10 mm.
        inner = INNER_MM[list(slices)]
        expected = 100 * ((inner + 2.5) * 5).sum() / ((inner + 5) * 10).sum()
        assert part.scar_percent == pytest.approx(expected, abs=4)
    for segment in (1, 7):
        assert scar.segments[segment].transmurality_percent == pytest.approx(100, abs=2)
        assert scar.segments[segment].scar_percent == pytest.approx(100, abs=3)
    for segment in (2, 3, 5, 6, 8, 9, 11, 12, 14):
        assert scar.segments[segment].scar_percent < 2
    for segment in (2, 3, 5, 6):
        assert scar.segments[segment].transmurality_percent == 0 or scar.segments[segment].scar_percent > 0
    assert scar.segments[17].transmurality_percent is None and scar.segments[17].scar_percent == 0


def test_remote_muscle_is_the_lower_of_two_peaks() -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(80, 6, 4000), random.normal(300, 40, 3000)])
    mean, deviation = find_remote_muscle(values)
    assert mean == pytest.approx(80, abs=6) and deviation == pytest.approx(6, abs=3)


def test_what_is_not_late_enhancement_is_told() -> None:
    cine = Heart()
    # Borders of the blood, half as bright as blood, as on cine.
    cine.values[cine.find_sector(0, 360, depth=0.12)] = REMOTE + 0.45 * (BLOOD - REMOTE)
    assert any("late enhancement" in warning for warning in cine.measure(FWHM).warnings)
    black_blood = Heart()
    black_blood.values[black_blood.labels == LV.label] = 20
    assert any("late enhancement" in warning for warning in black_blood.measure(FWHM).warnings)


def test_without_a_right_ventricle_the_segments_are_not_given() -> None:
    heart = Heart()
    heart.values[heart.find_sector(120, 180)] = SCAR
    heart.labels[heart.labels == RV.label] = 0
    scar = heart.measure(FWHM)
    assert scar.volume_ml > 0 and scar.segments == {}
    assert any("right ventricle" in warning for warning in scar.warnings)


def test_the_labelmap_of_the_scar_lies_on_the_volumes_grid() -> None:
    heart = Heart()
    drawn = heart.find_sector(120, 180)
    heart.values[drawn] = SCAR
    image = heart.phantom.make_image()
    labelmap = heart.measure(FWHM).make_labelmap(image)
    assert labelmap.GetDirection() == image.GetDirection() and labelmap.GetOrigin() == image.GetOrigin()
    assert np.array_equal(sitk.GetArrayFromImage(labelmap), drawn)


def test_no_muscle_and_another_grid_are_refused() -> None:
    heart = Heart()
    heart.labels[heart.labels == MYO.label] = 0
    with pytest.raises(InputError, match="no muscle"):
        heart.measure(FWHM)
    labels = make_phantom().make_image()
    with pytest.raises(InputError, match="voxels"):
        measure_scar(sitk.Image(4, 4, 4, sitk.sitkFloat32), labels, 2, FWHM)


@pytest.mark.parametrize("text, name", [("FWHM", "fwhm"), ("5sd", "5sd"), ("2.5sd", "2.5sd"), (" 6SD ", "6sd")])
def test_methods_are_named_as_they_are_given(text: str, name: str) -> None:
    assert parse_scar_method(text).name == name


@pytest.mark.parametrize("text", ["", "sd", "half", "0sd", "-5sd", "100sd", "5", "1e1sd", "nansd"])
def test_other_methods_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="as in 5sd"):
        parse_scar_method(text)


def test_the_scar_of_the_bundled_sample_is_found() -> None:
    image = sitk.ReadImage(str(SAMPLES / "SimulatedLGE.nrrd"))
    truth = read_segmentation(SAMPLES / "SimulatedLGE-truth.seg.nrrd")
    labels = sitk.GetArrayFromImage(truth)
    drawn = find_scar(labels, image.GetSpacing())
    percent = 100 * drawn.sum() / (labels == MYO.label).sum()
    assert 10 < percent < 25
    for method, least in ((FWHM, 0.9), (FIVE_SD, 0.85), (parse_scar_method("3sd"), 0.9)):
        scar = measure_scar(image, truth, 2, method)
        found = sitk.GetArrayFromImage(scar.make_labelmap(image)) > 0
        assert scar.percent_of_lv_mass == pytest.approx(percent, abs=3)
        assert 2 * (found & drawn).sum() / (found.sum() + drawn.sum()) > least
        assert scar.warnings == ()
        # It was drawn into the territory of the circumflex artery, away from the septum, and spares the base.
        percents = {segment: part.scar_percent for segment, part in scar.segments.items()}
        assert max(percents[12], percents[16]) > 50 and max(percents[8], percents[9], percents[14]) == 0
