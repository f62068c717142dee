"""Agreement of two segmentations in three dimensions: overlap, surface distances in mm, volumes in mL, mass in g."""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.labels import MYO, MYOCARDIAL_DENSITY_G_PER_ML, OWN_DATASET, STRUCTURES, map_labels
from confuda.measure.overlap import measure_dice

AVERAGED = ("dice", "hd95_mm", "asd_mm")
Scores = Dict[str, Dict[str, float]]


class SurfaceDistances(NamedTuple):
    """Distances in mm between two surfaces: 95 % Hausdorff distance and average symmetric surface distance."""

    hd95_mm: float
    asd_mm: float


def evaluate(reference: sitk.Image, prediction: sitk.Image) -> Scores:
    """Score ``prediction`` against ``reference``, label maps of ours (1 MYO, 2 LV, 3 RV) on one and the same grid.

    Returns ``{"MYO": {...}, "LV": {...}, "RV": {...}, "average": {...}}``; see :func:`evaluate_arrays`.

    Raises:
        InputError: if the grids differ, or a label is none of ours.
    """
    check_same_grid(reference, prediction)
    return evaluate_arrays(
        sitk.GetArrayViewFromImage(reference),
        sitk.GetArrayViewFromImage(prediction),
        reference.GetSpacing()[::-1],
    )


def evaluate_arrays(reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float]) -> Scores:
    """Score label arrays of one shape, 3-D; ``spacing_mm`` is in the order of their axes.

    A structure has ``dice`` (0 to 1), ``hd95_mm`` (the larger of the two directions' 95th percentiles), ``asd_mm``
    (mean over the voxels of both surfaces), ``reference_ml`` and ``prediction_ml``; ``average`` has the means of the
    first three. A structure in only one of the two is the worst case: Dice 0 and the image's diagonal as distance. One
    in neither is no error: Dice 1 and distance 0.

    Raises:
        InputError: if the shapes differ or are not 3-D, or a label is none of ours.
    """
    if reference.shape != prediction.shape or reference.ndim != 3 or len(spacing_mm) != 3:
        raise InputError(
            f"Two 3-D segmentations of one shape are needed, got {reference.shape} and {prediction.shape}."
        )
    truth, guess = map_labels(reference, OWN_DATASET), map_labels(prediction, OWN_DATASET)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    scores: Scores = {}
    for structure in STRUCTURES:
        a, b = truth == structure.label, guess == structure.label
        distances = measure_surface_distances(a, b, spacing_mm)
        scores[structure.name] = {
            "dice": measure_dice(a, b),
            "hd95_mm": distances.hd95_mm,
            "asd_mm": distances.asd_mm,
            "reference_ml": int(a.sum()) * voxel_ml,
            "prediction_ml": int(b.sum()) * voxel_ml,
        }
    scores["average"] = {
        key: float(np.mean([scores[structure.name][key] for structure in STRUCTURES])) for key in AVERAGED
    }
    return scores


def measure_surface_distances(a: np.ndarray, b: np.ndarray, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two masks (3-D, bool), between voxel centres; ``spacing_mm`` in axis order.

    If one mask is empty both figures are the image's diagonal, if both are, 0.
    """
    if not a.any() and not b.any():
        return SurfaceDistances(0.0, 0.0)
    if not a.any() or not b.any():
        diagonal = float(np.linalg.norm(np.multiply(a.shape, spacing_mm)))
        return SurfaceDistances(diagonal, diagonal)
    surface_a, surface_b = find_surface(a), find_surface(b)
    # Distances between surfaces need no voxel outside the box around both: a fraction of the image.
    box = _find_box(surface_a | surface_b)
    surface_a, surface_b = surface_a[box], surface_b[box]
    to_b = _measure_distance_to(surface_b, spacing_mm)[surface_a]
    to_a = _measure_distance_to(surface_a, spacing_mm)[surface_b]
    hd95 = max(np.percentile(to_b, 95), np.percentile(to_a, 95))
    return SurfaceDistances(float(hd95), float(np.concatenate([to_a, to_b]).mean()))


def find_surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask with a face neighbour outside it; beyond the image's border is outside.

    An axis of one voxel has no neighbours: the surface of a single slice is its outline, not all of it.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        if mask.shape[axis] == 1:
            continue
        line = np.moveaxis(mask, axis, 0)
        line_inner = np.moveaxis(inner, axis, 0)
        line_inner[1:] &= line[:-1]
        line_inner[:-1] &= line[1:]
        line_inner[[0, -1]] = False
    return mask & ~inner


def compute_volumes_ml(labelmap: sitk.Image) -> Dict[str, float]:
    """Volume of each structure in mL, ``{"MYO": ..., "LV": ..., "RV": ...}``, of a label map of ours."""
    labels = sitk.GetArrayViewFromImage(labelmap)
    voxel_ml = float(np.prod(labelmap.GetSpacing())) / 1000
    return {structure.name: int((labels == structure.label).sum()) * voxel_ml for structure in STRUCTURES}


def compute_myocardial_mass_g(labelmap: sitk.Image) -> float:
    """Mass of the left ventricle's myocardium in g, at 1.05 g/mL."""
    return compute_volumes_ml(labelmap)[MYO.name] * MYOCARDIAL_DENSITY_G_PER_ML


def check_same_grid(reference: sitk.Image, prediction: sitk.Image) -> None:
    """Make sure that voxel for voxel two images lie at one place, to 1 % of a voxel.

    Raises:
        InputError: saying what differs.
    """
    if reference.GetSize() != prediction.GetSize():
        raise InputError(
            f"The reference has {_format_size(reference)} voxels, the prediction {_format_size(prediction)}: "
            "resample one onto the grid of the other."
        )
    away = np.abs(np.subtract(_find_corners(reference), _find_corners(prediction))).max()
    if away > 0.01 * min(reference.GetSpacing()):
        raise InputError(
            f"The grids of reference and prediction are up to {away:.3g} mm apart (origin, spacing or orientation): "
            "resample one onto the grid of the other."
        )


def _format_size(image: sitk.Image) -> str:
    return " x ".join(str(voxels) for voxels in image.GetSize())


def _find_corners(image: sitk.Image) -> List[Tuple[float, ...]]:
    """Physical places (mm) of the first voxel and of the last one along each axis: they determine the grid."""
    corners = [image.TransformIndexToPhysicalPoint((0, 0, 0))]
    for axis, voxels in enumerate(image.GetSize()):
        index = [0, 0, 0]
        index[axis] = max(voxels - 1, 1)  # One slice still has a direction and a thickness.
        corners.append(image.TransformIndexToPhysicalPoint(index))
    return corners


def _find_box(mask: np.ndarray) -> Tuple[slice, ...]:
    return tuple(slice(int(index.min()), int(index.max()) + 1) for index in np.nonzero(mask))


def _measure_distance_to(surface: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Distance in mm of every voxel's centre to the nearest centre of ``surface`` (3-D, bool, not empty)."""
    # A margin, since ITK finds no border where the surface fills the box.
    padded = sitk.GetImageFromArray(np.pad(surface, 1).astype(np.uint8))
    padded.SetSpacing([float(mm) for mm in reversed(spacing_mm)])
    signed = sitk.SignedMaurerDistanceMap(
        padded, insideIsPositive=False, squaredDistance=False, useImageSpacing=True, backgroundValue=0
    )
    distance = sitk.GetArrayFromImage(signed)[1:-1, 1:-1, 1:-1].astype(np.float64)
    # Negative values: voxels of a surface so thick that they do not touch its background. Their distance is 0.
    return np.maximum(distance, 0.0)
