"""The time left is that of the machine on which the run is, as it is now."""

import numpy as np
import pytest

from confuda.adaptation.pace import Pace
from confuda.adaptation.settings import make_settings
from confuda.bundle.format import load_bundle
from confuda.imaging.volume import Volume
from confuda.observer import Observer
from confuda.segmenter import Segmenter

SETTINGS = make_settings("fast", {"steps": 20})


def run_steps(pace: Pace, now: float, *seconds: float) -> float:
    for step_s in seconds:
        now += step_s
        pace.add_step(now)
    return now


def test_the_first_estimate_grows_with_what_prediction_just_took() -> None:
    quick, slow = (Pace(SETTINGS, 8, predicted_s, 0.0).estimate(0) for predicted_s in (1.0, 5.0))
    assert slow == pytest.approx(5 * quick) and quick > 1.0


def test_fewer_views_in_the_same_time_make_an_image_dearer() -> None:
    few, many = (Pace(SETTINGS, views, 1.0, 0.0).estimate(0) - 1.0 for views in (32, 64))
    assert few == pytest.approx(2 * many) and many > 0


def test_a_slow_first_step_does_not_count_for_all() -> None:
    pace = Pace(SETTINGS, 8, 1.0, 0.0)
    run_steps(pace, 0.0, 30.0, 2.0, 2.0, 2.0)
    assert pace.estimate(4) == pytest.approx(16 * 2.0 + 1.0)


def test_it_follows_a_machine_that_others_begin_to_use() -> None:
    pace = Pace(SETTINGS, 8, 1.0, 0.0)
    now = run_steps(pace, 0.0, *[1.0] * 9)
    assert pace.estimate(9) == pytest.approx(11 * 1.0 + 1.0)
    run_steps(pace, now, *[4.0] * 9)
    assert pace.estimate(18) == pytest.approx(2 * 4.0 + 1.0)


def test_a_run_tells_the_time_left_before_its_first_step(heart, small_bundle_folder) -> None:
    class Told(Observer):
        def progress(self, stage, step, total, eta_s, losses=None) -> None:
            told.append((stage, step, eta_s))

    told: list = []
    segmenter = Segmenter(load_bundle(small_bundle_folder), "cpu", Told())
    segmenter.adapt_and_segment(Volume.from_image(heart[0]), settings={"steps": 3, "runs": 1})
    adapting = [(step, eta_s) for stage, step, eta_s in told if stage == "adapt"]
    assert [step for step, _ in adapting] == [0, 1, 2, 3]
    assert all(np.isfinite(eta_s) and eta_s > 0 for _, eta_s in adapting)
