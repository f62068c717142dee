"""Whether what a network marked is a heart at all: a test without labels. Its error rates are in docs/reliability.md.

A network that was trained on hearts marks something in most images. In noise, a head or a bottle its views
differ, or what they mark has sizes that no heart has, or changes from slice to slice.
"""

from typing import Dict, NamedTuple, Optional

import numpy as np

from confuda.labels import LV, MYO, RV, STRUCTURES
from confuda.measure.overlap import measure_dice

LEAST_AGREEMENT = 0.75
"""Mean Dice between the views. The worst of 138 real volumes has 0.855 with bundle 0.3.0; vessels without a wall have
up to 0.70, a long-axis stack 0.32."""

LOW_AGREEMENT = 0.92
"""Below this mean Dice between the network's views of a volume its segmentation should be checked. Of the 126 volumes
with a Dice of 0.80 or more 9 are below, and of the 12 others 4."""

AREAS_CM2 = {MYO.name: (2.0, 45.0), LV.name: (0.4, 55.0), RV.name: (0.0, 55.0)}
"""Of the median slice. In 235 references of ACDC and MS-CMRSeg it is 6 to 34, 1.4 to 45 and 0 to 41."""

LEAST_AGREEMENT_WITHOUT_RV = 0.85
LEAST_AGREEMENT_OF_STACK_WITHOUT_RV = 0.95
FEWEST_SLICES_OF_STACK = 3
LEAST_SHARE_OF_RV = 0.02
"""Only slices at the apex show no right ventricle; a bright disk with a dark rim does not either. The share is of all
that was marked; it is at least 0.05 in those references."""

LEAST_LEFT_WITHOUT_RV_CM2 = 10.0
"""Area of left ventricle and muscle in the median slice below which a stack without a right ventricle is no heart,
however sure the network is. Of bones in thighs, 6 square centimetres, its views agree by 0.97."""

LEAST_SHARE_OF_RINGS = 0.3
"""Share of the slices that show both myocardium and left ventricle; at least 0.78 in those references."""

LEAST_CONTINUITY = 0.3
FEWEST_SLICES_FOR_CONTINUITY = 5
"""Mean Dice of myocardium and left ventricle together between neighbouring slices; fewer slices may be far apart. Where
slices were taken in different breath-holds a true heart can have 0.34 (M&Ms 225, end-systole)."""


class Marks(NamedTuple):
    """What was measured of the marked structures.

    areas_cm2: of each structure in the median slice of those that show any; rv_share: of all that was marked, 0 to 1;
    ring_share: share of the slices with both myocardium and left ventricle; continuity: 0 to 1, None for a single
    slice; slices: their number.
    """

    areas_cm2: Dict[str, float]
    rv_share: float
    ring_share: float
    continuity: Optional[float]
    slices: int


def measure_marks(labels: np.ndarray, pixel_mm: float) -> Marks:
    """Measure ``labels`` (S, H, W) of ours, at least one voxel of which is marked; pixels are square."""
    masks = {structure.name: labels == structure.label for structure in STRUCTURES}
    counts = {name: mask.sum(axis=(1, 2)) for name, mask in masks.items()}
    marked = (labels > 0).any(axis=(1, 2))
    left = masks[MYO.name] | masks[LV.name]
    overlaps = [measure_dice(one, other) for one, other in zip(left, left[1:]) if one.any() or other.any()]
    return Marks(
        areas_cm2={name: float(np.median(count[marked])) * pixel_mm**2 / 100 for name, count in counts.items()},
        rv_share=float(counts[RV.name].sum() / (labels > 0).sum()),
        ring_share=float(((counts[MYO.name] > 0) & (counts[LV.name] > 0)).mean()),
        continuity=float(np.mean(overlaps)) if overlaps else None,
        slices=len(labels),
    )


def find_doubt(labels: np.ndarray, agreement: float, pixel_mm: float) -> str:
    """Why what was marked is no heart, as the end of a sentence; "" where it may be one.

    Args:
        labels: (S, H, W) of ours, cleaned.
        agreement: mean Dice between the network's views, 0 to 1.
        pixel_mm: side of a pixel.
    """
    if not labels.any():
        return "nothing was marked"
    if agreement < LEAST_AGREEMENT:
        return "the network sees something else in each view of it"
    marks = measure_marks(labels, pixel_mm)
    for name, (least, most) in AREAS_CM2.items():
        if not least <= marks.areas_cm2[name] <= most:
            return f"{name} would have {marks.areas_cm2[name]:.1f} square centimetres"
    is_stack = marks.slices >= FEWEST_SLICES_OF_STACK
    without_rv = LEAST_AGREEMENT_OF_STACK_WITHOUT_RV if is_stack else LEAST_AGREEMENT_WITHOUT_RV
    small = is_stack and marks.areas_cm2[MYO.name] + marks.areas_cm2[LV.name] < LEAST_LEFT_WITHOUT_RV_CM2
    if marks.rv_share < LEAST_SHARE_OF_RV and (agreement < without_rv or small):
        return "it has no right ventricle"
    if marks.ring_share < LEAST_SHARE_OF_RINGS:
        return "hardly any slice shows a ring of muscle"
    if marks.slices >= FEWEST_SLICES_FOR_CONTINUITY and (marks.continuity or 0.0) < LEAST_CONTINUITY:
        return "neighbouring slices have nothing in common"
    return ""
