"""Pictures of the panel in its states: python -m Testing.host.screenshots [FOLDER] [--phantom]

Where the shipped bundle is there, they show true runs on the bundled, simulated sample; elsewhere, and with --phantom,
runs of the scripted worker on the test phantom. For each state there is the whole panel, and, in a FOLDER of one's own,
the panel as it stands in a small and in a large window of Slicer (1085 x 570 and 1600 x 1000): as high as Slicer's bars
leave it, unscrolled.
"""

import sys
from pathlib import Path
from typing import Any, List

from PIL import Image
from Testing.host.startup import MODULE_FOLDER, REPOSITORY, start

SAMPLE = MODULE_FOLDER / "Resources" / "SampleData" / "SimulatedLGE.nrrd"
SAMPLE_CINE = SAMPLE.with_name("SimulatedCine.seq.nrrd")
BUNDLE = MODULE_FOLDER / "Resources" / "Models" / "confuda-acdc" / "bundle.json"
DOCUMENTED = REPOSITORY / "Resources" / "Screenshots"
WIDTH = 430
# Slicer's title, menu and tool bars, its logo, the module's chooser and help, and the data probe take about 230 pixels.
WINDOWS = {"1085x570": (400, 340), "1600x1000": (500, 770)}
COLORS = 192
LIMIT = 1800.0  # seconds for a true run on a busy machine


class Camera:
    """Takes the pictures of one state."""

    def __init__(self, bench: Any, folder: Path) -> None:
        self._bench = bench
        self._folder = folder
        self._windows = {} if folder == DOCUMENTED else WINDOWS
        self.paths: List[Path] = []

    def take(self, name: str) -> None:
        from PySide6 import QtWidgets

        panel, process = self._bench.widget.parent, self._bench.host.process
        process(0.6)
        area = QtWidgets.QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(panel)
        for window, size in self._windows.items():
            area.setFixedSize(*size)
            area.show()
            process(0.1)
            area.verticalScrollBar().setValue(0)
            process(0.1)
            self._save(area, f"{window}/{name}.png")
        area.takeWidget()
        area.close()
        panel.setParent(None)
        panel.setFixedWidth(WIDTH)
        panel.show()
        process(0.1)
        panel.resize(WIDTH, max(panel.sizeHint().height(), panel.heightForWidth(WIDTH)))
        process(0.1)
        self._save(panel, f"{name}.png")
        panel.setMinimumWidth(0)
        panel.setMaximumWidth(16777215)

    def _save(self, widget: Any, name: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not widget.grab().save(str(path)):
            raise OSError(f"{path} could not be written")
        # A panel has few colours, and every picture stays in the repository for good.
        with Image.open(path) as picture:
            few = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        self.paths.append(path)


def takeScreenshots(folder: Path) -> List[Path]:
    """The pictures of each state. Returns their paths."""
    host = start()
    from Testing.host.fixtures import ONE_CPU, Bench

    import ConFUDASegmentLib.installing as installing

    installing._isPresent = lambda name: True
    installing._versionOf = lambda name: "99.0"
    bench = Bench(host)
    bench.devices = ONE_CPU
    real = BUNDLE.is_file() and "--phantom" not in sys.argv
    if real:
        sample = host.loadVolume(SAMPLE, SAMPLE.stem)
    else:
        from Testing.host import phantom

        sample = phantom.addVolume()
    camera = Camera(bench, folder)
    bench.widget.parent.show()
    bench.widget.enter()
    bench.run(lambda: not bench.panel._probe.isRunning)
    camera.take("idle")

    # Of the sample the network is sure: only the quality that tries on every volume shows an adaptation.
    bench.panel._parameters.preset = "thorough"
    bench.worker = None if real else "slow"
    bench.press(bench.ui.applyButton)
    job = bench.logic.job
    bench.run(lambda: job.progress is not None and job.progress.stage == "adapt" and job.progress.step >= 8, LIMIT)
    camera.take("running")
    job.cancel()
    bench.run(lambda: not job.isRunning)
    bench.panel._parameters.preset = "balanced"

    bench.worker = None if real else "succeed"
    bench.runFromPanel(LIMIT)
    camera.take("finished")

    bench.worker = "crash"
    bench.runFromPanel()
    camera.take("error")
    bench.worker = None if real else "succeed"
    _takeReadOuts(bench, camera)
    bench.panel._parameters.inputVolume = sample
    _takeFirstStarts(bench, camera, installing)
    host.unloadModule()
    return camera.paths


def _takeReadOuts(bench: Any, camera: Camera) -> None:
    """The wall of the sample, and all frames of the sample cine; both without adaptation, which shows elsewhere."""
    parameters = bench.panel._parameters
    bench.ui.detailsButton.setProperty("collapsed", True)
    parameters.method = "none"
    parameters.measureWall, parameters.scar = True, "fwhm"
    bench.runFromPanel(LIMIT)
    for name in ("Wall", "Scar"):
        bench.ui.tableCombo.setCurrentIndex(bench.ui.tableCombo.findText(name))
        camera.take(name.lower())
    parameters.measureWall, parameters.scar = False, ""
    parameters.inputVolume = bench.host.loadSequence(SAMPLE_CINE, "SimulatedCine")
    parameters.frames = "all"
    bench.runFromPanel(LIMIT)
    camera.take("cine")
    parameters.method, parameters.frames = "confuda", "current"


def _takeFirstStarts(bench: Any, camera: Camera, installing: Any) -> None:
    """A Slicer without torch, with an old one, without a network, behind a proxy that does not answer."""
    from Testing.host.without_network import makeInstaller

    noTorch = {"isPresent": lambda name: name != "torch"}
    cases = {
        "no-torch": ({**noTorch}, False),
        "old-torch": ({"versionOf": lambda name: "1.13.1" if name == "torch" else "99.0"}, False),
        "no-network": ({**noTorch, "installTorch": makeInstaller("no network")}, True),
        "proxy": ({**noTorch, "installTorch": makeInstaller("proxy")}, True),
    }
    for name, (parts, isPressed) in cases.items():
        bench.panel._parameters.resultSegmentation = None
        bench.panel._parameters.resultTable = None
        bench.panel._dependencies = installing.Dependencies(**parts)
        for part, folded in ((bench.ui.inputsButton, False), (bench.ui.detailsButton, True)):
            part.setProperty("collapsed", folded)
        bench.panel._status.show("info", "")
        bench.widget.enter()
        if isPressed:
            bench.press(bench.ui.applyButton)
        camera.take(f"first-start-{name}")


if __name__ == "__main__":
    folders = [name for name in sys.argv[1:] if name != "--phantom"]
    target = Path(folders[0]) if folders else DOCUMENTED
    for picture in takeScreenshots(target):
        print(picture)
