"""The module's console call on the host: python -m Testing.host.demo FOLDER

Loads the bundled sample, runs `logic.adaptAndSegment` with the true worker, and saves volume, segmentation and table,
and the scene that holds them. Slicer opens `scene.mrml`.
"""

import sys
from pathlib import Path
from typing import Any

from Testing.host.startup import MODULE_FOLDER, HostMissingError, start

SAMPLE = MODULE_FOLDER / "Resources" / "SampleData" / "SimulatedLGE.nrrd"


def runDemo(folder: Path, **options: Any) -> Path:
    """Returns the scene's file."""
    host = start()
    import slicer

    host.loadModule()
    logic = slicer.util.getModuleLogic("ConFUDASegment")
    volume = host.loadVolume(SAMPLE, SAMPLE.stem)
    segmentation = logic.adaptAndSegment(volume, onProgress=lambda progress: print(progress, flush=True), **options)
    scene = saveScene(
        folder, {"volume.nrrd": volume, "result.seg.nrrd": segmentation, "volumes.tsv": logic.job.tableNode}
    )
    for warning in logic.job.warnings:
        print("warning:", warning)
    print({name: round(value, 1) for name, value in logic.job.summary["volumes_ml"].items()}, "mL")
    host.unloadModule()
    return scene


def saveScene(folder: Path, files: Any) -> Path:
    import slicer

    folder.mkdir(parents=True, exist_ok=True)
    slicer.mrmlScene.SetRootDirectory(str(folder))
    for name, node in files.items():
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(folder / name))
        if not node.GetStorageNode().WriteData(node):
            raise OSError(f"{folder / name} could not be written")
    path = folder / "scene.mrml"
    slicer.mrmlScene.SetURL(str(path))
    if not slicer.mrmlScene.Commit():
        raise OSError(f"{path} could not be written")
    return path


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output").resolve() / "slicer"
    try:
        print("scene:", runDemo(folder, preset="fast"))
    except HostMissingError as error:
        print(f"The module's console call is left out of this demo. {error}")


if __name__ == "__main__":
    main()
