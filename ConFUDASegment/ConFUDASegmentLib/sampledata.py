"""The bundled sample volume, offered by Slicer's Sample Data module. It is local: nothing is downloaded."""

import hashlib
import os
from pathlib import Path

SAMPLE_NAME = "ConFUDASimulatedLGE"


def registerSampleData(resourcesFolder: str) -> None:
    path = Path(resourcesFolder, "SampleData", "SimulatedLGE.nrrd")
    if not path.is_file():
        return
    try:
        import SampleData
    except ImportError:
        return  # an application made of Slicer without its Sample Data module

    thumbnail = os.path.join(resourcesFolder, "Icons", "SimulatedLGE.png")
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="ConFUDA",
        sampleName=SAMPLE_NAME,
        thumbnailFileName=thumbnail if os.path.isfile(thumbnail) else None,
        uris=path.as_uri(),
        fileNames=path.name,
        nodeNames="SimulatedLGE",
        checksums="SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
    )
