"""A segmentation file carries names, colours and codes to Slicer, and appears complete or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import confuda
from confuda.errors import InputError, UsageError
from confuda.io.segmentation_file import read_segmentation, write_segmentation
from confuda.labels import DATASET_VALUES, LV, MYO, OWN_TERMINOLOGY, RV, SCAR, STRUCTURES, map_labels

ENDINGS = ["seg.nrrd", "nii.gz", "nii", "nrrd", "mha"]


def make_labelmap(seed=0, shape=(4, 12, 14)):
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8))
    image.SetSpacing((1.25, 1.5, 8.0))
    image.SetOrigin((-30.0, 12.5, 70.0))
    image.SetDirection((0.8, 0.0, 0.6, 0.0, -1.0, 0.0, 0.6, 0.0, -0.8))
    return image


def set_fields(image, segments):
    """Slicer's header fields for (name, label value, layer) of each segment."""
    for number, (name, value, layer) in enumerate(segments):
        image.SetMetaData(f"Segment{number}_ID", f"Segment_{number}")
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(value))
        image.SetMetaData(f"Segment{number}_Layer", str(layer))
    return image


def check_same(image, expected):
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(expected))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(image, name)(), getattr(expected, name)(), atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_back_on_the_same_grid(tmp_path, ending):
    path = write_segmentation(make_labelmap(), tmp_path / f"Ergebnis ä.{ending}")
    check_same(read_segmentation(path), make_labelmap())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_empty_segmentation_is_written_and_read(tmp_path):
    empty = make_labelmap() * 0
    check_same(read_segmentation(write_segmentation(empty, tmp_path / "empty.seg.nrrd")), empty)


def test_slicer_finds_names_colours_and_codes_in_the_header(tmp_path):
    path = write_segmentation(make_labelmap(), tmp_path / "heart.seg.nrrd")
    header = sitk.ReadImage(str(path))
    fields = {key: header.GetMetaData(key) for key in header.GetMetaDataKeys()}
    assert [fields[f"Segment{k}_ID"] for k in range(3)] == ["MYO", "LV", "RV"]
    assert [fields[f"Segment{k}_Name"] for k in range(3)] == ["Myocardium", "Left ventricle", "Right ventricle"]
    assert [fields[f"Segment{k}_LabelValue"] for k in range(3)] == ["1", "2", "3"]
    # Slicer takes the extent of a layer's first segment for all of its segments: it has to be the whole grid.
    assert {fields[f"Segment{k}_Extent"] for k in range(3)} == {"0 13 0 11 0 3"}
    assert {fields[f"Segment{k}_Layer"] for k in range(3)} == {"0"}
    colors = [[round(255 * float(x)) for x in fields[f"Segment{k}_Color"].split()] for k in range(3)]
    assert colors == [[0, 158, 115], [213, 94, 0], [0, 114, 178]]
    assert fields["Segment1_Tags"] == (
        "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^87878005^Left ventricle~^^~~^^~^^|"
    )
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert fields["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"


def test_slicer_is_told_the_grid_in_ras_so_that_saving_again_crops_nothing(tmp_path):
    image = make_labelmap()
    header = sitk.ReadImage(str(write_segmentation(image, tmp_path / "heart.seg.nrrd")))
    name, value, description = header.GetMetaData("Segmentation_ConversionParameters").rstrip("&").split("|")
    assert (name, description) == ("Reference image geometry", "")
    numbers = [float(number) for number in value.rstrip(";").split(";")]
    index = (13, 11, 3)
    ras = np.reshape(numbers[:16], (4, 4)) @ (*index, 1)
    lps = image.TransformIndexToPhysicalPoint(index)
    np.testing.assert_allclose(ras, (-lps[0], -lps[1], lps[2], 1), atol=1e-6)
    assert numbers[16:] == [0, 13, 0, 11, 0, 3]


def test_the_terminology_file_agrees_with_the_segments():
    resources = Path(confuda.__file__).resolve().parents[1] / "Resources"
    terminology = json.loads((resources / "ConFUDA.term.json").read_text(encoding="utf-8"))
    assert terminology["SegmentationCategoryTypeContextName"] == OWN_TERMINOLOGY
    types = {
        entry["CodeValue"]: (category, entry)
        for category in terminology["SegmentationCodes"]["Category"]
        for entry in category["Type"]
    }
    for structure in (*STRUCTURES, SCAR):
        category, entry = types[structure.code]
        assert entry["CodeMeaning"] == structure.display_name
        assert tuple(entry["recommendedDisplayRGBValue"]) == structure.color
        assert (
            f"SCT^{category['CodeValue']}^{category['CodeMeaning']}~SCT^{structure.code}" in structure.terminology_entry
        )


def test_metadata_of_the_volume_does_not_reach_the_file(tmp_path):
    labelmap = make_labelmap()
    labelmap.SetMetaData("0010|0010", "Doe^Jane")
    for ending in ENDINGS:
        path = write_segmentation(labelmap, tmp_path / f"result.{ending}")
        assert b"Doe" not in path.read_bytes()
    assert labelmap.GetMetaData("0010|0010") == "Doe^Jane"


def test_labels_that_are_not_ours_are_not_written(tmp_path):
    with pytest.raises(InputError, match="200"):
        write_segmentation(make_labelmap() * 200, tmp_path / "heart.seg.nrrd")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["heart.txt", "heart", "heart.dcm", ".nii.gz"])
def test_an_unknown_ending_is_refused_and_the_known_ones_named(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.seg\.nrrd, \.nii\.gz, \.nii, \.nrrd or \.mha"):
        write_segmentation(make_labelmap(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs names of any bytes")
def test_a_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no valid text"):
        write_segmentation(make_labelmap(), tmp_path / os.fsdecode(b"\xff.nii.gz"))


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(InputError, match="missing does not exist"):
        write_segmentation(make_labelmap(), tmp_path / "missing" / "heart.nii.gz")
    (tmp_path / "heart.seg.nrrd").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        write_segmentation(make_labelmap(), tmp_path / "heart.seg.nrrd")
    with pytest.raises(InputError, match="name is too long"):
        write_segmentation(make_labelmap(), tmp_path / f"{'n' * 300}.nii.gz")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a folder that not even root may write to")
def test_a_read_only_folder_is_named():
    with pytest.raises(InputError, match="Cannot write /proc/heart.nii.gz"):
        write_segmentation(make_labelmap(), "/proc/heart.nii.gz")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path):
    paths = [write_segmentation(make_labelmap(1), tmp_path / f"heart.{ending}") for ending in ENDINGS]
    script = (
        "import resource, signal, sys, numpy, SimpleITK as sitk\n"
        "from confuda.io.segmentation_file import write_segmentation\n"
        "from confuda.errors import InputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "labels = numpy.random.default_rng(0).integers(0, 4, (20, 64, 64)).astype('uint8')\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        write_segmentation(sitk.GetImageFromArray(labels), path)\n"
        "    except InputError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, check=True)
    messages = done.stdout.splitlines()
    assert len(messages) == len(paths)
    for path, message in zip(paths, messages):
        assert message.startswith(f"Cannot write {path}: ")
        check_same(read_segmentation(path), make_labelmap(1))
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize("dataset", sorted(DATASET_VALUES))
def test_labels_of_each_data_set_are_mapped_by_structure(tmp_path, dataset):
    values = DATASET_VALUES[dataset]
    theirs = np.array([[[0, values["MYO"], values["LV"], values["RV"]]]], np.int16)
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(theirs), str(path))
    labels = sitk.GetArrayFromImage(read_segmentation(path, dataset))
    assert labels.tolist() == [[[0, MYO.label, LV.label, RV.label]]]


def test_without_a_hint_ms_cmrseg_is_recognised_and_small_values_are_our_own(tmp_path):
    path = tmp_path / "labels.nii.gz"
    for theirs, ours in (([0, 200, 600], [0, 1, 3]), ([0, 1, 3], [0, 1, 3]), ([0, 0, 0], [0, 0, 0])):
        sitk.WriteImage(sitk.GetImageFromArray(np.array([[theirs]], np.float32)), str(path))
        assert sitk.GetArrayFromImage(read_segmentation(path)).ravel().tolist() == ours


@pytest.mark.parametrize("values", [[0, 1, 7], [0, 200, 421], [0, 0.5, 1], [0, -1, 1]])
def test_unexpected_label_values_are_listed_with_the_file(tmp_path, values):
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[values]], np.float32)), str(path))
    unexpected = next(f"{value:g}" for value in values if value not in (0, 1, 200))
    with pytest.raises(InputError, match=rf"labels\.nii\.gz.*{unexpected}"):
        read_segmentation(path)


def test_an_unknown_data_set_is_a_wrong_usage():
    with pytest.raises(UsageError, match="acdc"):
        map_labels(np.zeros((1, 2, 2)), "brain")


def test_segments_are_read_by_name_whatever_their_values_and_layers(tmp_path):
    ours = make_labelmap()
    voxels = sitk.GetArrayFromImage(ours)
    first = np.where(voxels == 1, 5, np.where(voxels == 3, 7, 0)).astype(np.uint8)
    second = (voxels == 2).astype(np.uint8)
    layers = sitk.GetImageFromArray(np.stack([first, second], axis=-1), isVector=True)
    layers.CopyInformation(ours)
    segments = [("right VENTRICLE", 7, 0), ("myo", 5, 0), ("Left ventricle", 1, 1), ("Scar", 1, 1)]
    path = tmp_path / "edited.seg.nrrd"
    sitk.WriteImage(set_fields(layers, segments), str(path), useCompression=True)
    check_same(read_segmentation(path), ours)


def test_overlapping_or_repeated_or_unknown_segments_are_refused(tmp_path):
    path = tmp_path / "edited.seg.nrrd"
    ones = np.ones((2, 3, 3, 2), np.uint8)
    for segments, words in (
        ([("LV", 1, 0), ("RV", 1, 1)], "RV and LV overlap"),
        ([("LV", 1, 0), ("left ventricle", 1, 1)], "two segments for LV"),
        ([("Liver", 1, 0), ("Spleen", 1, 1)], "no segment of a known name"),
    ):
        sitk.WriteImage(set_fields(sitk.GetImageFromArray(ones, isVector=True), segments), str(path))
        with pytest.raises(InputError, match=words):
            read_segmentation(path)
