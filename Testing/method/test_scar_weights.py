"""Class weights that a volume with bright scar asks for: when they count, and what they change."""

import dataclasses

import numpy as np
import pytest

from confuda.imaging.volume import Volume
from confuda.inference.acceptance import form_opinion
from confuda.inference.prediction import Predictor, weigh_classes
from confuda.inference.scar_weights import combine_weights, measure_bright_muscle, rate_scar
from confuda.segmenter import Segmenter

BLOOD, MUSCLE = 0.8, 0.2


@pytest.fixture
def ring():
    """Slices and labels of a blood pool within a ring of even muscle, 300 pixels and more of each."""
    rows, columns = np.mgrid[-20:21, -20:21]
    radius = np.hypot(rows, columns)
    labels = np.select([radius < 10, radius < 16], [2, 1], 0)[None]
    slices = np.select([labels == 2, labels == 1], [BLOOD, MUSCLE], 0.1).astype(np.float32)
    return slices, labels


def paint_scar(slices, labels, share, level):
    """``share`` of the muscle's pixels at ``level``."""
    places = np.argwhere(labels == 1)
    painted = slices.copy()
    painted[tuple(places[: int(round(share * len(places)))].T)] = level
    return painted


@pytest.mark.parametrize(
    ("share", "level", "bright"),
    [(0.0, BLOOD, 0.0), (0.2, BLOOD, 1.0), (0.2, 0.5, 0.5), (0.05, BLOOD, 0.0)],
    ids=["none", "as bright as blood", "half as bright", "too small to count"],
)
def test_bright_muscle_is_measured_between_muscle_and_blood(ring, share, level, bright) -> None:
    slices, labels = ring
    assert measure_bright_muscle(paint_scar(slices, labels, share, level), labels) == pytest.approx(bright, abs=1e-5)


def test_dark_blood_tells_nothing_of_scar(ring) -> None:
    slices, labels = ring
    black_blood = np.where(labels == 2, 0.05, slices)
    assert measure_bright_muscle(paint_scar(black_blood, labels, 0.2, BLOOD), labels) == 0.0


def test_a_structure_that_is_not_there_tells_nothing(ring) -> None:
    slices, labels = ring
    assert rate_scar(slices, np.where(labels == 2, 0, labels)) == 0.0
    assert rate_scar(slices, np.zeros_like(labels)) == 0.0


@pytest.mark.parametrize(("level", "scar"), [(0.38, 0.0), (0.455, 0.5), (0.6, 1.0)])
def test_scar_counts_more_the_brighter_it_is(ring, level, scar) -> None:
    """0.38, 0.455 and 0.6 lie 0.3, 0.425 and 0.67 of the way from muscle to blood."""
    slices, labels = ring
    assert rate_scar(paint_scar(slices, labels, 0.2, level), labels) == pytest.approx(scar, abs=1e-4)


def test_weights_grow_with_the_scar() -> None:
    weights = [combine_weights([1, 2, 1, 1], [1, 4, 0.25, 1], scar) for scar in (0.0, 0.5, 1.0)]
    assert np.allclose(weights, [[1, 2, 1, 1], [1, 4, 0.5, 1], [1, 8, 0.25, 1]])


def test_an_opinion_is_weighed_by_the_scar_and_can_be_unweighed(bundle, plain) -> None:
    predictor = Predictor(bundle.segmenter, scar_weights=[1, 20, 1, 1])
    without, full = (form_opinion(predictor, plain[0], scar=scar) for scar in (0.0, 1.0))
    assert full.count_voxels()["MYO"] > without.count_voxels()["MYO"]
    np.testing.assert_allclose(full.soft, weigh_classes(without.soft, [1, 20, 1, 1]), atol=1e-6)
    np.testing.assert_allclose(full.unweigh(), without.soft, atol=1e-5)


def test_both_networks_are_weighed_alike(bundle, heart) -> None:
    """What the volume shows does not depend on whom one asks."""
    weighing = dataclasses.replace(bundle, description={**bundle.description, "scar_weights": [1, 9, 1, 1]})
    segmenter = Segmenter(weighing, device="cpu")
    look = segmenter.look(Volume.from_image(heart[0]), scar=0.5)
    adapted = segmenter.adapt(look, settings={"steps": 1, "runs": 1, "strength": 1.0})
    assert segmenter.judge(look, adapted).opinion.weights == look.opinion.weights == [1, 3, 1, 1]
