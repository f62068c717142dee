"""``kill -9``, two jobs at once, and a wall clock that jumps: outputs are whole, drafts of the dead go, others stay."""

import os
import shutil
import signal

import pytest
from Testing.torture.runs import PATIENCE_S, Place, start_command, start_worker
from Testing.toy_bundle import share_toy_bundle


@pytest.mark.parametrize(
    "program, stage",
    [
        ("confuda", "write"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("worker", "write"), ("worker", "adapt"))),
    ],
)
def test_killed(program, stage, place, seen) -> None:
    """``kill -9`` in a stage (in "write" half of the file is written): the earlier output is intact; at most a hidden
    draft is left, which the next run removes."""
    if program == "worker":
        run = start_worker(place, f"stay:{stage}")
    else:
        run = start_command(place, place.list_arguments(), f"stay:{stage}")
    run.wait_until_paused()
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.finish() == -9
    left = [path.name for path in place.outputs.iterdir() if path != place.output]
    assert place.output.read_bytes() == place.earlier
    assert all(name.startswith(".confuda-") for name in left)
    assert not list(place.temporary.iterdir())
    again = start_command(place, place.list_arguments("--method", "none"))
    assert again.finish() == 0, again.errors[-300:]
    place.check_written()
    seen(f"earlier output intact, {len(left)} hidden draft left; gone after the next run")


def test_drafts_of_the_dead_and_of_the_living(tmp_path, seen) -> None:
    """Drafts of dead and of living writers in one folder: only those of the dead are removed."""
    from confuda.io.atomic import TargetFolder, name_draft

    outputs = tmp_path / "outputs"
    outputs.mkdir()
    old, other = outputs / f"{name_draft()}.nrrd", outputs / ".confuda-notes.txt"
    old.write_bytes(b"half")
    other.write_bytes(b"mine")
    first, second = TargetFolder(outputs), TargetFolder(outputs)
    young = outputs / f"{name_draft()}.nrrd"
    young.write_bytes(b"being written")
    with first.hold():
        assert not old.exists() and young.exists() and other.exists()
        old.write_bytes(b"being written")
        third = TargetFolder(outputs)
        with second.hold(), third.hold():
            assert old.exists() and young.exists(), "a draft was removed while its writer held the folder"
    with third.hold():
        assert not old.exists() and not young.exists() and other.exists()
    seen("removed where nobody writes, kept otherwise; other hidden files stay")


@pytest.mark.slow
def test_two_jobs_on_one_output(place, seen) -> None:
    """Two jobs with other seeds write one output at the same time: both end well, the output is whole and of one of
    them."""
    expected = []
    for seed in ("1", "2"):
        run = start_command(place, place.list_arguments("--seed", seed))
        assert run.finish() == 0, run.errors[-300:]
        expected.append(place.output.read_bytes())
    runs = [start_command(place, place.list_arguments("--seed", seed)) for seed in ("1", "2")]
    assert [run.finish() for run in runs] == [0, 0], [run.errors[-200:] for run in runs]
    assert place.output.read_bytes() in expected
    place.check_written()
    seen("both end with 0; the output is one of the two, whole; nothing else is left")


@pytest.mark.slow
def test_two_jobs_on_one_bundle(place, seen) -> None:
    """Two jobs keep their adapted network under one name, where an earlier bundle lies: one whole bundle."""
    from confuda.bundle.format import load_bundle

    bundle = place.folder / "kept" / "adapted"
    shutil.copytree(share_toy_bundle(), bundle)
    runs = [start_command(place, place.list_arguments("--save-bundle", str(bundle), "--seed", s)) for s in ("1", "2")]
    assert [run.finish() for run in runs] == [0, 0], [run.errors[-200:] for run in runs]
    load_bundle(bundle)
    assert [path for path in bundle.parent.iterdir()] == [bundle]
    place.check_written()
    seen("both end with 0; one whole bundle, nothing else")


@pytest.mark.slow
def test_clock_jumps(tmp_path, seen) -> None:
    """The wall clock of the worker jumps by up to three years at every look: the same labels byte for byte, and
    sensible times."""
    place = Place(tmp_path, ".nrrd")
    run = start_command(place, place.list_arguments("--json"))
    assert run.finish() == 0, run.errors[-300:]
    plain = place.output.read_bytes()
    place.output.write_bytes(place.earlier)
    run = start_worker(place, "clock:1")
    assert run.finish() == 0, run.errors[-300:]
    events = run.read_events()
    etas = [event["eta_s"] for event in events if event.get("eta_s") is not None]
    times = [*events[-1]["summary"]["seconds"].values(), *etas]
    assert all(0 <= value < 2 * PATIENCE_S for value in times)
    assert place.output.read_bytes() == plain
    place.check_written()
    seen("code 0, the same labels byte for byte, sensible times")
