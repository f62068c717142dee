"""What a job is told as in plain text: what was asked for, each figure with its unit."""

from confuda.app.outcome import describe_outcome
from confuda.measure.function import measure_function

PLAIN = {
    "output": "heart.seg.nrrd",
    "volumes_ml": {"MYO": 100.0, "LV": 120.04, "RV": 150.0},
    "seconds": {"total": 9.6},
    "adaptation": None,
}


def test_a_volume_is_told_in_one_line() -> None:
    assert describe_outcome(PLAIN) == ["heart.seg.nrrd: MYO 100.0 mL, LV 120.0 mL, RV 150.0 mL (10 s)"]


def test_a_cine_tells_the_ejection_fractions() -> None:
    frames = [{"MYO": 100.0, "LV": 120.0, "RV": 150.0}, {"MYO": 104.0, "LV": 48.0, "RV": 90.0}]
    lines = describe_outcome({**PLAIN, "function": measure_function(frames).describe()})
    assert lines[0].startswith("heart.seg.nrrd: at end-diastole, MYO 100.0 mL")
    assert lines[1] == (
        "function: ejection fraction LV 60 % (from 120.0 mL to 48.0 mL), "
        "ejection fraction RV 40 % (from 150.0 mL to 90.0 mL), LV mass 105.0 g"
    )


def test_a_fraction_that_does_not_exist_is_no_number() -> None:
    function = measure_function([{"MYO": 100.0, "LV": 120.0, "RV": 0.0}]).describe()
    line = describe_outcome({**PLAIN, "function": function})[1]
    assert "LV unknown (from 120.0 mL to unknown)" in line and "RV unknown (from unknown to unknown)" in line


def test_wall_scar_and_adaptation_follow() -> None:
    segment = {"segment": 1}
    summary = {
        **PLAIN,
        "wall": {"segments": [segment] * 12, "not_given": [segment] * 5, "mean_thickness_mm": 9.76},
        "scar": {
            "method": "fwhm",
            "scar_ml": 12.86,
            "scar_g": 13.5,
            "scar_percent_of_lv_mass": 13.01,
            "note": "Not a diagnosis.",
        },
        "adaptation": {"text": "Not adapted, since the network is sure."},
    }
    assert describe_outcome(summary)[1:] == [
        "wall: mean thickness 9.8 mm, 12 of 17 segments",
        "scar (fwhm): 12.9 mL, 13.5 g, 13.0 % of the LV mass. Not a diagnosis.",
        "Not adapted, since the network is sure.",
    ]
    # What was asked for and could not be measured is told by the run's warnings.
    assert len(describe_outcome({**PLAIN, "wall": None, "scar": None})) == 1
