"""What gets out of a run: nothing of the patient in anything written, no network, no process, no file elsewhere."""

import ast
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from Testing.torture.runs import Run, start_command, start_worker
from Testing.toy_bundle import make_heart

NAME, SECOND_NAME, PATIENT_ID = "DOEQXZ", "JANEQXZ", "PIDQXZ42"
STUDY_UID = "1.2.826.0.1.3680043.9.7777.1.20261123.1"
SERIES_UID = "1.2.826.0.1.3680043.9.7777.2.20261123.2"
FRAME_UID = "1.2.826.0.1.3680043.9.7777.3.20261123.3"
IMAGE_UID = "1.2.826.0.1.3680043.9.7777.4"
HOSPITAL = "HOSPITALQXZ"


def write_dicom(folder: Path) -> Path:
    """A short-axis series that names a patient wherever DICOM can, in a folder that does so too."""
    place = folder / f"{NAME}_{SECOND_NAME}"
    place.mkdir()
    image = sitk.Cast(make_heart()[0], sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(image.GetDepth()):
        part = image[:, :, number]
        texts = {
            "0010|0010": f"{NAME}^{SECOND_NAME}",
            "0010|0020": PATIENT_ID,
            "0010|0030": "19700101",
            "0010|4000": f"{NAME} comment",
            "0008|0080": HOSPITAL,
            "0008|0090": f"{NAME}^REFERRER",
            "0008|1030": f"study of {NAME}",
            "0008|103e": f"series of {NAME}",
            "0008|0018": f"{IMAGE_UID}.{number + 1}",
            "0020|000d": STUDY_UID,
            "0020|000e": SERIES_UID,
            "0020|0052": FRAME_UID,
            "0008|0060": "MR",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{x:g}" for x in image.TransformIndexToPhysicalPoint((0, 0, number))),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": "8",
        }
        for tag, text in texts.items():
            part.SetMetaData(tag, text)
        writer.SetFileName(str(place / f"{number}.dcm"))
        writer.Execute(part)
    return place


def search(content: bytes, words) -> list:
    """Which of ``words`` are in ``content``, as it is or unpacked, as 8-bit or 16-bit text, in any case."""
    forms = [content.lower()]
    if content[:2] == b"\x1f\x8b":
        forms.append(gzip.decompress(content).lower())
    return [
        word
        for word in words
        if any(word.lower().encode(code) in form for form in forms for code in ("utf-8", "utf-16-le"))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["command", "worker"])
def test_nothing_of_the_patient_is_written(program, place, seen) -> None:
    """A DICOM series that names its patient everywhere is adapted to: segmentations in three formats, map, report,
    bundle and both streams are searched, and hold nothing of the patient."""
    place.output.unlink()
    source = write_dicom(place.folder)
    words = (NAME, SECOND_NAME, PATIENT_ID, STUDY_UID, SERIES_UID, FRAME_UID, IMAGE_UID, HOSPITAL, str(source))
    kept = {"save_bundle": "adapted", "report": "report", "uncertainty": "doubt.nrrd"}
    kept = {name: str(place.outputs / path) for name, path in kept.items()}
    written = {}
    for ending in (".seg.nrrd", ".nii.gz", ".mha"):
        output = place.outputs / f"out{ending}"
        if program == "worker":
            run = start_worker(place, volume=str(source), output=str(output), **kept)
        else:
            options = [f"--{name.replace('_', '-')}={path}" for name, path in kept.items()]
            arguments = place.list_arguments("--json", *options)
            arguments[1], arguments[3] = str(source), str(output)
            run = start_command(place, arguments)
        assert run.finish() == 0, run.errors[-300:]
        written[f"stdout ({ending})"] = run.answer.encode()
        written[f"stderr ({ending})"] = run.errors.encode()
    for path in place.outputs.rglob("*"):
        assert not search(path.name.encode(), words), path
        if path.is_file():
            written[path.name] = path.read_bytes()
    for name, content in written.items():
        assert not search(content, words), name
    for path in place.outputs.glob("out*"):
        image = sitk.ReadImage(str(path))
        for key in image.GetMetaDataKeys():
            assert not search(image.GetMetaData(key).encode(), words), f"{path.name}: {key}"
    seen(f"{len(written)} files and streams, {sum(map(len, written.values())) // 1000} kB: nothing of the patient")


@pytest.mark.slow
def test_patient_in_an_unforeseen_error(place, seen) -> None:
    """An exception that quotes the volume's path: the report that the worker hands on is without it."""
    program = (
        "from confuda.app import run, worker\n"
        "import os\n"
        "def fail(path, **how): raise ValueError(f'cannot unpack {path}: bad block in {str(path)!r}')\n"
        "run.read_volume = fail\n"
        "os._exit(worker.main())\n"
    )
    hidden = place.folder / f"{NAME} {SECOND_NAME}" / f"{NAME} of {SECOND_NAME}.nrrd"
    run = Run(place, [sys.executable, "-c", program])
    run.send(place.describe_job(volume=str(hidden)))
    assert run.finish() == 1
    event = run.read_events()[-1]
    assert event["event"] == "failed" and "ValueError" in event["details"]
    assert not search(run.answer.encode() + run.errors.encode(), (NAME, SECOND_NAME)), event["details"]
    seen(f"'{event['message']}', and in the details '{event['details'].splitlines()[-1]}'")


@pytest.mark.parametrize("program", ["command", pytest.param("worker", marks=pytest.mark.slow)])
def test_network_closed(program, place, seen) -> None:
    """A whole adaptation where Python's sockets are refused and the kernel ends the process at the first internet
    socket: done."""
    if program == "worker":
        run = start_worker(place, "seal")
    else:
        run = start_command(place, place.list_arguments("--save-bundle", str(place.outputs / "adapted")), "seal")
    assert run.finish() == 0, f"code {run.process.returncode}: {run.errors[-300:]}"
    shutil.rmtree(place.outputs / "adapted", ignore_errors=True)
    place.check_written()
    seen("done where every internet socket ends the process")


@pytest.mark.slow
def test_network_without_interfaces(place, seen) -> None:
    """A whole adaptation in a network name space without any interface: done."""
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True) if shutil.which("unshare") else None
    if probe is None or probe.returncode != 0:
        pytest.skip("no network name space may be made here")
    run = Run(place, ["unshare", "-rn", sys.executable, "-m", "confuda", *place.list_arguments()])
    assert run.finish() == 0, run.errors[-300:]
    place.check_written()
    seen("done without any network interface")


@pytest.mark.slow
def test_system_calls(place, seen) -> None:
    """strace of a whole segmentation: no internet socket, no other program."""
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    log = place.folder / "calls.txt"
    command = ["strace", "-f", "-qq", "-e", "trace=socket,connect,execve", "-o", str(log), sys.executable]
    run = Run(place, [*command, "-m", "confuda", *place.list_arguments("--method", "none")])
    if run.finish() != 0 and "ptrace" in run.errors:
        pytest.skip("processes may not be traced here")
    assert run.process.returncode == 0, run.errors[-300:]
    calls = log.read_text().splitlines()
    assert not [call for call in calls if "AF_INET" in call]
    assert len([call for call in calls if "execve(" in call and " = 0" in call]) == 1
    seen(f"{len(calls)} calls of socket, connect and execve: no internet socket, no other program")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["command", "worker"])
def test_deeds(program, place, seen) -> None:
    """A whole adaptation with Python's audit events written down: no network, process or pickle; files beside the
    output and in the temporary folder only."""
    log = place.folder / "deeds.txt"
    if program == "worker":
        run = start_worker(place, f"watch:{log}")
    else:
        run = start_command(place, place.list_arguments(), f"watch:{log}")
    assert run.finish() == 0, run.errors[-300:]
    deeds = log.read_text(encoding="utf-8").splitlines()
    assert not [deed for deed in deeds if deed.startswith(("network", "process", "pickle"))]
    allowed = (str(place.outputs), str(place.temporary), "/dev/null", "/proc/self", "/dev/shm")
    written = [deed for deed in deeds if "__pycache__" not in deed]
    assert all(ast.literal_eval(deed.partition(" ")[2]).startswith(allowed) for deed in written), written
    assert any(str(place.outputs) in deed for deed in deeds), "nothing was written down"
    place.check_written()
    assert os.listdir(place.temporary) == []
    seen(f"{len(deeds)} deeds: no network, process or pickle; files beside the output and in the temporary folder only")
