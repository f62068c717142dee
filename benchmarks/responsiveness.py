"""How alive Slicer's window stays during a run, and how fast a cancel is: measured on the host with the true worker.

    python -m benchmarks.responsiveness -o out/responsiveness.json

Prints the gaps between two turns of the event loop while the module's job runs (aim: at most 100 ms) and the seconds
from a cancel to the end of everything (aim: at most 2).
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Dict, List

from Testing.host import HostMissingError, start
from Testing.host.demo import SAMPLE


def measure(runs: int) -> Dict[str, List[float]]:
    """Gaps of the event loop in ms, sorted, and cancel times in s."""
    host = start()
    import slicer

    host.loadModule()
    logic = slicer.util.getModuleLogic("ConFUDASegment")
    volume = host.loadVolume(SAMPLE)
    gaps_ms: List[float] = []

    def turn_until(reached) -> None:
        last = time.perf_counter()
        while not reached():
            slicer.app.processEvents()
            now = time.perf_counter()
            gaps_ms.append(1000 * (now - last))
            last = now
            time.sleep(0.005)

    finished = logic.start(volume, settings={"steps": 3, "strength": 1.0}, preview=True)
    turn_until(lambda: not finished.isRunning)
    cancels_s = []
    for _ in range(runs):
        job = logic.start(volume, preset="thorough")
        turn_until(lambda job=job: job.progress is not None and job.progress.stage == "adapt")
        began = time.perf_counter()
        job.cancel()
        turn_until(lambda job=job: not job.isRunning)
        cancels_s.append(time.perf_counter() - began)
    host.unloadModule()
    return {"gaps_ms": sorted(gaps_ms), "cancels_s": cancels_s}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        measured = measure(arguments.runs)
    except HostMissingError as error:
        print(error, file=sys.stderr)
        return 3
    gaps = measured["gaps_ms"]
    result = {
        "turns": len(gaps),
        "gap_median_ms": round(gaps[len(gaps) // 2], 1),
        "gap_p99_ms": round(gaps[int(len(gaps) * 0.99)], 1),
        "gap_longest_ms": round(gaps[-1], 1),
        "gaps_over_100_ms": sum(gap > 100 for gap in gaps),
        "cancel_s": [round(seconds, 2) for seconds in measured["cancels_s"]],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1))
    print("| measure | value |\n|---|---|")
    for name, value in result.items():
        print(f"| {name} | {value} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
