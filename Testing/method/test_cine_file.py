"""Cines and their label maps as files: what is read back is what was written, on the same grid."""

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from confuda.errors import InputError, UsageError
from confuda.io.cine_file import write_cine, write_cine_labels
from confuda.io.volume_file import read_cine, read_volume


def make_frames(count: int = 4, kind=np.uint8):
    """Frames without any symmetry, on an oblique grid."""
    random = np.random.default_rng(1)
    turned = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.4, 1.1).GetMatrix()
    frames = []
    for _ in range(count):
        frame = sitk.GetImageFromArray(random.integers(0, 4, (3, 5, 7)).astype(kind))
        frame.SetSpacing((1.25, 1.5, 8.0))
        frame.SetOrigin((-20.5, 3.25, 100.0))
        frame.SetDirection(turned)
        frames.append(frame)
    return frames


@pytest.mark.parametrize("name", ["cine.nii.gz", "cine.nii", "CINE.NII.GZ"])
def test_a_nifti_file_holds_the_frames_as_its_fourth_axis(tmp_path, name: str) -> None:
    frames = make_frames()
    read = sitk.ReadImage(str(write_cine_labels(frames, tmp_path / name)))
    assert read.GetSize() == (7, 5, 3, 4)
    for number, frame in enumerate(frames):
        assert np.array_equal(sitk.GetArrayFromImage(read[..., number]), sitk.GetArrayFromImage(frame))
    assert np.allclose(read[..., 0].GetDirection(), frames[0].GetDirection(), atol=1e-5)
    assert np.allclose(read.GetOrigin()[:3], frames[0].GetOrigin(), atol=1e-4)
    assert np.allclose(read.GetSpacing()[:3], frames[0].GetSpacing())


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_sequence_holds_the_frames_as_a_list(tmp_path, kind) -> None:
    frames = make_frames(kind=kind)
    read = sitk.ReadImage(str(write_cine(frames, tmp_path / "cine.seq.nrrd")))
    assert read.GetSize() == (7, 5, 3) and read.GetNumberOfComponentsPerPixel() == 4
    values = sitk.GetArrayFromImage(read)
    assert values.dtype == kind
    for number, frame in enumerate(frames):
        assert np.array_equal(values[..., number], sitk.GetArrayFromImage(frame))
    assert np.allclose(read.GetDirection(), frames[0].GetDirection())
    assert np.allclose(read.GetOrigin(), frames[0].GetOrigin())
    assert np.allclose(read.GetSpacing(), frames[0].GetSpacing())


@pytest.mark.parametrize("name", ["cine.seq.nrrd", "cine.nii.gz"])
def test_a_frame_may_be_chosen_by_a_number_of_numpys(tmp_path, name) -> None:
    random = np.random.default_rng(0).integers(0, 900, (3, 5, 30, 40)).astype(np.int16)
    frames = [sitk.GetImageFromArray(voxels) for voxels in random]
    for frame in frames:
        frame.SetSpacing((1.25, 1.5, 8.0))
    path = write_cine(frames, tmp_path / name)
    for number in (np.int64(1), np.uint8(2)):
        assert np.array_equal(sitk.GetArrayFromImage(read_volume(path, frame=number).image), random[number])


def test_the_same_cine_gives_the_same_bytes(tmp_path) -> None:
    first, second = (write_cine(make_frames(), tmp_path / f"{name}.seq.nrrd").read_bytes() for name in "ab")
    assert first == second


def test_what_is_no_cine_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=".seq.nrrd, .nii.gz or .nii"):
        write_cine_labels(make_frames(), tmp_path / "cine.seg.nrrd")
    with pytest.raises(InputError, match="at least one frame"):
        write_cine_labels([], tmp_path / "cine.nii.gz")
    moved = make_frames()
    moved[2].SetOrigin((0, 0, 0))
    with pytest.raises(InputError, match="one grid"):
        write_cine_labels(moved, tmp_path / "cine.nii.gz")
    with pytest.raises(InputError, match="4 frames and 2 times"):
        write_cine_labels(make_frames(), tmp_path / "cine.seq.nrrd", times_ms=(0, 40))
    with pytest.raises(InputError, match="label"):
        write_cine_labels([sitk.GetImageFromArray(np.full((2, 3, 4), 9, np.uint8))], tmp_path / "cine.nii.gz")
    with pytest.raises(InputError, match="Cannot write"):
        write_cine_labels(make_frames(), tmp_path / "absent" / "cine.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_several_cines_in_one_file_are_refused(tmp_path) -> None:
    """Five axes: the frames of two hearts in one curve would give an ejection fraction of neither."""
    frames = sitk.JoinSeries(make_frames())
    path = tmp_path / "two.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([frames, frames]), str(path))
    for read in (read_cine, read_volume):
        with pytest.raises(InputError, match="several cines"):
            read(path)


@pytest.mark.parametrize("unit, factor", [("ms", 1), ("s", 1000)])
def test_the_times_of_a_sequence_are_read_back(tmp_path, unit: str, factor: int) -> None:
    path = write_cine(make_noise(), tmp_path / "cine.seq.nrrd", (0, 41.5, 83, 120))
    path.write_bytes(path.read_bytes().replace(b'units: "ms"', f'units: "{unit}"'.encode(), 1))
    assert read_cine(path).times_ms == tuple(factor * time for time in (0, 41.5, 83, 120))


def test_what_tells_no_times_has_none(tmp_path) -> None:
    path = write_cine(make_noise(), tmp_path / "cine.seq.nrrd", (0, 41.5, 83, 120))
    as_written = path.read_bytes()
    for found, other in ((b'units: "ms"', b'units: "mL"'), (b"=0 41.5 83 120", b"=0 41.5 41.5 9"), (b"83", b"nan")):
        path.write_bytes(as_written.replace(found, other, 1))
        assert read_cine(path).times_ms is None
    assert read_cine(write_cine(make_noise(), tmp_path / "plain.seq.nrrd")).times_ms is None
    assert read_cine(write_cine(make_noise(), tmp_path / "plain.nii.gz")).times_ms is None


def make_noise():
    """Frames that nobody takes for labels."""
    random = np.random.default_rng(2)
    frames = [sitk.GetImageFromArray(random.normal(100, 20, (3, 24, 24)).astype(np.float32)) for _ in range(4)]
    for frame in frames:
        frame.SetSpacing((5.0, 5.0, 10.0))
    return frames


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("name", ["cine.nii.gz", "cine.nii", "cine.seq.nrrd"])
def test_a_disk_that_fills_up_leaves_the_old_cine_and_nothing_else(tmp_path, name: str) -> None:
    path = write_cine_labels(make_frames(), tmp_path / name)
    before = path.read_bytes()
    script = (
        "import resource, sys, numpy, SimpleITK as sitk\n"
        "from confuda.io.cine_file import write_cine_labels\n"
        "from confuda.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "labels = numpy.random.default_rng(0).integers(0, 4, (4, 8, 64, 64)).astype('uint8')\n"
        "try:\n"
        "    write_cine_labels([sitk.GetImageFromArray(frame) for frame in labels], sys.argv[1])\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Cannot write {path}: ")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
