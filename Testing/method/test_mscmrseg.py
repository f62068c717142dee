"""MS-CMRSeg as it comes: both layouts, label values by name, and refusals that name the path that was expected."""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.conftest import make_heart
from Testing.method.toy_mscmrseg import write_patient

from confuda.errors import InputError
from confuda.training.acdc import find_acdc_cases
from confuda.training.mscmrseg import DATASET, find_mscmrseg_patients
from confuda.training.slices import load_slices


@pytest.mark.parametrize("registered", [True, False])
def test_both_layouts_give_images_and_labels_by_name(tmp_path, registered) -> None:
    for number in (10, 2):
        write_patient(tmp_path, number, registered)
    patients = find_mscmrseg_patients(tmp_path)
    assert [patient.name for patient in patients] == ["patient2", "patient10"]
    assert all(patient.is_registered is registered for patient in patients)
    _, truth = make_heart(slices=3, seed=2)
    for sequence in ("C0", "T2", "LGE"):
        slices = load_slices([patients[0].make_case(sequence)], 1.5, 96, DATASET)
        for label in (1, 2, 3):
            assert (slices.labels == label).sum() == (sitk.GetArrayFromImage(truth) == label).sum()
    # The images are those of the sequence: blood is the brightest in bSSFP, the darkest in T2.
    blood = {
        sequence: load_slices([patients[0].make_case(sequence)], 1.5, 96, DATASET).images[slices.labels == 2].mean()
        for sequence in ("C0", "T2")
    }
    assert blood["C0"] > 180 and blood["T2"] < 80


@pytest.mark.parametrize("missing", ["folder", "files"])
def test_a_folder_without_volumes_names_what_it_should_hold(tmp_path, missing) -> None:
    folder = tmp_path / "data" if missing == "folder" else tmp_path
    with pytest.raises(InputError, match=str(folder / "patient1_C0.nii.gz")):
        find_mscmrseg_patients(folder)


def test_labels_without_an_image_are_refused(tmp_path) -> None:
    write_patient(tmp_path, 1, registered=False)
    (tmp_path / "patient1_LGE.nii.gz").unlink()
    with pytest.raises(InputError, match=str(tmp_path / "patient1_LGE.nii.gz")):
        find_mscmrseg_patients(tmp_path)
    write_patient(tmp_path, 1, registered=False)
    (tmp_path / "patient7_manual.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=str(tmp_path / "patient7_C0.nii.gz")):
        find_mscmrseg_patients(tmp_path)


def test_a_sequence_or_labels_that_are_not_there_are_named(tmp_path) -> None:
    write_patient(tmp_path, 1, registered=False, labelled=["C0"])
    (tmp_path / "patient1_T2.nii.gz").unlink()
    (patient,) = find_mscmrseg_patients(tmp_path)
    assert patient.has_labelled("C0") and not patient.has_labelled("LGE") and not patient.has_labelled("T2")
    with pytest.raises(InputError, match=str(tmp_path / "patient1_T2.nii.gz")):
        patient.make_case("T2")
    with pytest.raises(InputError, match=f"{tmp_path / 'patient1_LGE_manual.nii.gz'}.*patient1_manual.nii.gz"):
        patient.make_case("LGE")


def test_labels_that_do_not_fit_are_refused(tmp_path) -> None:
    write_patient(tmp_path, 1)
    manual = tmp_path / "patient1_manual.nii.gz"
    (patient,) = find_mscmrseg_patients(tmp_path)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 90, 96), np.int16)), str(manual))
    with pytest.raises(InputError, match="patient1_manual.nii.gz has another size"):
        load_slices([patient.make_case("C0")], 1.5, 96, DATASET)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 96, 96), 3, np.int16)), str(manual))
    with pytest.raises(InputError, match="200 MYO"):
        load_slices([patient.make_case("C0")], 1.5, 96, DATASET)
    manual.write_bytes(manual.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        load_slices([patient.make_case("C0")], 1.5, 96, DATASET)


def test_sequences_in_folders_of_their_own_are_joined_by_patient(tmp_path) -> None:
    for folder in ("bssfp", "native", "registered"):
        (tmp_path / folder).mkdir()
    for number, sequences in ((1, ("C0", "LGE")), (2, ("C0",)), (3, ("LGE",)), (4, ())):
        write_patient(tmp_path / "registered", number)
        write_patient(tmp_path / "bssfp", number, registered=False)
        write_patient(tmp_path / "native", number, registered=False)
        for folder, own in (("bssfp", "C0"), ("native", "LGE")):
            for path in (tmp_path / folder).glob(f"patient{number}_*"):
                if own not in sequences or f"_{own}" not in path.name:
                    path.unlink()
    patients = find_mscmrseg_patients(tmp_path)
    labelled = [{sequence for sequence in patient.images if patient.has_labelled(sequence)} for patient in patients]
    assert [patient.number for patient in patients] == [1, 2, 3]
    assert labelled == [{"C0", "LGE"}, {"C0"}, {"LGE"}]
    assert not any(patient.is_registered for patient in patients)
    for patient in patients:
        assert patient.images["T2"].parent.name == "registered"
        assert not (patient.images.keys() & {"C0"}) or patient.images["C0"].parent.name == "bssfp"
    with pytest.raises(InputError, match=str(tmp_path / "bssfp" / "patient3_C0.nii.gz")):
        patients[2].make_case("C0")


def test_the_real_folders_are_read(shared_data) -> None:
    """Every patient of each folder has the labels that the folder's own README tells of."""
    folder = shared_data / "MS-CMRSeg"
    registered = find_mscmrseg_patients(folder / "registered")
    native = find_mscmrseg_patients(folder / "native")
    cine = find_mscmrseg_patients(folder / "bssfp")
    assert (len(registered), len(native), len(cine)) == (30, 15, 23)
    assert all(patient.has_labelled(sequence) for patient in registered for sequence in ("C0", "T2", "LGE"))
    assert all(patient.has_labelled("LGE") and "C0" not in patient.images for patient in native)
    assert all(patient.has_labelled("C0") and "LGE" not in patient.images for patient in cine)
    for case in (native[0].make_case("LGE"), cine[0].make_case("C0")):
        assert set(np.unique(load_slices([case], 1.5, 96, DATASET).labels)) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["ACDC", "MnMs"])
def test_the_real_folders_in_acdcs_layout_are_read(shared_data, name) -> None:
    cases = find_acdc_cases(shared_data / name / "training")
    assert len(cases) == 200 and len({case.patient for case in cases}) == 100
    assert set(np.unique(load_slices(cases[:1], 1.5, 96).labels)) == {0, 1, 2, 3}
