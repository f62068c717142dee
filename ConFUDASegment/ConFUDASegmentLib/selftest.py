"""The cases of ConFUDASegmentTest: they run inside Slicer and, unchanged, on the project's host without desktop."""

import logging
import os
from typing import Any, Callable, List

import numpy as np
import slicer
import vtk

from confuda.labels import STRUCTURES

from .errors import InvalidInputError, JobCancelledError
from .installing import Dependencies
from .scene_in import geometryOf
from .scene_out import SegmentationWriter


def runSelfTest(logic: Any, resourcesFolder: str) -> List[str]:
    """Runs the cases and returns their names. Two need torch and the bundle, which a build machine lacks."""
    cases: List[Callable[[], None]] = [checkBadInput(logic), checkSegments()]
    bundle = os.path.join(resourcesFolder, "Models", "confuda-acdc", "bundle.json")
    if not Dependencies().missing() and os.path.isfile(bundle):
        sample = os.path.join(resourcesFolder, "SampleData", "SimulatedLGE.nrrd")
        cases += [checkRun(logic, sample), checkCancel(logic, sample)]
    else:
        logging.warning("ConFUDASegmentTest: PyTorch or the bundle is missing, so no true run was tested")
    ran = []
    for case in cases:
        slicer.mrmlScene.Clear(0)
        case()
        ran.append(case.__name__)
        logging.info(f"ConFUDASegmentTest: {case.__name__} passed")
    slicer.mrmlScene.Clear(0)
    return ran


def checkBadInput(logic: Any) -> Callable[[], None]:
    def badInput() -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        before = slicer.mrmlScene.GetNumberOfNodes()
        for volume in (None, empty):
            try:
                logic.start(volume)
            except (InvalidInputError, RuntimeError) as error:
                _require(bool(str(error)), "an error without a message")
            else:
                raise AssertionError("an unusable volume was taken")
        _require(slicer.mrmlScene.GetNumberOfNodes() == before, "the scene was changed by a refused volume")

    return badInput


def checkSegments() -> Callable[[], None]:
    def segments() -> None:
        labels = np.zeros((4, 20, 24), np.uint8)
        labels[1:3, 5:15, 5:15] = 1
        labels[1:3, 8:12, 8:12] = 2
        labels[1:3, 5:10, 16:20] = 3
        matrix = vtk.vtkMatrix4x4()
        for index, value in enumerate((0, -1.5, 0, 10, 1.4, 0, 0, 20, 0, 0, 8, -30)):
            matrix.SetElement(index // 4, index % 4, value)
        volume = slicer.util.addVolumeFromArray(labels, matrix, "Selftest")
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        volume.SetAndObserveTransformNodeID(transform.GetID())
        node = SegmentationWriter(slicer.mrmlScene).write(volume.GetImageData(), geometryOf(volume), volume)
        _checkSegmentation(node, volume)
        for structure in STRUCTURES:
            found = slicer.util.arrayFromSegmentBinaryLabelmap(node, structure.name, volume)
            _require(bool(np.array_equal(found > 0, labels == structure.label)), f"{structure.name} is misplaced")

    return segments


def checkRun(logic: Any, sample: str) -> Callable[[], None]:
    def run() -> None:
        volume = slicer.util.loadVolume(sample)
        lines: List[str] = []
        node = logic.adaptAndSegment(volume, preset="fast", onProgress=lambda progress: lines.append(str(progress)))
        _checkSegmentation(node, volume)
        _require(bool(lines), "no progress was told")
        _require(logic.job.tableNode.GetNumberOfRows() == 3, "the table of volumes is incomplete")
        volumes = logic.job.summary["volumes_ml"]
        _require(all(volumes[structure.name] > 1 for structure in STRUCTURES), f"implausible volumes {volumes}")

    return run


def checkCancel(logic: Any, sample: str) -> Callable[[], None]:
    def cancel() -> None:
        volume = slicer.util.loadVolume(sample)
        before = slicer.mrmlScene.GetNumberOfNodes()
        job = logic.start(volume)
        job.cancel()
        try:
            job.wait(10.0)
        except JobCancelledError:
            pass
        else:
            raise AssertionError("a cancelled job gave a result")
        _require(slicer.mrmlScene.GetNumberOfNodes() == before, "the scene was changed by a cancelled run")

    return cancel


def _checkSegmentation(node: Any, volume: Any) -> None:
    _require(node.GetTransformNodeID() == volume.GetTransformNodeID(), "the volume's transform is not followed")
    for structure in STRUCTURES:
        segment = node.GetSegmentation().GetSegment(structure.name)
        _require(segment is not None, f"{structure.name} is missing")
        _require(segment.GetName() == structure.display_name, f"{structure.name} has a wrong name")
        tag = vtk.reference("")
        _require(segment.GetTag(segment.GetTerminologyEntryTagName(), tag), f"{structure.name} has no terminology")
        _require(structure.code in str(tag), f"{structure.name} has a wrong terminology")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
