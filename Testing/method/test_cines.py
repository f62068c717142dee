"""Cines: 4-D files, sequences as 3D Slicer saves them, and DICOM of every layout, frame by frame in order of time."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.method.test_dicom_stacks import check_refused, check_same
from Testing.scanner_files import Study, make_enhanced, make_image, save, write_cine, write_series

from confuda.errors import UsageError
from confuda.io.cine_file import write_cine as write_frames
from confuda.io.volume_file import read_cine, read_volume


@pytest.fixture()
def frames():
    return [make_image(seed=seed) for seed in range(3)]


def write_slicer_sequence(path, frames):
    """The list axis first, as 3D Slicer writes it; directions in its RAS."""
    data = np.stack([sitk.GetArrayFromImage(frame).astype("<i2") for frame in frames], -1)
    rows, columns = frames[0].GetSpacing()[1], frames[0].GetSpacing()[0]
    header = (
        "NRRD0005\ntype: short\ndimension: 4\nspace: left-posterior-superior\n"
        f"sizes: {data.shape[3]} {data.shape[2]} {data.shape[1]} {data.shape[0]}\n"
        f"space directions: none ({columns},0,0) (0,{rows},0) (0,0,8)\nkinds: list domain domain domain\n"
        "endian: little\nencoding: gzip\nspace origin: (0,0,0)\naxis 0 index type:=numeric\n\n"
    )
    path.write_bytes(header.encode() + gzip.compress(data.tobytes()))
    return path


def check_cine(cine, frames):
    assert len(cine.frames) == len(frames)
    for image, expected in zip(cine.frames, frames):
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(expected))
        np.testing.assert_allclose(image.GetSpacing(), expected.GetSpacing(), atol=1e-4)
        assert image.GetMetaDataKeys() == ()


@pytest.mark.parametrize("one_series", [True, False])
def test_a_classic_cine_is_sorted_by_trigger_time(tmp_path, frames, one_series):
    write_cine(tmp_path, frames, one_series)
    check_refused(tmp_path, "a cine of 3 phases of 5 slices, sorted by trigger time", "--frames N (0 to 2)")
    notes = [] if one_series else ["5 DICOM series of one slice each"]
    for number, frame in enumerate(frames):
        check_same(read_volume(tmp_path, frame=number), frame, *notes)
    check_refused(tmp_path, "has no frame 3", frame=3)
    cine = read_cine(tmp_path)
    check_cine(cine, frames)
    np.testing.assert_allclose(cine.times_ms, [2, 42, 82])


def test_an_enhanced_cine_is_sorted_by_place_and_temporal_position(tmp_path, frames):
    path = save(make_enhanced(frames, [3, 0, 4, 1, 2]), tmp_path / "cine.dcm")
    check_refused(path, "a cine of 3 phases of 5 slices, sorted by temporal position", "--frames")
    check_same(read_volume(path, frame=1), frames[1])
    check_cine(read_cine(path), frames)


def test_phases_without_times_are_sorted_by_instance_number(tmp_path, frames):
    series = "1.2.3"
    for phase, frame in enumerate(frames):

        def number_it(header, number, phase=phase):
            header.SeriesInstanceUID, header.InstanceNumber = series, 10 * number + phase
            header.StudyInstanceUID, header.FrameOfReferenceUID = "1.2", "1.2.4"

        write_series(tmp_path / f"{9 - phase}", frame, number_it)
    check_refused(tmp_path, "sorted by instance number")
    check_cine(read_cine(tmp_path), frames)


def test_images_of_several_inversion_times_are_called_so(tmp_path, frames):
    study = Study()
    for number, frame in enumerate(frames):
        tags = {"InversionTime": f"{200 - 50 * number}", "SeriesInstanceUID": "1.2.3"}
        write_series(tmp_path / str(number), frame, study=study, **tags)
    check_refused(tmp_path, "3 images each of 5 slices, which differ in inversion time", "--frames N (0 to 2)")
    check_same(read_volume(tmp_path, frame=0), frames[2])


def test_a_cine_that_lacks_an_image_is_refused(tmp_path, frames):
    write_cine(tmp_path, frames)
    next(tmp_path.iterdir()).unlink()
    check_refused(tmp_path, "2 to 3 images at one place", "an incomplete cine", frame=0)


def test_a_frame_chooses_the_cine_of_a_study(tmp_path, frames):
    write_cine(tmp_path / "cine", frames)
    write_series(tmp_path / "still", make_image(seed=7), SeriesDescription="LGE SAX")
    check_refused(tmp_path, "2 DICOM series", "5 slices of 3 phases")
    check_same(read_volume(tmp_path, frame=2), frames[2], "'cine SAX'")


def test_a_4d_nifti_file_gives_its_frames(tmp_path, frames):
    path = tmp_path / "cine.nii.gz"
    sitk.WriteImage(sitk.JoinSeries(frames), str(path))
    check_refused(path, "a cine of 3 frames", "--frames N (0 to 2)")
    check_same(read_volume(path, frame=2), frames[2])
    check_refused(path, "has no frame 3", frame=3)
    check_refused(path, "has no frame -1", frame=-1)
    check_cine(read_cine(path), frames)


def test_a_sequence_of_3d_slicer_is_a_cine(tmp_path, frames):
    path = write_slicer_sequence(tmp_path / "cine.seq.nrrd", frames)
    check_refused(path, "a cine of 3 frames", "--frames")
    for frame in frames:
        frame.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
        frame.SetOrigin((0, 0, 0))
    check_same(read_volume(path, frame=1), frames[1])
    check_cine(read_cine(path), frames)
    one = write_slicer_sequence(tmp_path / "one.seq.nrrd", frames[:1])
    check_same(read_volume(one), frames[0])


def test_a_volume_is_a_cine_of_one_frame(tmp_path):
    sitk.WriteImage(make_image(), str(tmp_path / "volume.nrrd"))
    check_cine(read_cine(tmp_path / "volume.nrrd"), [make_image()])
    check_same(read_volume(tmp_path / "volume.nrrd", frame=0), make_image())
    check_refused(tmp_path / "volume.nrrd", "has no frame 1", frame=1)


def test_a_series_is_chosen_of_dicom_only(tmp_path):
    sitk.WriteImage(make_image(), str(tmp_path / "volume.nrrd"))
    with pytest.raises(UsageError, match="no DICOM"):
        read_volume(tmp_path / "volume.nrrd", series=1)


def test_places_that_differ_by_rounding_give_frames_on_one_grid(tmp_path, frames):
    for number, frame in enumerate(frames):
        frame.SetOrigin(np.add(frame.GetOrigin(), 0.005 * number).tolist())
    cine = read_cine(write_cine(tmp_path / "cine", frames))
    check_cine(cine, frames)
    assert all(image.IsSameImageGeometryAs(cine.frames[0]) for image in cine.frames)
    write_frames(cine.frames, tmp_path / "cine.seq.nrrd")
