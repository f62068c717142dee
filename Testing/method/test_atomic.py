"""What is written appears whole or not at all, and replaces what was there only then."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from confuda.errors import InputError
from confuda.io.atomic import name_draft, remove_left_drafts, replace_file, replace_folder, write_text
from confuda.io.lock import hold_lock

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"


def list_names(folder: Path):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_it_is_whole(tmp_path) -> None:
    place = tmp_path / "a.json"
    place.write_text("old")
    with replace_file(place) as draft:
        draft.write_text("new")
        assert place.read_text() == "old" and draft.parent == tmp_path and draft.suffix == ".json"
    assert place.read_text() == "new" and list_names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_where_writing_fails_the_old_file_stays_and_no_draft(tmp_path, error) -> None:
    place = tmp_path / "a.json"
    place.write_text("old")
    with pytest.raises(type(error)):
        with replace_file(place) as draft:
            draft.write_text("half")
            raise error
    assert place.read_text() == "old" and list_names(tmp_path) == ["a.json"]


def test_text_is_written_as_it_is(tmp_path) -> None:
    write_text(tmp_path / "a.csv", "Größe\r\n1\n")
    assert (tmp_path / "a.csv").read_bytes() == "Größe\r\n1\n".encode()


def test_a_missing_folder_is_the_systems_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "none" / "a.txt", "text")


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path) -> None:
    place = tmp_path / "bundle"
    for content in ("old", "new"):
        with replace_folder(place) as draft:
            (draft / content).write_text(content)
    assert list_names(place) == ["new"] and list_names(tmp_path) == ["bundle"]
    with pytest.raises(ValueError):
        with replace_folder(place) as draft:
            (draft / "half").write_text("half")
            raise ValueError
    assert list_names(place) == ["new"] and list_names(tmp_path) == ["bundle"]


def test_a_folder_is_replaced_in_two_steps_where_the_system_has_no_exchange(tmp_path, monkeypatch) -> None:
    """Windows and macOS; also where a process was killed between the steps and left the former folder."""
    monkeypatch.setattr(sys, "platform", "darwin")
    place, left = tmp_path / "bundle", tmp_path / ".bundle-former"
    for content in ("old", "new"):
        left.mkdir(exist_ok=True)
        (left / "left").write_text("left")
        with replace_folder(place) as draft:
            (draft / content).write_text(content)
    assert list_names(place) == ["new"] and list_names(tmp_path) == ["bundle"]


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked there, so nothing is removed")
def test_the_draft_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path) -> None:
    (tmp_path / f"{name_draft()}.json").write_text("half, and its writer is dead")
    program = (
        "import sys, time; from pathlib import Path; from confuda.io.atomic import replace_file\n"
        "with replace_file(Path(sys.argv[1])) as draft:\n"
        "    draft.write_text('half'); print(draft.name, flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a.json")],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        living = writer.stdout.readline().strip()
        remove_left_drafts(tmp_path)
        assert living in list_names(tmp_path)
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    remove_left_drafts(tmp_path)
    assert list_names(tmp_path) == []


def test_writers_do_not_wait_for_each_other(tmp_path) -> None:
    with replace_file(tmp_path / "a") as first, replace_file(tmp_path / "b") as second:
        first.write_text("a")
        second.write_text("b")
    assert list_names(tmp_path) == ["a", "b"]


def test_a_lock_that_cannot_be_is_told(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        with hold_lock(tmp_path / "file" / "lock"):
            pass


def test_a_lock_is_waited_for_no_longer_than_asked(tmp_path) -> None:
    with hold_lock(tmp_path / "lock") as ours:
        assert ours
        began = time.monotonic()
        with hold_lock(tmp_path / "lock", wait_s=0.2) as again:
            assert not again
        assert time.monotonic() - began >= 0.2
    with hold_lock(tmp_path / "lock") as ours:
        assert ours
