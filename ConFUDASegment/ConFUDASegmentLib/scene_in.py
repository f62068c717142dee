"""Volumes and cines out of the scene, and the worker's label maps back: files, geometry, slices, frames. No image is
changed on the way."""

from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import slicer
import vtk
from slicer.i18n import tr as _

from .errors import InvalidInputError, JobFailedError

_TOLERANCE_MM = 1e-3
_SLICE_SPACING_RATIO = 1.3
_SQUARE_RATIO = 1.01


@dataclass(frozen=True)
class Geometry:
    """A voxel grid, without the parent transform. Kept from the export, so that a later change can't shift labels."""

    dimensions: Tuple[int, int, int]
    ijkToRas: vtk.vtkMatrix4x4
    parentId: Optional[str] = None  # of the transform that it was under

    @property
    def sliceAxis(self) -> int:
        """The axis across the slices, by the rule of confuda.imaging.stack.find_slice_axis (a test compares them).

        That module imports SimpleITK, which takes too long for a panel that only wants the number of slices.
        """
        single = [axis for axis in range(3) if self.dimensions[axis] == 1]
        if len(single) == 1:
            return single[0]
        spacing = [sum(self.ijkToRas.GetElement(row, axis) ** 2 for row in range(3)) ** 0.5 for axis in range(3)]
        coarsest = sorted(range(3), key=lambda axis: spacing[axis])
        if spacing[coarsest[2]] > _SLICE_SPACING_RATIO * spacing[coarsest[1]]:
            return coarsest[2]
        low, middle, high = (spacing[axis] for axis in coarsest)
        if high < _SQUARE_RATIO * middle and middle > _SLICE_SPACING_RATIO * low:
            return coarsest[0]
        return min(range(3), key=lambda axis: (self.dimensions[axis], -axis))

    @property
    def sliceCount(self) -> int:
        return self.dimensions[self.sliceAxis]

    def matches(self, other: "Geometry") -> bool:
        """Same grid: every corner within a micrometre-scale tolerance, for files keep fewer digits than memory."""
        if self.dimensions != other.dimensions:
            return False
        corner = [extent - 1.0 for extent in self.dimensions]
        for i in (0.0, corner[0]):
            for j in (0.0, corner[1]):
                for k in (0.0, corner[2]):
                    here = self.ijkToRas.MultiplyPoint((i, j, k, 1.0))
                    there = other.ijkToRas.MultiplyPoint((i, j, k, 1.0))
                    if max(abs(a - b) for a, b in zip(here, there)) > _TOLERANCE_MM:
                        return False
        return True


def geometryOf(volumeNode: Any) -> Geometry:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return Geometry(tuple(volumeNode.GetImageData().GetDimensions()), matrix, volumeNode.GetTransformNodeID())


def placedNow(geometry: Geometry, volumeNode: Any) -> Geometry:
    """Where the voxels of the export are now: in the volume's own grid if its transform was hardened meanwhile."""
    if geometry.parentId and not volumeNode.GetTransformNodeID() and volumeNode.GetImageData() is not None:
        now = geometryOf(volumeNode)
        if now.dimensions == geometry.dimensions:
            return now
    return geometry


def checkVolume(volumeNode: Any) -> Geometry:
    """The geometry of a volume that can be segmented, or InvalidInputError in one sentence."""
    if volumeNode is None:
        raise InvalidInputError(_("Choose a volume first."))
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        raise InvalidInputError(_("The input is not a volume: choose a cardiac MR volume (LGE, short axis)."))
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InvalidInputError(_("The input is a label map: choose the image volume that it belongs to."))
    image = volumeNode.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InvalidInputError(_("The volume holds no image data."))
    if image.GetNumberOfScalarComponents() != 1:
        raise InvalidInputError(
            _("The volume has several values a voxel (colour or vectors): choose a grey-scale volume.")
        )
    return geometryOf(volumeNode)


def checkOutput(outputNode: Optional[Any]) -> None:
    """InvalidInputError where no result can be written into the chosen output. None stands for a new segmentation."""
    if outputNode is None:
        return
    if not outputNode.IsA("vtkMRMLSegmentationNode"):
        raise InvalidInputError(_("The output is not a segmentation: choose one, or none to make a new one."))
    if outputNode.GetScene() is None:
        raise InvalidInputError(_("The chosen output is no longer in the scene: choose another, or none."))
    labelmaps = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if outputNode.GetSegmentation().GetSourceRepresentationName() != labelmaps:
        raise InvalidInputError(
            _(
                "The chosen segmentation consists of surfaces or contours: make Binary labelmap its source "
                "representation in the Segmentations module, or choose another one."
            )
        )


def sequenceNote(volumeNode: Any) -> Optional[str]:
    """For a volume that shows one frame of a sequence: a sentence saying which frame is segmented."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", volumeNode.GetScene())
    for browser in browsers:
        if browser.IsProxyNodeID(volumeNode.GetID()):
            return _("The volume is a sequence: its current frame ({frame} of {count}) is segmented.").format(
                frame=browser.GetSelectedItemNumber() + 1, count=browser.GetNumberOfItems()
            )
    return None


def exportVolume(volumeNode: Any, path: str) -> Geometry:
    """Writes the voxels and grid as uncompressed NRRD. The parent transform stays in the scene."""
    geometry = checkVolume(volumeNode)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    storage.SetUseCompression(0)
    if not storage.WriteData(volumeNode):
        raise JobFailedError(_("The volume could not be written to the temporary folder: is the disk full?"))
    return geometry


def readLabels(path: str, expected: Geometry) -> Any:
    """The worker's labelmap as a vtkImageData, once it is seen to lie on the volume's own grid."""
    labels = slicer.vtkMRMLScalarVolumeNode()
    # Not the archetype storage, which turns left-handed grids round when it reads them.
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(path)
    if not storage.ReadData(labels) or labels.GetImageData() is None:
        raise JobFailedError(_("The segmentation that the worker wrote can't be read."))
    if not geometryOf(labels).matches(expected):
        raise JobFailedError(
            _("The segmentation does not lie on the volume's grid, so it was not used."),
            details=f"dimensions {geometryOf(labels).dimensions}, expected {expected.dimensions}",
        )
    return labels.GetImageData()


def sliceAtView(volumeNode: Any, sliceNode: Any) -> int:
    """Index, along the volume's slice axis, of the slice shown in a slice view; transforms included."""
    geometry = checkVolume(volumeNode)
    sliceToRas = sliceNode.GetSliceToRAS()
    world = [sliceToRas.GetElement(row, 3) for row in range(3)]
    local = [0.0, 0.0, 0.0]
    volumeNode.TransformPointFromWorld(world, local)
    rasToIjk = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(geometry.ijkToRas, rasToIjk)
    index = rasToIjk.MultiplyPoint((*local, 1.0))[geometry.sliceAxis]
    return min(max(int(round(index)), 0), geometry.sliceCount - 1)


def browserOf(volumeNode: Optional[Any]) -> Optional[Any]:
    """The browser of the sequence that the volume shows a frame of, or None."""
    if volumeNode is None or volumeNode.GetScene() is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", volumeNode.GetScene()):
        if browser.IsProxyNodeID(volumeNode.GetID()) and browser.GetSequenceNode(volumeNode) is not None:
            return browser
    return None


def shownFrame(browser: Any, sequence: Any) -> int:
    """Which frame of the sequence the browser shows. It counts in its master sequence, which may have others."""
    value = browser.GetMasterSequenceNode().GetNthIndexValue(browser.GetSelectedItemNumber())
    return max(sequence.GetItemNumberFromIndexValue(value, False), 0)


def frameCount(volumeNode: Optional[Any]) -> int:
    """Frames of the volume's sequence; 1 for a volume of its own."""
    browser = browserOf(volumeNode)
    return browser.GetSequenceNode(volumeNode).GetNumberOfDataNodes() if browser is not None else 1


def exportCine(volumeNode: Any, path: str) -> Geometry:
    """Writes all frames as an uncompressed `.seq.nrrd`. They must lie on one grid."""
    geometry = checkVolume(volumeNode)
    browser = browserOf(volumeNode)
    if browser is None:
        raise InvalidInputError(_("The volume is no frame of a sequence: choose Current frame."))
    sequence = browser.GetSequenceNode(volumeNode)
    for index in range(sequence.GetNumberOfDataNodes()):
        frame = sequence.GetNthDataNode(index)
        if not frame.IsA("vtkMRMLScalarVolumeNode") or frame.GetImageData() is None:
            raise InvalidInputError(_("Frame {number} of the sequence holds no image.").format(number=index + 1))
        if not geometryOf(frame).matches(geometry):
            raise InvalidInputError(
                _("Frame {number} of the sequence lies on another grid than the current one.").format(number=index + 1)
            )
    storage = slicer.vtkMRMLVolumeSequenceStorageNode()
    storage.SetFileName(path)
    storage.SetUseCompression(0)
    if not storage.WriteData(sequence):
        raise JobFailedError(_("The sequence could not be written to the temporary folder: is the disk full?"))
    return geometry


def readFrames(path: str, expected: Geometry) -> List[Any]:
    """The worker's label maps as vtkImageData, one a frame, once they are seen to lie on the volume's own grid."""
    ownScene = slicer.vtkMRMLScene()  # the reader makes the frames' nodes by its scene's classes
    sequence = ownScene.AddNode(slicer.vtkMRMLSequenceNode())
    storage = ownScene.AddNode(slicer.vtkMRMLVolumeSequenceStorageNode())
    storage.SetFileName(path)
    if not storage.ReadData(sequence) or sequence.GetNumberOfDataNodes() == 0:
        raise JobFailedError(_("The segmentation that the worker wrote can't be read."))
    frames = [sequence.GetNthDataNode(index) for index in range(sequence.GetNumberOfDataNodes())]
    for frame in frames:
        if frame.GetImageData() is None or not geometryOf(frame).matches(expected):
            raise JobFailedError(_("The segmentation does not lie on the volume's grid, so it was not used."))
    # The images outlive the sequence, which is gone when this returns.
    return [frame.GetImageData() for frame in frames]
