"""What the user chose, kept in a parameter node and so saved with the scene."""

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class ConFUDASegmentParameterNode:
    """
    inputVolume - The volume to adapt to and to segment.
    outputSegmentation - Where the segments go; none makes a new node for each run.
    resultSegmentation, resultTable - What the last run made.
    sliceIndex - 0-based slice for one-shot; used when automaticSlice is off.
    lambdaContrast, lambdaNorm - Weights; negative takes the preset's own.
    partitions, temperature - Zero takes the preset's own.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    resultSegmentation: vtkMRMLSegmentationNode
    resultTable: vtkMRMLTableNode
    mode: str = "few-shot"
    automaticSlice: bool = True
    sliceIndex: int = 0
    preset: str = "balanced"
    device: str = "auto"
    method: str = "confuda"
    lambdaContrast: float = -1.0
    lambdaNorm: float = -1.0
    partitions: int = 0
    temperature: float = 0.0
    seed: int = 0
    bundleFolder: str = ""
    livePreview: bool = True
    showUncertainty: bool = False
