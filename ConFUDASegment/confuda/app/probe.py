"""Run as `python -m confuda.app.probe`, outside Slicer: which devices can torch truly use, and how fast are they?

A driver that torch was not built for reports a GPU and fails at the first kernel, so each GPU gets one tiny job.
"""

import json
import time
from typing import Any, Dict, List

TIMED_STEPS = 3


def describeDevices(torch: Any) -> List[Dict[str, Any]]:
    devices = [{"id": "cpu", "name": "CPU", "usable": True, "reason": "", "secondsPerStep": timeStep(torch, "cpu")}]
    if torch.cuda.is_available():
        devices += [describeGpu(torch, index) for index in range(torch.cuda.device_count())]
    return devices


def describeGpu(torch: Any, index: int) -> Dict[str, Any]:
    name = f"cuda:{index}"
    entry = {"id": name, "name": name, "usable": False, "reason": "", "secondsPerStep": None}
    try:
        entry["name"] = torch.cuda.get_device_name(index)
        entry["secondsPerStep"] = timeStep(torch, name)
        entry["usable"] = True
    except (RuntimeError, AssertionError) as error:
        entry["reason"] = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    return entry


def timeStep(torch: Any, device: str) -> float:
    """Seconds of one forward and backward pass of a small convolutional network, the kind of work the method does."""
    layers = [torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3, padding=1)]
    network = torch.nn.Sequential(*layers).to(device)
    images = torch.zeros(4, 1, 128, 128, device=device)
    seconds = []
    for _step in range(TIMED_STEPS + 1):  # the first one warms up
        start = time.perf_counter()
        network(images).square().mean().backward()
        if device != "cpu":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def main() -> None:
    try:
        import torch

        answer = {"event": "devices", "torch": torch.__version__, "devices": describeDevices(torch)}
    except Exception as error:  # noqa: BLE001 (a broken torch may raise anything)
        answer = {"event": "devices", "torch": "", "devices": [], "error": f"{type(error).__name__}: {error}"[:500]}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
