"""A volume of any size for speed measurements, made of the bundled sample, so that it may be made anywhere."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from labelled import REPOSITORY

SAMPLE = REPOSITORY / "ConFUDASegment" / "Resources" / "SampleData" / "SimulatedLGE.nrrd"


def make_volume(slices: int, size: int, path: Path, sample: Path = SAMPLE) -> Path:
    """Write the sample as ``slices`` slices of ``size`` x ``size`` pixels to ``path``.

    The field of view is the sample's, padded with zeros to a square; the heart's length stays, too: of the sample's
    slices the nearest is taken for each new one. So the work grows with the number of slices and of pixels alone.
    """
    image = sitk.ReadImage(str(sample))
    rows, columns = np.array(image.GetSize()[1::-1]), np.array(image.GetSpacing()[1::-1])
    side_mm = float((rows * columns).max())
    spacing_mm = side_mm / size
    middle = image.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in image.GetSize()[:2]] + [0])
    direction = np.array(image.GetDirection()).reshape(3, 3)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize((size, size, image.GetSize()[2]))
    resampler.SetOutputSpacing((spacing_mm, spacing_mm, image.GetSpacing()[2]))
    resampler.SetOutputDirection(image.GetDirection())
    half_mm = 0.5 * (size - 1) * spacing_mm
    resampler.SetOutputOrigin((np.array(middle) - direction[:, :2] @ np.full(2, half_mm)).tolist())
    resampler.SetInterpolator(sitk.sitkLinear)
    square = resampler.Execute(image)
    chosen = np.linspace(0, image.GetSize()[2] - 1, slices).round().astype(int)
    volume = sitk.GetImageFromArray(sitk.GetArrayFromImage(square)[chosen])
    length_mm = image.GetSize()[2] * image.GetSpacing()[2]
    volume.SetSpacing((spacing_mm, spacing_mm, length_mm / slices))
    volume.SetOrigin(square.GetOrigin())
    volume.SetDirection(square.GetDirection())
    sitk.WriteImage(volume, str(path), True)
    return path
