"""A volume in memory: grey values, where they lie in the patient, and what the user should know about them."""

from typing import Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.imaging.stack import find_slice_axis
from confuda.imaging.volume_checks import SHEAR_REFUSED, SHEARED, check_geometry, find_blank_slices, replace_unusable

SPACES = ("RAS", "LPS")
_NAME = "The array"


class Volume:
    """A scalar 3-D image with its geometry.

    Args:
        array: (I, J, K) numbers; their axes may have any meaning and order. Values that come out later (labels, soft
            labels) are in the same order: ``labels[i, j, k]`` belongs to ``array[i, j, k]``.
        affine: 4 x 4, from the index (i, j, k, 1) to millimetres, as nibabel has it: ``affine @ (i, j, k, 1)``.
        spacing_mm: three distances between voxel centres in the order of the array's axes, where there is no affine.
            The axis of the slices is found by them; the others are then taken to run to the patient's left and back as
            on a screen: (slice, row, column) if the slices come first, else (column, row, slice).
        space: what the affine's millimetres are, "RAS" (right to left, back to front; nibabel, Slicer) or "LPS" (left
            to right, front to back; DICOM, ITK).

    Attributes:
        image: as SimpleITK has it, in LPS; its axes i, j, k are those of the array.
        warnings: what the user should know, found while reading.

    Raises:
        InputError: if these make no volume that can be segmented: see :func:`confuda.read_volume`.
    """

    def __init__(
        self,
        array: np.ndarray,
        affine: Optional[np.ndarray] = None,
        *,
        spacing_mm: Optional[Sequence[float]] = None,
        space: str = "RAS",
    ) -> None:
        array = np.asarray(array)
        if array.ndim != 3 or array.dtype.kind not in "iufb" or not array.size:
            raise InputError("A volume is an array of three axes that holds real numbers.")
        if array.dtype.kind == "b":
            array = array.astype(np.uint8)
        elif array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
            array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
        # SimpleITK takes numbers in this machine's order of bytes only; files of other machines hold others.
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if (affine is None) == (spacing_mm is None):
            raise InputError("A volume needs to know where its voxels lie: give either an affine or spacing_mm.")
        if affine is not None:
            origin, spacing, direction = _split_affine(affine, space)
        else:
            origin, spacing, direction = _lay_out(array.shape, spacing_mm)
        # SimpleITK's own order is that of its indices, numpy's view of it the reverse.
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        image.SetOrigin(origin)
        image.SetSpacing(spacing)
        image.SetDirection(direction)
        warnings = check_geometry(image, _NAME, is_spacing_given=True)
        self.image, replaced = replace_unusable(image, _NAME)
        self.warnings: Tuple[str, ...] = (*warnings, *replaced, *find_blank_slices(self.image))

    @classmethod
    def from_image(cls, image: sitk.Image) -> "Volume":
        """A volume of an image of SimpleITK, which is not copied unless voxels have to be replaced.

        Raises:
            InputError: if it is no volume that can be segmented: see :func:`confuda.read_volume`.
        """
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() > 1 or _is_complex(image):
            raise InputError("A volume is an image of three axes that holds one real number a voxel.")
        warnings = check_geometry(image, "The image", is_spacing_given=True)
        image, replaced = replace_unusable(image, "The image")
        return cls.from_checked(image, (*warnings, *replaced, *find_blank_slices(image)))

    @classmethod
    def from_checked(cls, image: sitk.Image, warnings: Sequence[str] = ()) -> "Volume":
        """A volume of an image that was checked, as files are when they are read; it is not copied."""
        volume = cls.__new__(cls)
        volume.image, volume.warnings = image, tuple(warnings)
        return volume

    @property
    def array(self) -> np.ndarray:
        """A copy of the grey values, (I, J, K)."""
        return sitk.GetArrayFromImage(self.image).T

    @property
    def affine(self) -> np.ndarray:
        """4 x 4, from the index (i, j, k, 1) to millimetres in RAS."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.image.GetDirection(), (3, 3)) * self.image.GetSpacing()
        matrix[:3, 3] = self.image.GetOrigin()
        matrix[:2] *= -1
        return matrix

    @property
    def spacing_mm(self) -> Tuple[float, float, float]:
        """Distances between voxel centres, in the order of the array's axes."""
        first, second, third = self.image.GetSpacing()
        return first, second, third

    @property
    def slice_count(self) -> int:
        """How many slices are stacked along the slice axis."""
        size = self.image.GetSize()
        return size[find_slice_axis(size, self.image.GetSpacing())]


Geometry = Tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Origin, spacing, and direction by rows, in LPS."""


def _is_complex(image: sitk.Image) -> bool:
    return "complex" in image.GetPixelIDTypeAsString()


def _split_affine(affine: np.ndarray, space: str) -> Geometry:
    matrix = np.array(affine, dtype=float)
    if space not in SPACES:
        raise InputError(f"The space of an affine is one of {', '.join(SPACES)}.")
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError("An affine is a matrix of 4 x 4 finite numbers.")
    if space == "RAS":
        matrix[:2] *= -1
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.min() <= 0:
        raise InputError("The affine gives an axis no length: correct it.")
    direction = matrix[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR_REFUSED:
        raise InputError(SHEARED.format(path="The affine"))
    return matrix[:3, 3].tolist(), spacing.tolist(), direction.ravel().tolist()


def _lay_out(shape: Tuple[int, ...], spacing_mm: Optional[Sequence[float]]) -> Geometry:
    spacing = np.array(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise InputError("spacing_mm takes three finite numbers above 0, in the order of the array's axes.")
    slice_axis = find_slice_axis(shape, spacing.tolist())
    others = [axis for axis in range(3) if axis != slice_axis]
    row, column = others if slice_axis == 0 else others[::-1]
    direction = np.zeros((3, 3))
    direction[[0, 1, 2], [column, row, slice_axis]] = 1
    return (0.0, 0.0, 0.0), spacing.tolist(), direction.ravel().tolist()
