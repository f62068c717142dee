"""Temporary folders are private, and a bug report says what went wrong without saying who patient and user are."""

import os
import time


def test_temporary_folder_is_private_even_with_a_generous_umask(bench, tmp_path):
    from ConFUDASegmentLib.machine import Workspace

    former = os.umask(0)
    try:
        workspace = Workspace(str(tmp_path))
    finally:
        os.umask(former)
    if os.name != "nt":
        assert os.stat(workspace.path).st_mode & 0o777 == 0o700
    workspace.remove()
    assert list(tmp_path.iterdir()) == []


def test_orphans_go_by_their_lock_and_never_by_a_clock(bench, tmp_path, monkeypatch):
    """A folder of years ago without a lock may be one that was made this moment, on a server with another clock."""
    from ConFUDASegmentLib import machine

    fresh, dead = tmp_path / "confuda-fresh", tmp_path / "confuda-dead"
    for folder in (fresh, dead):
        folder.mkdir()
    os.utime(fresh, (0, 0))
    # A lock of a process that is gone, on this machine.
    living = machine.Workspace(str(tmp_path))
    lock = open(os.path.join(living.path, "owner.lock"), encoding="utf-8").read().splitlines()
    (dead / "owner.lock").write_text("\n".join(["999999999", *lock[1:]]) + "\n", encoding="utf-8")

    machine.removeOrphans(str(tmp_path))
    assert fresh.exists() and os.path.exists(living.path) and not dead.exists()

    # A minute later by this process's own clock it is an orphan; the wall clock has no say.
    later = time.monotonic() + 61
    monkeypatch.setattr(machine.time, "monotonic", lambda: later)
    machine.removeOrphans(str(tmp_path))
    assert not fresh.exists() and os.path.exists(living.path)
    living.remove()


def test_a_folder_of_the_users_own_is_never_taken_for_an_orphan(bench, tmp_path, monkeypatch):
    """Slicer's temporary folder is where the user wants it, and may hold results whose name begins as ours do."""
    from ConFUDASegmentLib import machine

    mine, left = tmp_path / "confuda-results", tmp_path / "confuda-q3x_81ab"
    for folder, name in ((mine, "patient 1.seg.nrrd"), (left, "volume.nrrd")):
        folder.mkdir()
        (folder / name).write_text("data", encoding="utf-8")

    machine.removeOrphans(str(tmp_path))
    later = time.monotonic() + 61
    monkeypatch.setattr(machine.time, "monotonic", lambda: later)
    machine.removeOrphans(str(tmp_path))

    assert (mine / "patient 1.seg.nrrd").exists() and list(mine.iterdir()) == [mine / "patient 1.seg.nrrd"]
    assert not left.exists()  # a run's, of which the rest could not be removed at its end


def test_report_hides_paths_names_and_uids(bench):
    from ConFUDASegmentLib import errors

    text = errors.anonymize(
        "adapt 3/60, 4 s left\n"
        "Patient's Name: DOE^JANE\nPatientID: 4711\nPatient's Birth Date: 19700101\n"
        "series 1.2.826.0.1.3680043.9.7777.1.20261123 of torch 2.13.0 is broken\n"
        'File "/opt/Slicer 5.12/lib/confuda/adapt.py", line 3, in run\n'
        "No such file: /data/studies of JANE/DOE/volume.nrrd\n"
        "bad bundle /data/bundles for JANE\n",
        ["/data/bundles for JANE"],
    )
    for secret in ("DOE", "JANE", "4711", "19700101", "1.2.826", "/data", "/opt"):
        assert secret not in text, text
    for kept in ("adapt 3/60, 4 s left", "torch 2.13.0", 'File "adapt.py", line 3', "No such file"):
        assert kept in text, text
