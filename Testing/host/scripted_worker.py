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
    text, voxels = readVolume(volumePath)
    labels = voxels.translate(LABELS)
    if shrink:
        sizes = [int(size) for size in re.search(r"sizes: (.*)", text).group(1).split()]
        labels = labels[: sizes[0] * sizes[1]]
        text = re.sub(r"sizes: .*", f"sizes: {sizes[0]} {sizes[1]} 1", text)
    write(outputPath, text, labels)
    return countVolumes(text, labels)


def readVolume(path):
    """Header and voxels of an uncompressed NRRD; Slicer pads the header with empty lines."""
    content = open(path, "rb").read()
    header = content.partition(b"\n\n")[0].decode("utf-8")
    count = 1
    for size in re.search(r"sizes: (.*)", header).group(1).split():
        count *= int(size)
    return header, content[len(content) - count :]


def write(path, text, voxels):
    with open(path + ".part", "wb") as file:
        file.write(text.encode("utf-8") + b"\n\n" + voxels)
    os.replace(path + ".part", path)


def countVolumes(text, labels):
    """Millilitres of each structure."""
    a, b, c = (
        [float(number) for number in vector.split(",")]
        for vector in re.findall(r"\(([^)]*)\)", re.search(r"space directions: (.*)", text).group(1))
    )
    cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]]
    voxelMl = abs(sum(x * y for x, y in zip(a, cross))) / 1000.0
    return {name: labels.count(label) * voxelMl for name, label in (("MYO", 1), ("LV", 2), ("RV", 3))}


def mapDoubt(volumePath, mapPath):
    """Writes a map of doubt that tells where it came from: each voxel's grey value divided by 255."""
    header, voxels = readVolume(volumePath)
    text = re.sub(r"type: .*", "type: float", header) + "\nendian: little"
    values = array.array("f", (value / 255 for value in voxels))
    if sys.byteorder == "big":
        values.byteswap()
    with open(mapPath, "wb") as file:
        file.write(text.encode("utf-8") + b"\n\n" + values.tobytes())


def segmentCine(job):
    """All frames: the labels as Slicer keeps a sequence of label maps. Returns volumes and function."""
    text, voxels = readVolume(job["volume"])
    labels = voxels.translate(LABELS)
    text = text.replace("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode")
    write(job["output"], text, labels)
    count = int(re.search(r"sizes: (.*)", text).group(1).split()[-1])
    size = len(labels) // count
    frames = [countVolumes(text, labels[number * size : (number + 1) * size]) for number in range(count)]
    function = {"frames": list(range(count)), "lv_mass_g": frames[0]["MYO"] * 1.05}
    for name, structure in (("lv", "LV"), ("rv", "RV")):
        series = [frame[structure] for frame in frames]
        function[f"{name}_edv_ml"], function[f"{name}_esv_ml"] = max(series), min(series)
        function[f"{name}_stroke_volume_ml"] = max(series) - min(series)
        function[f"{name}_ejection_fraction_percent"] = 100 * (max(series) - min(series)) / max(series)
        function[f"{name}_ed_frame"] = series.index(max(series))
        function[f"{name}_es_frame"] = series.index(min(series))
    for structure in ("MYO", "LV", "RV"):
        function[f"{structure.lower()}_volume_ml"] = [frame[structure] for frame in frames]
    return frames[0], function


def measureWall(job, volumes):
    """Segment 1 in the left half of the columns, 2 in the right one; the others can't be given."""
    text, voxels = readVolume(job["volume"])
    columns = int(re.search(r"sizes: (.*)", text).group(1).split()[0])
    halves = bytes((1 if place % columns < columns // 2 else 2) for place in range(len(voxels)))
    path = job["output"].replace(".nrrd", "-wall.nrrd")
    write(path, text, bytes(half if grey == 50 else 0 for half, grey in zip(halves, voxels)))
    rows = [
        {"segment": 1, "name": "basal anterior", "thickness_mm": 6.0, "area_cm2": 10.0, "mass_g": 6.3},
        {"segment": 2, "name": "basal anteroseptal", "thickness_mm": 12.0, "area_cm2": 8.0, "mass_g": 10.1},
    ]
    missing = [{"segment": number, "name": f"segment {number}", "reason": "no slice"} for number in range(3, 18)]
    return {"segments": rows, "not_given": missing, "mean_thickness_mm": 9.0, "label_map": path}


def measureScar(job, volumes):
    """The muscle of the first columns."""
    text, voxels = readVolume(job["volume"])
    columns = int(re.search(r"sizes: (.*)", text).group(1).split()[0])
    mask = bytes(grey == 50 and place % columns < columns // 2 for place, grey in enumerate(voxels))
    write(job["output"].replace(".nrrd", "-scar.nrrd"), text, mask)
    share = sum(mask) / max(voxels.count(50), 1)
    return {
        "method": job["scar"],
        "scar_ml": share * volumes["MYO"],
        "scar_g": share * volumes["MYO"] * 1.05,
        "scar_percent_of_lv_mass": 100 * share,
        "microvascular_obstruction_ml": 0.0,
        "threshold": 120.0,
        "segments": [{"segment": 1, "name": "basal anterior", "scar_percent": 40.0, "transmurality_percent": 75.0}],
        "note": "A measurement of intensities, not a diagnosis.",
    }


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
        "adaptation": {"strength": 1.0, "text": "Adapted at 100% of the full strength, since it was asked for."},
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
        if step == 2 and job["preview_folder"] and not job.get("frames"):
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
    if job.get("frames"):
        volumes, function = segmentCine(job)
        finish(job, volumes, function=function)
        return 0
    volumes = segment(job["volume"], job["output"], shrink=mode == "wrong-grid")
    readOuts = {}
    if job.get("wall"):
        readOuts["wall"] = measureWall(job, volumes)
    if job.get("scar"):
        readOuts["scar"] = measureScar(job, volumes)
    if readOuts:
        finish(job, volumes, **readOuts)
        return 0
    if job.get("uncertainty") and mode != "no-map":
        mapDoubt(job["volume"], job["uncertainty"])
    if mode == "warns":
        tell("warning", message="The image is noisy.")
        finish(job, volumes, accepted=False, warnings=["The image is noisy.", "Few slices."])
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
