"""A short-axis volume as a stack of slices in a canonical frame, and the exact way back (docs/architecture.md).

The frame is chosen from physical directions alone, so the same heart gives the same slices whatever order and sign the
axes have in the file. Arrays are indexed (slice, row, column); images and directions are SimpleITK's (i, j, k) in LPS.
"""

from dataclasses import dataclass
from typing import Iterator, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

SLICE_SPACING_RATIO = 1.3
"""An axis whose spacing exceeds that of the others by this factor is the slice axis."""

SQUARE_RATIO = 1.01
"""Two spacings are equal within this factor."""

PORTION_VOXELS = 1 << 23
"""So many voxels at a time are turned into float32 or back: a large volume must not be in memory several times."""

_ROW_AXIS_REFERENCE = np.array([0.0, 1.0, -1.0])
"""Rows run towards posterior or inferior (LPS), as on a scanner's screen."""


def find_slice_axis(size: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """The axis (0, 1 or 2 in SimpleITK's order) along which the slices are stacked.

    A single axis of one voxel wins; then the axis with clearly the largest spacing; then the one whose spacing differs
    from that of two equal ones (pixels are mostly square, and overlapping slices closer than pixels); then the axis
    with the fewest voxels, the last one when there is a tie.
    """
    single = [axis for axis in range(3) if size[axis] == 1]
    if len(single) == 1:
        return single[0]
    by_spacing = sorted(range(3), key=lambda axis: spacing_mm[axis])
    if spacing_mm[by_spacing[2]] > SLICE_SPACING_RATIO * spacing_mm[by_spacing[1]]:
        return by_spacing[2]
    low, middle, high = (spacing_mm[axis] for axis in by_spacing)
    if high < SQUARE_RATIO * middle and middle > SLICE_SPACING_RATIO * low:
        return by_spacing[0]
    return min(range(3), key=lambda axis: (size[axis], -axis))


def normalise_intensity(slices: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Min-max normalisation to [0, 1] between two percentiles, float32.

    Voxels that equal the minimum are taken for padding and left out of the percentiles, so that neither outliers nor
    padding nor negative values decide the scale. A constant array becomes zero.
    """
    slices = np.asarray(slices, dtype=np.float32)
    inside = slices[slices > slices.min()] if slices.size else slices
    if inside.size == 0:
        return np.zeros_like(slices)
    bottom, top = np.percentile(inside, [low, high])
    if top - bottom <= 1e-6 * max(1.0, abs(float(top))):
        bottom, top = float(slices.min()), float(inside.max())
    return np.clip((slices - bottom) / (top - bottom), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class CanonicalFrame:
    """How the axes of a volume map to (slice, row, column): axis numbers in SimpleITK's order, and which ones are
    flipped."""

    axes: Tuple[int, int, int]
    flipped: Tuple[bool, bool, bool]

    @classmethod
    def from_image(cls, image: sitk.Image) -> "CanonicalFrame":
        direction = np.array(image.GetDirection()).reshape(3, 3)
        slice_axis = find_slice_axis(image.GetSize(), image.GetSpacing())
        first, second = [axis for axis in range(3) if axis != slice_axis]
        # The column axis is the one that runs more to the left; what is left over is the row axis.
        if abs(direction[0, first]) >= abs(direction[0, second]):
            column_axis, row_axis = first, second
        else:
            column_axis, row_axis = second, first
        column, row, normal = direction[:, column_axis], direction[:, row_axis], direction[:, slice_axis]
        return cls(
            axes=(slice_axis, row_axis, column_axis),
            flipped=(
                bool(normal[np.argmax(np.abs(normal))] < 0),
                bool(row @ _ROW_AXIS_REFERENCE < 0),
                bool(column[0] < 0),
            ),
        )

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` (numpy order k, j, i of the volume) as (slice, row, column)."""
        out = array.transpose([2 - axis for axis in self.axes])
        return np.flip(out, tuple(position for position, flip in enumerate(self.flipped) if flip))

    def invert(self, slices: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`apply`."""
        out = np.flip(slices, tuple(position for position, flip in enumerate(self.flipped) if flip))
        return out.transpose(np.argsort([2 - axis for axis in self.axes]))

    def slice_position(self, index: int, slices: int) -> int:
        """Where slice ``index`` of the file's slice axis stands in the canonical stack of ``slices`` slices."""
        return slices - 1 - index if self.flipped[0] else index


@dataclass(frozen=True)
class PlaneGrid:
    """An in-plane pixel grid in the canonical frame: size (rows, columns), spacing and position of pixel (0, 0) in
    mm."""

    size: Tuple[int, int]
    spacing_mm: Tuple[float, float]
    origin_mm: Tuple[float, float] = (0.0, 0.0)

    def resized_to(self, spacing_mm: float) -> "PlaneGrid":
        """The grid of isotropic ``spacing_mm`` that covers the same field of view, with the same middle."""
        size, origin = [], []
        for count, spacing, start in zip(self.size, self.spacing_mm, self.origin_mm):
            new_count = max(1, int(np.ceil(count * spacing / spacing_mm - 1e-6)))
            middle = start + 0.5 * (count - 1) * spacing
            size.append(new_count)
            origin.append(middle - 0.5 * (new_count - 1) * spacing_mm)
        return PlaneGrid((size[0], size[1]), (spacing_mm, spacing_mm), (origin[0], origin[1]))

    def cropped_at(self, center: Sequence[float], size: int) -> "PlaneGrid":
        """The grid of ``size`` x ``size`` pixels around pixel ``center`` (row, column), on this grid's pixels."""
        corner = [int(round(c)) - size // 2 for c in center]
        origin = tuple(o + k * s for o, k, s in zip(self.origin_mm, corner, self.spacing_mm))
        return PlaneGrid((size, size), self.spacing_mm, (origin[0], origin[1]))

    def to_image(self, slices: np.ndarray) -> sitk.Image:
        """A SimpleITK volume of ``slices`` (S, rows, columns) on this grid; slices are 1 mm apart, which is not
        used."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(slices))
        image.SetSpacing((self.spacing_mm[1], self.spacing_mm[0], 1.0))
        image.SetOrigin((self.origin_mm[1], self.origin_mm[0], 0.0))
        return image


def resample_in_plane(
    slices: np.ndarray, source: PlaneGrid, target: PlaneGrid, interpolator: int = sitk.sitkLinear, outside: float = 0.0
) -> np.ndarray:
    """``slices`` (S, rows, columns) of ``source`` on ``target``; linear interpolation is smoothed first when it
    shrinks."""
    if source == target:
        return np.array(slices, copy=True)
    image = source.to_image(slices)
    if interpolator == sitk.sitkLinear:
        # A Gaussian that turns the source's pixel into the target's: without it fine grids alias.
        variance = [
            max(0.0, (t**2 - s**2) / 12.0) for s, t in zip(reversed(source.spacing_mm), reversed(target.spacing_mm))
        ]
        if max(variance) > 0:
            image = sitk.DiscreteGaussian(sitk.Cast(image, sitk.sitkFloat32), [*variance, 0.0], 32, 0.01, True)
    reference = target.to_image(np.zeros((1, *target.size), dtype=np.uint8))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize((target.size[1], target.size[0], image.GetSize()[2]))
    resampler.SetOutputOrigin(reference.GetOrigin())
    resampler.SetOutputSpacing(reference.GetSpacing())
    resampler.SetInterpolator(interpolator)
    resampler.SetDefaultPixelValue(float(outside))
    return sitk.GetArrayFromImage(resampler.Execute(image))


def divide_into_portions(shape: Sequence[int]) -> Iterator[slice]:
    """Slice numbers of an array (slices, rows, columns), some at a time; see ``PORTION_VOXELS``."""
    count = max(1, PORTION_VOXELS // max(1, int(np.prod(shape[1:]))))
    for first in range(0, shape[0], count):
        yield slice(first, min(first + count, shape[0]))


def _subtract(values: np.ndarray, lowest: np.generic) -> np.ndarray:
    """``values - lowest`` as float32; small steps on top of a large offset must not be lost on the way."""
    if values.dtype.itemsize <= 2 or values.dtype == np.float32:
        return values.astype(np.float32) - np.float32(lowest)
    if values.dtype.kind in "iu":
        # Unsigned, so that no difference of two integers overflows.
        return (values.astype(np.uint64) - np.uint64(int(lowest) % (1 << 64))).astype(np.float32)
    return (values - lowest).astype(np.float32)


class ShortAxisStack:
    """The slices of one volume at the bundle's in-plane spacing, with the way back to the volume's own grid.

    Args:
        image: a 3-D scalar volume.
        spacing_mm: in-plane spacing of the slices.

    Attributes:
        slices: (S, rows, columns) float32 in [0, 1], the whole field of view.
        grid: the in-plane grid of ``slices``; ``native_grid`` that of the volume.
        frame: the axis mapping.
    """

    def __init__(self, image: sitk.Image, spacing_mm: float) -> None:
        self.image = image
        self.frame = CanonicalFrame.from_image(image)
        _, row_axis, column_axis = self.frame.axes
        size, spacing = image.GetSize(), image.GetSpacing()
        self.native_grid = PlaneGrid((size[row_axis], size[column_axis]), (spacing[row_axis], spacing[column_axis]))
        self.grid = self.native_grid.resized_to(spacing_mm)
        native = self.frame.apply(sitk.GetArrayViewFromImage(image))
        lowest = native.min()
        slices = np.empty((native.shape[0], *self.grid.size), dtype=np.float32)
        for portion in divide_into_portions(native.shape):
            values = _subtract(native[portion], lowest)
            slices[portion] = resample_in_plane(values, self.native_grid, self.grid)
        self.slices = normalise_intensity(slices)

    def __len__(self) -> int:
        return self.slices.shape[0]

    @property
    def slice_distance_mm(self) -> float:
        """From the middle of a slice to that of the next."""
        return float(self.image.GetSpacing()[self.frame.axes[0]])

    def resample_labels(self, labels: sitk.Image) -> np.ndarray:
        """A labelmap on the volume's grid as (S, rows, columns) on the stack's grid, nearest neighbour, same type."""
        native = self.frame.apply(sitk.GetArrayViewFromImage(labels))
        return resample_in_plane(native, self.native_grid, self.grid, sitk.sitkNearestNeighbor)

    def locate(self, i: float, j: float) -> Tuple[float, float]:
        """Pixel (row, column) of ``slices`` for the in-plane voxel indices (i, j) of the volume.

        i and j count along the two in-plane axes in the file's order (x before y before z).
        """
        _, row_axis, column_axis = self.frame.axes
        by_axis = dict(zip(sorted((row_axis, column_axis)), (i, j)))
        position = []
        for place, axis in enumerate((row_axis, column_axis)):
            count = self.native_grid.size[place]
            index = count - 1 - by_axis[axis] if self.frame.flipped[place + 1] else by_axis[axis]
            mm = self.native_grid.origin_mm[place] + index * self.native_grid.spacing_mm[place]
            position.append((mm - self.grid.origin_mm[place]) / self.grid.spacing_mm[place])
        return position[0], position[1]

    def crop(self, center: Optional[Sequence[float]] = None, size: int = 128) -> "HeartCrop":
        """The square of ``size`` pixels around ``center`` (row, column of ``slices``); the image centre by default."""
        if center is None:
            center = [(count - 1) / 2 for count in self.grid.size]
        return HeartCrop(self, self.grid.cropped_at(center, size))


class HeartCrop:
    """A square window of a stack: what the network sees. ``slices`` (S, size, size) in [0, 1], zero outside the
    image."""

    def __init__(self, stack: ShortAxisStack, grid: PlaneGrid) -> None:
        self.stack = stack
        self.grid = grid
        self._rows, self._columns = (
            int(round((grid.origin_mm[axis] - stack.grid.origin_mm[axis]) / grid.spacing_mm[axis])) for axis in (0, 1)
        )
        self.slices = normalise_intensity(self.cut(stack.slices))

    def cut(self, slices: np.ndarray) -> np.ndarray:
        """This window of any array (S, rows, columns) on the stack's grid, zero outside."""
        window = np.zeros((slices.shape[0], *self.grid.size), dtype=slices.dtype)
        top, left = max(0, self._rows), max(0, self._columns)
        bottom = min(slices.shape[1], self._rows + self.grid.size[0])
        right = min(slices.shape[2], self._columns + self.grid.size[1])
        if bottom > top and right > left:
            rows = slice(top - self._rows, bottom - self._rows)
            columns = slice(left - self._columns, right - self._columns)
            window[:, rows, columns] = slices[:, top:bottom, left:right]
        return window

    def restore(self, probabilities: np.ndarray) -> sitk.Image:
        """Labels on the volume's own grid, voxel for voxel.

        Args:
            probabilities: (K, S, size, size), class 0 background; resampled linearly, then the largest wins.

        Returns:
            A uint8 labelmap 0..K-1 with the geometry of the volume; background outside the window.
        """
        native_grid = self.stack.native_grid
        labels = np.zeros((len(self.stack), *native_grid.size), dtype=np.uint8)
        for portion in divide_into_portions(labels.shape):
            best = np.full(labels[portion].shape, -1.0, dtype=np.float32)
            for label, plane in enumerate(probabilities):
                outside = 1.0 if label == 0 else 0.0
                on_native = self._resample_back(plane[portion].astype(np.float32), native_grid, outside)
                labels[portion][on_native > best] = label
                np.maximum(best, on_native, out=best)
        restored = sitk.GetImageFromArray(np.ascontiguousarray(self.stack.frame.invert(labels)))
        restored.CopyInformation(self.stack.image)
        return restored

    def restore_soft(self, probabilities: np.ndarray) -> np.ndarray:
        """Soft labels (K, S, size, size) on the volume's own grid, float32, with the axes of SimpleITK's array (k, j,
        i) after K; outside the window everything is background. The largest of them is the label of :meth:`restore`."""
        native_grid, frame = self.stack.native_grid, self.stack.frame
        return np.stack(
            [
                frame.invert(self._resample_back(plane.astype(np.float32), native_grid, 1.0 if label == 0 else 0.0))
                for label, plane in enumerate(probabilities)
            ]
        )

    def _resample_back(self, plane: np.ndarray, native_grid: PlaneGrid, outside: float) -> np.ndarray:
        # Shrinking needs no smoothing here: soft labels are smooth, and smoothing would move thin walls.
        image = self.grid.to_image(plane)
        resampler = sitk.ResampleImageFilter()
        resampler.SetSize((native_grid.size[1], native_grid.size[0], image.GetSize()[2]))
        resampler.SetOutputOrigin((native_grid.origin_mm[1], native_grid.origin_mm[0], 0.0))
        resampler.SetOutputSpacing((native_grid.spacing_mm[1], native_grid.spacing_mm[0], 1.0))
        resampler.SetInterpolator(sitk.sitkLinear)
        resampler.SetDefaultPixelValue(outside)
        return sitk.GetArrayFromImage(resampler.Execute(image))
