"""A worker for fault tests: speaks the true protocol as a true process, and misbehaves on demand. It segments nothing:
the label of a voxel is its grey value divided by 50, so a test volume carries its own truth.

python scripted_worker.py MODE  (job on stdin; standard library only, so that it starts at once)
"""

import array
import json
import os
import re
import signal
import sys
import threading
import time

LABELS = bytes(min(value // 50, 3) for value in range(256))


def tell(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def segment(volumePath, outputPath, shrink=False):
    """Writes the labelmap and returns the volumes in mL."""
    header, _, voxels = open(volumePath, "rb").read().partition(b"\n\n")
    text = header.decode("utf-8")
    labels = voxels.translate(LABELS)
    if shrink:
        sizes = [int(size) for size in re.search(r"sizes: (.*)", text).group(1).split()]
        labels = labels[: sizes[0] * sizes[1]]
        text = re.sub(r"sizes: .*", f"sizes: {sizes[0]} {sizes[1]} 1", text)
    with open(outputPath + ".part", "wb") as file:
        file.write(text.encode("utf-8") + b"\n\n" + labels)
    os.replace(outputPath + ".part", outputPath)
    a, b, c = (
        [float(number) for number in vector.split(",")]
        for vector in re.findall(r"\(([^)]*)\)", re.search(r"space directions: (.*)", text).group(1))
    )
    cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]]
    voxelMl = abs(sum(x * y for x, y in zip(a, cross))) / 1000.0
    return {name: labels.count(label) * voxelMl for name, label in (("MYO", 1), ("LV", 2), ("RV", 3))}


def mapDoubt(volumePath, mapPath):
    """Writes a map of doubt that tells where it came from: each voxel's grey value divided by 255."""
    header, _, voxels = open(volumePath, "rb").read().partition(b"\n\n")
    text = re.sub(r"type: .*", "type: float", header.decode("utf-8")) + "\nendian: little"
    values = array.array("f", (value / 255 for value in voxels))
    if sys.byteorder == "big":
        values.byteswap()
    with open(mapPath, "wb") as file:
        file.write(text.encode("utf-8") + b"\n\n" + values.tobytes())


def watchInput(ignoreCancel):
    """Ends the process on `cancel` or when stdin closes."""

    def watch():
        for line in sys.stdin:
            if line.strip() == "cancel":
                break
        if not ignoreCancel:
            tell("failed", code=130, message="Cancelled.", details="")
            os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def finish(job, volumes, **changes):
    summary = {
        "output": job["output"],
        "mode": job["mode"],
        "method": job["method"],
        "device": "cpu",
        "steps": 20,
        "seconds": {"load": 0.1, "adapt": 0.2, "predict": 0.1, "total": 0.5},
        "peak_memory_mb": 20,
        "volumes_ml": volumes,
        "accepted": True,
        "warnings": [],
    }
    summary.update(changes)
    tell("finished", path=job["output"], uncertainty=job.get("uncertainty"), summary=summary)


def main():
    mode = sys.argv[1]
    job = json.loads(sys.stdin.readline())
    watchInput(ignoreCancel=mode in ("hang", "stubborn"))
    if mode == "hang":
        time.sleep(600)
    if mode == "early-crash":
        sys.stderr.write("ImportError: something of the worker is missing\n")
        return 1
    tell("started", device="cpu", total=20)
    for stage in ("load", "find"):
        tell("progress", stage=stage, step=1, total=1, eta_s=None, losses={})
    if mode == "garbage":
        sys.stdout.write('not json\n{"event": 3}\n[1, 2]\n' + "x" * 3000000 + "\n")
        tell("progress", stage="adapt", step="many", total=None)
        tell("preview")
        tell("unknown-event")
    steps = 600 if mode in ("slow", "stubborn") else 4
    for step in range(1, steps + 1):
        tell(
            "progress",
            stage="adapt",
            step=min(step, 20),
            total=20,
            eta_s=max(20 - step, 0) * 2.0,
            losses={"segmentation": 1.0 / step, "contrast": 2.0 / step},
        )
        if step == 2 and job["preview_folder"]:
            path = os.path.join(job["preview_folder"], "preview-1.nrrd")
            segment(job["volume"], path)
            tell("preview", path=path)
        if mode == "crash" and step == 3:
            sys.stderr.write("Traceback (most recent call last):\nRuntimeError: broken in the middle\n")
            sys.stderr.flush()
            return 1
        if mode == "killed" and step == 3:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        time.sleep(0.05 if steps > 10 else 0.01)
    if mode == "memory":
        tell("failed", code=5, message="Not enough memory for this volume.", details="tried three times")
        return 5
    if mode == "silent-end":
        return 0
    tell("progress", stage="predict", step=1, total=1, eta_s=0.0, losses={})
    if mode == "no-file":
        finish(job, {"MYO": 1.0, "LV": 1.0, "RV": 1.0})
        return 0
    volumes = segment(job["volume"], job["output"], shrink=mode == "wrong-grid")
    if job.get("uncertainty") and mode != "no-map":
        mapDoubt(job["volume"], job["uncertainty"])
    if mode == "warns":
        tell("warning", message="The image is noisy.")
        finish(job, volumes, accepted=False, warnings=["The image is noisy.", "Few slices."])
    elif mode.startswith("agrees-"):
        finish(job, volumes, agreement=float(mode.partition("-")[2]))
    elif mode == "bad-summary":
        finish(job, {"MYO": 1.0})
    else:
        finish(job, volumes)
    if mode == "lingers":
        time.sleep(600)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
