"""The sample is spoilt as docs/limits.md says: what the pictures show is no accident of the script that draws them."""

import runpy

import numpy as np
import pytest
from Testing.packaging.description import REPOSITORY

from confuda.labels import LV, MYO, RV

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def drawing():
    return runpy.run_path(str(REPOSITORY / "docs" / "pictures" / "draw_limits.py"))


@pytest.fixture(scope="module")
def sample(drawing):
    return drawing["read_sample"]()


@pytest.fixture(scope="module")
def spoilt(drawing, sample):
    return {limit.name: limit.spoil(sample) for limit in drawing["LIMITS"]}


def mean_of(scan, *structures):
    return scan.voxels[np.isin(scan.labels, [structure.label for structure in structures])].mean()


def test_each_is_a_volume_with_labels_on_its_grid_and_slices_to_show(drawing, spoilt):
    for limit in drawing["LIMITS"]:
        scan = spoilt[limit.name]
        assert scan.voxels.shape == scan.labels.shape and np.isfinite(scan.voxels).all()
        assert 0 <= scan.voxels.min() and scan.voxels.max() < np.iinfo(np.int16).max
        assert all(number < len(scan.labels) for number in limit.shown)


def test_the_sample_itself_is_left_alone(drawing, sample, spoilt):
    again = drawing["read_sample"]()
    assert np.array_equal(again.voxels, sample.voxels) and np.array_equal(spoilt["ends"].labels, again.labels)


def test_contrast_is_what_the_page_says(sample, spoilt):
    assert mean_of(sample, LV, RV) > 1.5 * mean_of(sample, MYO)
    assert mean_of(spoilt["black-blood"], MYO) > 1.5 * mean_of(spoilt["black-blood"], LV, RV)
    assert mean_of(spoilt["scar"], MYO) > 1.3 * mean_of(sample, MYO)
    assert np.std(spoilt["noise"].voxels - sample.voxels) > 0.3 * mean_of(sample, LV)


def test_what_the_body_casts_lies_beside_it(sample, spoilt):
    dark = sample.voxels < 0.2 * mean_of(sample, LV)
    assert spoilt["ghosts"].voxels[dark].mean() > 3 * sample.voxels[dark].mean()


def test_parts_are_missing(sample, spoilt):
    left = (spoilt["cut-off"].labels == LV.label).sum() / (sample.labels == LV.label).sum()
    assert 0.3 < left < 0.7
    assert not spoilt["no-heart"].labels.any() and spoilt["no-heart"].voxels.std() > 0


def test_long_axis_and_header(sample, spoilt):
    def measure_ml(scan):
        return np.count_nonzero(scan.labels) * np.prod(scan.spacing_mm) / 1000

    resliced = spoilt["long-axis"]
    assert measure_ml(resliced) == pytest.approx(measure_ml(sample), rel=0.1)
    assert resliced.spacing_mm[2] > 4 * resliced.spacing_mm[0]
    assert measure_ml(spoilt["wrong-spacing"]) == pytest.approx(measure_ml(sample) / 4)
