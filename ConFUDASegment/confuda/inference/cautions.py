"""Reasons to doubt a segmentation although a heart was found: checks without labels, one sentence each.

How often each of them warns of good and of bad outlines is in docs/limits.md; ``benchmarks/cautions.py`` measures it.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.imaging.stack import HeartCrop
from confuda.inference.acceptance import Opinion, measure_enclosure
from confuda.inference.plausibility import LOW_AGREEMENT
from confuda.labels import LV, MYO, RV

MOST_OF_OUTLINE_AT_BORDER = 0.02
REACH_MM = 2.5
SOLID_MM = 11.0
"""Share of the heart's outline that may lie within this reach of where the image ends, or of its padding: areas of the
smallest value that hold a square of this side. Dark air and lungs are smaller or have noise."""

LARGEST_RIVAL = 0.8
"""Another place may be the heart, too, if two views of it agree at least by this share of their agreement here."""

LEAST_SIGNAL_TO_NOISE = 8.0
"""Difference of muscle and blood, divided by the noise between neighbouring pixels."""

LEAST_SEPARATION = 1.15
"""Difference of muscle and blood, divided by how far the grey values of each spread."""

AREAS_CM2 = (18.0, 75.0)
"""Of left ventricle and myocardium together in the slice where they are largest."""

LARGEST_ASPECT = 1.6
"""Length of the left ventricle along the slices, divided by its diameter with its wall."""

WALLS_MM = (3.5, 26.0)
"""Of a ring with the areas of myocardium and left ventricle, the median over the large slices."""

LARGE_SLICE = 0.6
"""Slices count as large from this share of the largest slice's area of left ventricle and myocardium."""

LEAST_RV = 0.05
MOST_SLICES_WITHOUT_RV = 0.65
"""Area of the right ventricle as a share of left ventricle and myocardium; share of the large slices that may lack it,
as the most basal and apical ones do."""

LEAST_ENCLOSURE = 0.7
"""Share of the left ventricle's outline that borders on muscle, the median over the large slices."""

FEWEST_PIXELS = 20
"""Grey values of fewer pixels than these tell nothing about a slice."""


class Signs(NamedTuple):
    """What was measured of a segmentation.

    agreement: mean Dice between the views, 0 to 1. border_share: of the heart's outline, what lies where the image
    ends, 0 to 1. rival: the agreement of two views at another place that might be the heart, as a share of theirs here;
    0 without one. signal_to_noise, separation: of muscle and blood; None where they cannot be told. area_cm2, wall_mm,
    aspect: of the left ventricle with its wall. without_rv: share of the large slices, 0 to 1. enclosure: of the left
    ventricle by muscle, 0 to 1. gaps: slices between others with a ring that have none.
    """

    agreement: float
    border_share: float
    rival: float
    signal_to_noise: Optional[float]
    separation: Optional[float]
    area_cm2: float
    wall_mm: float
    aspect: float
    without_rv: float
    enclosure: float
    gaps: int


def find_cautions(crop: HeartCrop, opinion: Opinion, rival: float = 0.0) -> List[str]:
    """Reasons to doubt the segmentation ``opinion`` of ``crop``, a sentence each; none where there are none.

    Args:
        rival: see :class:`Signs`.
    """
    labels = opinion.probabilities.argmax(axis=0)
    if not ((labels == MYO.label) | (labels == LV.label)).any():
        return []  # a structure that is not found at all is reported elsewhere
    return tell_cautions(measure_signs(crop, labels, opinion.agreement, rival))


def measure_signs(crop: HeartCrop, labels: np.ndarray, agreement: float, rival: float = 0.0) -> Signs:
    """Measure ``labels`` (S, H, W) of ours on the slices of ``crop``; myocardium or left ventricle are marked."""
    pixel_mm, distance_mm = crop.grid.spacing_mm[0], crop.stack.slice_distance_mm
    pixel_cm2 = pixel_mm**2 / 100
    muscle, blood, right = ((labels == s.label).sum(axis=(1, 2)) * pixel_cm2 for s in (MYO, LV, RV))
    left = muscle + blood
    large = np.flatnonzero(left >= LARGE_SLICE * left.max())
    ring = np.flatnonzero((muscle > 0) & (blood > 0))
    diameter_mm = 20 * np.sqrt(left.max() / np.pi)
    signal_to_noise, separation = _measure_contrast(crop.slices, labels, large)
    return Signs(
        agreement=agreement,
        border_share=_measure_border_share(crop, labels > 0),
        rival=rival,
        signal_to_noise=signal_to_noise,
        separation=separation,
        area_cm2=float(left.max()),
        wall_mm=float(np.median(10 * (np.sqrt(left[large] / np.pi) - np.sqrt(blood[large] / np.pi)))),
        aspect=float(len(ring) * distance_mm / diameter_mm),
        without_rv=float((right[large] < LEAST_RV * left[large]).mean()),
        enclosure=float(np.median([measure_enclosure(labels[number : number + 1]) for number in large])),
        gaps=int(ring[-1] - ring[0] + 1 - len(ring)) if len(ring) else 0,
    )


def tell_cautions(signs: Signs) -> List[str]:
    """A sentence for each of ``signs`` that is beyond its limit."""
    told = []
    is_cut_off = signs.border_share > MOST_OF_OUTLINE_AT_BORDER
    if is_cut_off:
        told.append(
            f"The heart is cut off: {signs.border_share:.0%} of its outline lies at the border of the image or of its "
            "padding, so its volumes are too small."
        )
    if signs.rival > LARGEST_RIVAL:
        told.append("Another place in the image may be the heart, too: if the wrong one was outlined, give its centre.")
    if signs.agreement < LOW_AGREEMENT:
        told.append(
            f"The network doubts: its views of this volume agree by {signs.agreement:.3f}, below {LOW_AGREEMENT:.2f}. "
            "Check every outline."
        )
    told += _tell_signal(signs)
    # A heart that is cut off has odd sizes and an open ring for that reason alone: one warning is enough.
    return told if is_cut_off else told + _tell_size(signs) + _tell_structures(signs)


def _tell_signal(signs: Signs) -> List[str]:
    if signs.signal_to_noise is not None and signs.signal_to_noise < LEAST_SIGNAL_TO_NOISE:
        return [
            f"The signal is low: muscle and blood differ by {signs.signal_to_noise:.1f} times the noise. Check every "
            "outline."
        ]
    if signs.separation is not None and signs.separation < LEAST_SEPARATION:
        return ["Muscle and blood, as outlined, hardly differ in brightness. Check the inner outlines."]
    return []


def _tell_size(signs: Signs) -> List[str]:
    least, most = AREAS_CM2
    thin, thick = WALLS_MM
    found = ""
    if not least <= signs.area_cm2 <= most:
        size = "small" if signs.area_cm2 < least else "large"
        found = (
            f"The heart is very {size}: its left ventricle with the wall has {signs.area_cm2:.0f} square centimetres"
        )
    elif signs.aspect > LARGEST_ASPECT:
        found = f"The heart is very long: its left ventricle is {signs.aspect:.1f} times as long as it is wide"
    elif not thin <= signs.wall_mm <= thick:
        size = "thin" if signs.wall_mm < thin else "thick"
        found = f"The wall of the left ventricle is very {size}, {signs.wall_mm:.1f} mm"
    return [f"{found}. Check the volume's spacing."] if found else []


def _tell_structures(signs: Signs) -> List[str]:
    told = []
    if signs.without_rv > MOST_SLICES_WITHOUT_RV:
        told.append("The right ventricle is missing in slices that show a large left ventricle: check it.")
    if signs.enclosure < LEAST_ENCLOSURE:
        told.append("The ring of muscle around the left ventricle is open: check the myocardium.")
    if signs.gaps:
        told.append("Slices in the middle of the heart have no left ventricle: check them.")
    return told


def _measure_border_share(crop: HeartCrop, heart: np.ndarray) -> float:
    beyond = _find_beyond(crop)
    inside = heart & ~beyond
    padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    core = inside & padded[:, 2:, 1:-1] & padded[:, :-2, 1:-1] & padded[:, 1:-1, 2:] & padded[:, 1:-1, :-2]
    outline = inside & ~core
    radius = int(round(REACH_MM / crop.grid.spacing_mm[0]))
    near = sitk.BinaryDilate(sitk.GetImageFromArray(beyond.astype(np.uint8)), [radius, radius, 0], sitk.sitkBall)
    return float((outline & (sitk.GetArrayViewFromImage(near) > 0)).sum() / max(1, outline.sum()))


def _find_beyond(crop: HeartCrop) -> np.ndarray:
    """Where the window shows no image (S, H, W): beyond its border, and in padding. Slices without any image count as
    inside, since :func:`confuda.imaging.volume_checks.find_blank_slices` tells of them."""
    stack = crop.stack
    seen = crop.cut(stack.slices > 0)
    radius = max(1, int(SOLID_MM / 2 / crop.grid.spacing_mm[0]))
    size = [radius, radius, 0]
    empty = sitk.GetImageFromArray((~seen).astype(np.uint8))
    # The window's own border is no end of the image: padding goes on beyond it.
    solid = sitk.BinaryErode(empty, size, sitk.sitkBox, 0.0, 1.0, True)
    beyond = sitk.GetArrayFromImage(sitk.BinaryDilate(solid, size, sitk.sitkBox)) > 0
    beyond[~seen.any(axis=(1, 2))] = False
    return beyond


def _measure_contrast(
    slices: np.ndarray, labels: np.ndarray, large: np.ndarray
) -> Tuple[Optional[float], Optional[float]]:
    """Difference of muscle and blood, by noise and by spread; None where no slice has enough of both."""
    to_noise, to_spread = [], []
    for number in large:
        plane, marked = slices[number], labels[number]
        muscle, blood = plane[marked == MYO.label], plane[marked == LV.label]
        if min(muscle.size, blood.size) < FEWEST_PIXELS:
            continue
        # A scar may make half of the muscle look like blood: the half that differs more counts.
        quarters = np.percentile(muscle, (25, 75))
        difference = float(np.abs(quarters - np.median(blood)).max())
        spread = np.hypot(_measure_spread(muscle), _measure_spread(blood)) / np.sqrt(2)
        to_spread.append(difference / max(spread, 1e-3))
        to_noise.append(difference / max(_measure_noise(plane, marked > 0), 1e-3))
    if not to_noise:
        return None, None
    return float(np.median(to_noise)), float(np.median(to_spread))


def _measure_spread(values: np.ndarray) -> float:
    """The standard deviation that a normal distribution with this median deviation has."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _measure_noise(plane: np.ndarray, heart: np.ndarray) -> float:
    """Standard deviation of the noise where the heart is: what a difference of two second derivatives leaves of an
    image (J. Immerkaer, Computer Vision and Image Understanding 1996), as a median, so that edges do not count."""
    rows = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    residue = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    inner = heart[1:-1, 1:-1]
    return _measure_spread(residue[inner]) / 6 if inner.any() else 0.0
