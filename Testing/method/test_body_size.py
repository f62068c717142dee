"""Height and weight from DICOM, in the units of the measurements."""

import pytest
from Testing.conftest import make_heart
from Testing.scanner_files import write_cine, write_series

from confuda.io.dicom_body import read_body_size
from confuda.measure.function import measure_body_surface_area_m2


def test_height_and_weight_are_those_of_the_files(tmp_path) -> None:
    image = make_heart()[0]
    body = read_body_size(write_series(tmp_path / "one", image, PatientSize="1.80", PatientWeight="80"))
    assert body == pytest.approx((180, 80))
    assert measure_body_surface_area_m2(*body) == pytest.approx(2.0)  # Metres there, centimetres here.
    write_cine(tmp_path / "cine", [image, image], PatientSize="1.6", PatientWeight="55.5")
    assert read_body_size(tmp_path / "cine") == pytest.approx((160, 55.5))


def test_what_the_files_do_not_tell_is_none(tmp_path) -> None:
    image = make_heart()[0]
    assert read_body_size(write_series(tmp_path / "none", image)) == (None, None)
    assert read_body_size(write_series(tmp_path / "zero", image, PatientSize="0", PatientWeight="70")) == (None, 70)
