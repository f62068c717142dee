"""Function of the heart against sums done by hand."""

import pytest

from confuda.errors import UsageError
from confuda.measure.function import measure_body_surface_area_m2, measure_function

CYCLE = [
    {"MYO": 100.0, "LV": 120.0, "RV": 130.0},
    {"MYO": 110.0, "LV": 90.0, "RV": 140.0},
    {"MYO": 105.0, "LV": 48.0, "RV": 80.0},
    {"MYO": 103.0, "LV": 60.0, "RV": 70.0},
]


def test_numbers_of_a_cycle_are_those_of_a_hand_computation() -> None:
    found = measure_function(CYCLE, body_surface_area_m2=2.0).describe()
    assert (found["lv_edv_ml"], found["lv_esv_ml"], found["lv_stroke_volume_ml"]) == (120, 48, 72)
    assert found["lv_ejection_fraction_percent"] == 60
    assert (found["rv_edv_ml"], found["rv_esv_ml"], found["rv_stroke_volume_ml"]) == (140, 70, 70)
    assert found["rv_ejection_fraction_percent"] == 50
    assert (found["lv_ed_frame"], found["lv_es_frame"], found["rv_ed_frame"], found["rv_es_frame"]) == (0, 2, 1, 3)
    assert found["lv_mass_g"] == 105  # 100 mL in frame 0, at 1.05 g/mL.
    assert (found["lv_edv_ml_per_m2"], found["rv_esv_ml_per_m2"], found["lv_mass_g_per_m2"]) == (60, 35, 52.5)
    assert found["lv_volume_ml"] == [120, 90, 48, 60] and found["rv_volume_ml"] == [130, 140, 80, 70]


def test_frames_keep_the_numbers_of_the_cine() -> None:
    found = measure_function(CYCLE[1:3], frames=[4, 11]).describe()
    assert (found["lv_ed_frame"], found["lv_es_frame"], found["frames"]) == (4, 11, [4, 11])
    assert "lv_mass_g_per_m2" not in found and found["body_surface_area_m2"] is None


def test_a_number_that_does_not_exist_is_none() -> None:
    single = measure_function(CYCLE[:1]).describe()
    assert single["lv_edv_ml"] == 120 and single["lv_esv_ml"] is None and single["lv_ejection_fraction_percent"] is None
    without = measure_function([{"MYO": 0.0, "LV": 0.0, "RV": 30.0}, {"MYO": 0.0, "LV": 0.0, "RV": 20.0}]).describe()
    assert without["lv_edv_ml"] is None and without["lv_mass_g"] is None
    assert without["rv_ejection_fraction_percent"] == pytest.approx(100 / 3, abs=0.01)


def test_the_surface_of_a_body_is_mostellers() -> None:
    assert measure_body_surface_area_m2(180, 80) == pytest.approx(2.0)  # sqrt(180 * 80 / 3600) = sqrt(4)
    assert measure_body_surface_area_m2(100, 36) == pytest.approx(1.0)


@pytest.mark.parametrize("height, weight, named", [(1.8, 80, "cm"), (180, 0.5, "kg"), (float("nan"), 80, "cm")])
def test_heights_and_weights_that_no_one_has_are_refused(height: float, weight: float, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        measure_body_surface_area_m2(height, weight)


def test_frames_without_volumes_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        measure_function([])
    with pytest.raises(UsageError, match="2 frame numbers"):
        measure_function(CYCLE, frames=[0, 1])
