"""Geometry and labels come back whatever they are; changed bundles and jobs are refused in a sentence or taken.

A few examples of each; ``make torture`` tries a thousand.
"""

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.torture.fuzzing import FUZZERS

from confuda.io.volume_file import read_image


@pytest.mark.parametrize(
    "what, examples", [("stack", 20), ("labels", 20), ("bundles", 25), ("jobs", 40), ("worker", 4)]
)
def test_fuzzed(what, examples) -> None:
    assert FUZZERS[what](examples, 1).startswith(str(examples))


def test_a_packed_volume_is_not_mistaken_for_the_unpacked_one_beside_it(tmp_path) -> None:
    """Found by fuzzing: ITK reads the voxels of NAME.nii when it is asked for NAME.nii.gz and both are there."""
    for ending, value in ((".nii.gz", 3), (".nii", 7)):
        voxels = np.arange(8 * 16 * 16, dtype=np.float32).reshape(8, 16, 16) + value
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((1.5, 1.5, 8.0))
        sitk.WriteImage(image, str(tmp_path / f"heart{ending}"))
    for ending, value in ((".nii.gz", 3), (".nii", 7)):
        read = sitk.GetArrayFromImage(read_image(tmp_path / f"heart{ending}"))
        assert read[0, 0, 0] == value
