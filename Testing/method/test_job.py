"""One definition of a job: command line, JSON and Python take the same, within the same bounds."""

import argparse
import json
from pathlib import Path

import pytest
from Testing.packaging.documents import run_examples

from confuda.app.job import ADAPT, READ, Job, add_options, check_values, list_fields, parse_job, read_options
from confuda.errors import UsageError

DEVELOPERS = Path(__file__).resolve().parents[2] / "docs" / "developers.md"

GIVEN = {
    "volume": "v.nrrd", "output": "o.nrrd", "mode": "one-shot", "slice": 3, "method": "fuda", "preset": "fast",
    "bundle": "b", "device": "cuda:1", "seed": 7, "center": [40.5, 12.0], "settings": {"steps": 5, "optimizer": "sgd"},
    "save_bundle": "s", "report": "r", "uncertainty": "u.nrrd", "frames": 2, "series": 1, "spacing_mm": [1.5, 1.5, 8.0],
    "threads": 2, "wall": True, "scar": "5sd", "output_labels": "acdc", "csv": "n.csv",
    "height_cm": None, "weight_kg": None,
}  # fmt: skip
ARGUMENTS = (
    "v.nrrd -o o.nrrd --mode one-shot --slice 3 --method fuda --preset fast --bundle b --device cuda:1 --seed 7 "
    "--center 40.5,12 --set steps=5 --set optimizer=sgd --save-bundle s --report r --uncertainty u.nrrd --frames 2 "
    "--series 1 --spacing 1.5,1.5,8 --threads 2 --wall --scar 5sd --output-labels acdc --csv n.csv"
).split()


def read_arguments(arguments) -> Job:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return Job(**read_options(parser.parse_args(arguments)))


def test_command_line_json_and_python_make_the_same_job() -> None:
    job = parse_job(json.dumps(GIVEN))
    assert read_arguments(ARGUMENTS) == job == Job(**GIVEN)
    assert job.volume == Path("v.nrrd") and job.center == (40.5, 12.0) and job.settings["steps"] == 5
    assert set(GIVEN) == {entry.name for entry in list_fields() if entry.metadata["flag"] is not None}


def test_defaults_are_the_same_too() -> None:
    least = {"volume": "v.nrrd", "output": "o.nrrd"}
    assert read_arguments(["v.nrrd", "-o", "o.nrrd"]) == parse_job(json.dumps(least)) == Job(**least)


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("mode", "no-shot", "no-shot"),
        ("method", "magic", "magic"),
        ("preset", "instant", "instant"),
        ("device", "tpu", "tpu"),
        ("seed", "-1", -1),
        ("seed", "4294967296", 4294967296),
        ("slice", "2", 2),
        ("center", "1,nan", [1, float("inf")]),
        ("frames", "-1", -1),
        ("frames", "systole", "systole"),
        ("scar", "half", "half"),
        ("output_labels", "kits", "kits"),
        ("height_cm", "1.8", 1.8),
        ("weight_kg", "none", "none"),
        ("spacing_mm", "1,1,0", [1, 1, 0]),
        ("threads", "0", 0),
        ("settings", "steps=0", {"steps": 0}),
        ("settings", "warmth=1", {"warmth": 1}),
    ],
)
def test_what_one_refuses_all_refuse(name, text, value, capsys) -> None:
    flags = {entry.name: entry.metadata["flag"] or f"--{entry.name}" for entry in list_fields()}
    with pytest.raises((UsageError, SystemExit)):
        read_arguments(["v.nrrd", "-o", "o.nrrd", f"{flags[name]}={text}"])
    with pytest.raises(UsageError):
        parse_job(json.dumps({"volume": "v.nrrd", "output": "o.nrrd", name: value}))
    with pytest.raises(UsageError):
        Job("v.nrrd", "o.nrrd", **{name: value}).check()
    with pytest.raises(UsageError):
        check_values({name: value})


def test_a_cine_takes_all_frames_and_the_bodys_size() -> None:
    values = {"volume": "v.nrrd", "output": "o.seq.nrrd", "frames": "all", "height_cm": 180, "weight_kg": 80.5}
    arguments = "v.nrrd -o o.seq.nrrd --frames all --height-cm 180 --weight-kg 80.5".split()
    assert read_arguments(arguments) == parse_job(json.dumps(values)) == Job(**values)
    with pytest.raises(UsageError, match="go with a cine"):
        check_values({"height_cm": 180})
    for name, value in (("scar", "fwhm"), ("uncertainty", "u.nrrd"), ("slice", 2)):
        with pytest.raises(UsageError):
            check_values({"frames": "ed,es", "mode": "one-shot", name: value})


def test_uses_are_arguments_of_the_reader_and_of_the_segmenter() -> None:
    import inspect

    from confuda import Segmenter, read_volume

    job = Job("v.nrrd", "o.nrrd")
    assert set(job.list_for(ADAPT)) | {"self", "volume"} == set(
        inspect.signature(Segmenter.adapt_and_segment).parameters
    )
    # Of a cine the reader takes one frame; of several, another reader takes them all.
    assert set(job.list_for(READ)) | {"path", "frame"} == set(inspect.signature(read_volume).parameters)


def test_paths_of_a_job_are_known() -> None:
    assert [str(path) for path in Job(**GIVEN).list_paths()] == ["v.nrrd", "o.nrrd", "b", "s", "r", "u.nrrd", "n.csv"]


def test_option_of_the_documentation_reaches_command_line_and_worker() -> None:
    names = {}
    assert run_examples(DEVELOPERS, names, "A new option") == 1
    job = names["job"]
    assert job.most_slices == 20 and job == names["same"]
    with pytest.raises(UsageError, match="most_slices must lie between 1 and 500"):
        parse_job('{"volume": "v.nrrd", "output": "o.nrrd", "most_slices": 0}', names["LimitedJob"])
    assert "refuse volumes of more slices" in " ".join(names["parser"].format_help().split())
