"""A folder of toy volumes, the command run on it, and what it wrote, read."""

import csv
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import SimpleITK as sitk
from Testing.conftest import make_heart

PACKAGE = Path(__file__).resolve().parents[2] / "ConFUDASegment"


PATIENT = "Doe_Jane_19500101"


def write_heart(path: Path, seed: int = 0, slices: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(make_heart(slices=slices, seed=seed)[0], str(path))
    return path


def write_dicom(folder: Path, uid: str, prefix: str, modality: str = "MR") -> Path:
    """A series of a toy heart, one file a slice, with a patient's name in it."""
    folder.mkdir(parents=True, exist_ok=True)
    image = sitk.Cast(make_heart(slices=3)[0] * 4, sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(3):
        plane = image[:, :, number]
        tags = {
            "0008|0060": modality,
            "0010|0010": "Doe^Jane",
            "0018|0050": "8",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": f"0\\0\\{8 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{prefix}{number}.dcm"))
        writer.Execute(plane)
    return folder


def read_rows(output: Path) -> List[Dict[str, str]]:
    return list(csv.DictReader(io.StringIO((output / "results.csv").read_text(encoding="utf-8"))))


def strip_pictures(page: str) -> str:
    """A page without its pictures, whose letters are as good as random."""
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "confuda", "cohort", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds: float = 600.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")


def find_workers(process: subprocess.Popen) -> List[Any]:
    """The worker processes of a command, as psutil has them: its children that ``multiprocessing`` spawned."""
    import psutil

    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def adapt_quickly(bundle: Path, steps: int = 2) -> List[str]:
    return ["--bundle", str(bundle), "--set", f"steps={steps}", "--threads", "1"]


def write_scanner_folder(folder: Path) -> Path:
    """Two good volumes in different places, labels, and a file that is none."""
    write_heart(folder / f"{PATIENT}.nii.gz", seed=1)
    write_heart(folder / "b" / "heart.nrrd", seed=2)
    sitk.WriteImage(make_heart(slices=3)[1], str(folder / f"{PATIENT}_manual.nii.gz"))
    (folder / "c" / PATIENT).mkdir(parents=True)
    (folder / "c" / PATIENT / "torn.nii.gz").write_bytes(b"no image")
    return folder
