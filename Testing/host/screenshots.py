"""Pictures of the panel in its states: python -m Testing.host.screenshots [FOLDER]

Where the shipped bundle is there, they show true runs on the bundled, simulated sample; elsewhere runs of the scripted
worker on the test phantom.
"""

import sys
from pathlib import Path
from typing import Any, List

from Testing.host.startup import MODULE_FOLDER, REPOSITORY, start

SAMPLE = MODULE_FOLDER / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
BUNDLE = MODULE_FOLDER / "Resources" / "Models" / "confuda-acdc" / "bundle.json"
WIDTH = 430
LIMIT = 1800.0  # seconds for a true run on a busy machine


def takeScreenshots(folder: Path) -> List[Path]:
    """One picture for each state. Returns their paths."""
    host = start()
    from Testing.host.fixtures import ONE_CPU, Bench

    import ConFUDASegmentLib.installing as installing

    installing._isPresent = lambda name: True
    bench = Bench(host)
    bench.devices = ONE_CPU
    real = BUNDLE.is_file()
    if real:
        host.loadVolume(SAMPLE, SAMPLE.stem)
    else:
        from Testing.host import phantom

        phantom.addVolume()
    bench.widget.parent.setFixedWidth(WIDTH)
    bench.widget.parent.show()
    bench.widget.enter()
    bench.run(lambda: not bench.panel._probe.isRunning)
    paths = [_grab(bench, folder / "idle.png")]

    bench.worker = None if real else "slow"
    bench.press(bench.ui.applyButton)
    job = bench.logic.job
    bench.run(lambda: job.progress is not None and job.progress.stage == "adapt" and job.progress.step >= 8, LIMIT)
    paths.append(_grab(bench, folder / "running.png"))
    job.cancel()
    bench.run(lambda: not job.isRunning)

    bench.worker = None if real else "succeed"
    bench.runFromPanel(LIMIT)
    paths.append(_grab(bench, folder / "finished.png"))

    bench.worker = "crash"
    bench.runFromPanel()
    paths.append(_grab(bench, folder / "error.png"))
    host.unloadModule()
    return paths


def _grab(bench: Any, path: Path) -> Path:
    panel = bench.widget.parent
    bench.host.process(0.6)
    panel.resize(WIDTH, max(panel.sizeHint().height(), panel.heightForWidth(WIDTH)))
    bench.host.process(0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not panel.grab().save(str(path)):
        raise OSError(f"{path} could not be written")
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "Resources" / "Screenshots"
    for picture in takeScreenshots(target):
        print(picture)
