"""Fuzzing of geometry and labels: they come back whatever the grid, in every format."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Tuple

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st
from Testing.torture.fuzz_edits import hold


class Grid(NamedTuple):
    """The geometry of a volume: voxels along i, j, k, spacing in mm, origin, direction (nine numbers, orthonormal)."""

    size: Tuple[int, int, int]
    spacing_mm: Tuple[float, float, float]
    origin: Tuple[float, float, float]
    direction: Tuple[float, ...]

    def make_image(self, voxels: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(self.spacing_mm)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def _make_direction(number: int) -> Tuple[float, ...]:
    """Random axes at right angles, right- or left-handed."""
    axes, _ = np.linalg.qr(np.random.default_rng(number).normal(size=(3, 3)))
    return tuple(axes.ravel())


GRIDS = st.builds(
    Grid,
    st.tuples(*[st.integers(1, 24)] * 3),
    st.tuples(*[st.floats(0.2, 10.0)] * 3),
    st.tuples(*[st.floats(-1000, 1000)] * 3),
    st.one_of(st.just((1.0, 0, 0, 0, 1, 0, 0, 0, 1)), st.integers(0, 10_000).map(_make_direction)),
)


def check_stack(example: Tuple[Grid, float, int]) -> None:
    """A volume's slices are usable, and labels come back to the voxels from which they were taken."""
    from confuda.imaging.stack import ShortAxisStack

    grid, spacing_mm, number = example
    rng = np.random.default_rng(number)
    shape = grid.size[::-1]
    image = grid.make_image(rng.normal(100, 20, shape).astype(np.float32))
    stack = ShortAxisStack(image, spacing_mm)
    assert stack.slices.dtype == np.float32 and np.isfinite(stack.slices).all()
    assert 0 <= stack.slices.min() and stack.slices.max() <= 1
    voxels = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(stack.frame.invert(stack.frame.apply(voxels)), voxels)
    i, j = (rng.integers(0, grid.size[axis]) for axis in sorted(stack.frame.axes[1:]))
    row, column = stack.locate(int(i), int(j))
    assert -0.5 - 1e-6 <= row <= stack.grid.size[0] - 0.5 + 1e-6
    assert -0.5 - 1e-6 <= column <= stack.grid.size[1] - 0.5 + 1e-6

    # On the volume's own in-plane grid nothing may be lost; on another one large shapes keep their place.
    truth = _draw_block(shape, rng)
    labels = sitk.GetImageFromArray(truth)
    labels.CopyInformation(image)
    crop = stack.crop(size=int(max(stack.grid.size)) + 2)
    there = crop.cut(stack.resample_labels(labels))
    back = crop.restore(np.stack([there == label for label in range(4)]).astype(np.float32))
    assert (back.GetSize(), back.GetSpacing(), back.GetOrigin(), back.GetDirection()) == (
        image.GetSize(),
        image.GetSpacing(),
        image.GetOrigin(),
        image.GetDirection(),
    )
    _compare_in_mm(truth, sitk.GetArrayFromImage(back), stack, spacing_mm)


def _draw_block(shape: Tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Labels of a box of one structure, somewhere."""
    labels = np.zeros(shape, np.uint8)
    low = [int(rng.integers(0, count)) for count in shape]
    high = [int(rng.integers(start, count)) + 1 for start, count in zip(low, shape)]
    labels[tuple(slice(start, end) for start, end in zip(low, high))] = rng.integers(1, 4)
    return labels


def _compare_in_mm(truth: np.ndarray, back: np.ndarray, stack: Any, spacing_mm: float) -> None:
    """The box came back with each side at its place, to one pixel of the coarser grid; slices exactly."""
    wanted, found = (stack.frame.apply(labels) for labels in (truth, back))
    label = int(truth.max())
    assert set(np.unique(back)) <= {0, label}
    for axis, step_mm in enumerate((0.0, *stack.native_grid.spacing_mm)):
        others = tuple(other for other in range(3) if other != axis)
        before = np.flatnonzero((wanted > 0).any(axis=others))
        after = np.flatnonzero((found > 0).any(axis=others))
        if not len(after):
            sides_mm = [
                (np.ptp(np.flatnonzero((wanted > 0).any(axis=tuple({0, 1, 2} - {side})))) + 1) * step
                for side, step in zip((1, 2), stack.native_grid.spacing_mm)
            ]
            assert min(sides_mm) < 2 * spacing_mm, "a box of two pixels and more vanished"
            return
        if axis == 0:
            np.testing.assert_array_equal(before, after)
        else:
            away_mm = max(abs(int(before[0]) - int(after[0])), abs(int(before[-1]) - int(after[-1]))) * step_mm
            assert away_mm <= spacing_mm + step_mm, f"a side is {away_mm:.2f} mm away"


STACKS = st.tuples(GRIDS, st.floats(0.5, 3.0), st.integers(0, 2**31))


def fuzz_stack(count: int, number: int = 0) -> str:
    hold(check_stack, STACKS, count, number)
    return f"{count} volumes: slices usable, labels back at their voxels"


def fuzz_labels(count: int, number: int = 0) -> str:
    """Labels written and read again are the same, in every format and on every grid."""
    from confuda.io.file_name import LABEL_ENDINGS
    from confuda.io.segmentation_file import read_segmentation, write_segmentation
    from confuda.labels import DATASET_VALUES, STRUCTURES, map_labels

    with tempfile.TemporaryDirectory() as place:

        def check(example: Tuple[Grid, str, str, int]) -> None:
            grid, ending, dataset, drawn = example
            labels = np.random.default_rng(drawn).integers(0, 4, grid.size[::-1]).astype(np.uint8)
            image = grid.make_image(labels)
            path = write_segmentation(image, Path(place) / f"labels{ending}")
            again = read_segmentation(path, "confuda")
            np.testing.assert_array_equal(sitk.GetArrayFromImage(again), labels)
            # NIfTI keeps geometry in single precision.
            np.testing.assert_allclose(again.GetSpacing(), image.GetSpacing(), rtol=1e-5)
            np.testing.assert_allclose(again.GetOrigin(), image.GetOrigin(), atol=1e-3)
            np.testing.assert_allclose(again.GetDirection(), image.GetDirection(), atol=1e-4)
            foreign = np.zeros(labels.shape, np.int16)
            for structure in STRUCTURES:
                foreign[labels == structure.label] = DATASET_VALUES[dataset][structure.name]
            np.testing.assert_array_equal(map_labels(foreign, dataset), labels)

        examples = st.tuples(
            GRIDS, st.sampled_from(LABEL_ENDINGS), st.sampled_from(list(DATASET_VALUES)), st.integers(0, 99)
        )
        hold(check, examples, count, number)
    return f"{count} label maps: the same after writing and reading"
