"""Where base, apex, septum and front of a left ventricle lie, from its labels alone.

Positions are physical (LPS, mm), so the result is the same whatever order and sign the axes have in the file. The front
is at right angles to the long axis and to the septum; which of the two such directions it is, the header says. Where
the header does not, it follows from base, apex and septum, since no heart is the mirror image of another one
(dextrocardia apart). Many public files are: their nominal orientation has the slices in the wrong order.
"""

from dataclasses import dataclass
from typing import List, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError
from confuda.labels import LV, MYO, RV, Structure

LEAST_TAPER = 0.03
"""Where the middle of the blood along the axis is nearer to the middle of the heart than this share of its length, its
shape does not tell base from apex."""

_TOWARDS_APEX = np.array([1.0, -1.0, -1.0])
"""Of a heart in its place the apex lies to the left, in front and below (LPS)."""

_TOWARDS_FRONT = np.array([0.0, -1.0, 1.0]) / np.sqrt(2)
"""... and the wall that is called anterior in front and above."""

CLEARLY_IN_FRONT = 0.3
"""Cosine from which the header's directions decide which of two opposite walls is the anterior one."""


@dataclass(frozen=True)
class LabelStack:
    """Labels as slices.

    labels: (S, rows, columns), 1 MYO, 2 LV, 3 RV; steps_mm: (3, 3), the physical step (LPS) to the next voxel along
    each of these axes, a row an axis, at right angles; slice_axis: which of the image's (i, j, k) is S.
    """

    labels: np.ndarray
    steps_mm: np.ndarray
    slice_axis: int = 2

    @classmethod
    def from_image(cls, image: sitk.Image, slice_axis: int) -> "LabelStack":
        """The slices of a 3-D label map along axis ``slice_axis`` (0, 1 or 2 in SimpleITK's order)."""
        steps = np.reshape(image.GetDirection(), (3, 3)).T * np.reshape(image.GetSpacing(), (3, 1))
        order = [slice_axis, *(axis for axis in (2, 1, 0) if axis != slice_axis)]
        return cls(view_as_slices(image, slice_axis), steps[order], slice_axis)

    @property
    def spacing_mm(self) -> np.ndarray:
        """Between slices, rows and columns, in mm."""
        return np.linalg.norm(self.steps_mm, axis=1)

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000


def view_as_slices(image: sitk.Image, slice_axis: int) -> np.ndarray:
    """The voxels of a 3-D image as (S, rows, columns): slices along ``slice_axis``, the other axes in numpy's order."""
    # A copy: a view would not keep an image alive that nobody else holds.
    return np.moveaxis(sitk.GetArrayFromImage(image), 2 - slice_axis, 0)


def restore_from_slices(slices: np.ndarray, slice_axis: int, image: sitk.Image) -> sitk.Image:
    """The inverse of :func:`view_as_slices`: an image with the geometry of ``image``."""
    restored = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(slices, 0, 2 - slice_axis)))
    restored.CopyInformation(image)
    return restored


@dataclass(frozen=True)
class HeartAxes:
    """Directions of a heart, unit vectors (LPS) at right angles to each other.

    apical: from base to apex, along the slices' axis; septal: from the middle of LV to RV; anterior: to the wall that
    lies in front. apical_step: +1 where the slice number grows towards the apex, -1 where it falls. doubts: what makes
    them uncertain, a sentence each.
    """

    apical: np.ndarray
    septal: np.ndarray
    anterior: np.ndarray
    apical_step: int
    doubts: Tuple[str, ...] = ()


def find_heart_axes(stack: LabelStack) -> HeartAxes:
    """Base and apex from where the blood is, septum from where RV touches MYO.

    Raises:
        InputError: saying which structure is missing.
    """
    labels = stack.labels
    both = [number for number in range(len(labels)) if _has(labels[number], LV) and _has(labels[number], MYO)]
    if len(both) < 2:
        raise InputError("The wall's segments need two slices at least that show the left ventricle and its muscle.")
    step, doubts = _find_apical_step(stack)
    towards = stack.steps_mm[0] / np.linalg.norm(stack.steps_mm[0])
    apical = towards * step
    rows, columns = (axis / np.linalg.norm(axis) for axis in stack.steps_mm[1:])
    total = np.zeros(3)
    for number in both:
        contact = find_contact(labels[number])
        if contact.any():
            away = (np.argwhere(contact) - find_middle(labels[number])) * stack.spacing_mm[1:]
            away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
            total = total + away[:, :1].sum() * rows + away[:, 1:].sum() * columns
    if np.linalg.norm(total) < 1e-6:
        raise InputError(
            "The wall's segments cannot be counted: the right ventricle nowhere touches the left one's muscle."
        )
    septal = total / np.linalg.norm(total)
    anterior = np.cross(septal, apical)
    in_front = float(anterior @ _TOWARDS_FRONT)
    if in_front < -CLEARLY_IN_FRONT:
        anterior = -anterior
        doubts.append(
            "By the file's header this heart is a mirror image, as in files that state no true orientation: "
            "the anterior wall is taken from the header's directions."
        )
    return HeartAxes(apical, septal, anterior, step, tuple(doubts))


def find_middle(plane: np.ndarray) -> np.ndarray:
    """Middle (row, column) of the LV in a slice that shows it."""
    return np.argwhere(plane == LV.label).mean(axis=0)


def find_contact(plane: np.ndarray) -> np.ndarray:
    """Pixels (bool) of MYO that touch RV face to face; where none does, those within three pixels of it, since some
    annotators leave a gap between the two."""
    muscle, near = plane == MYO.label, plane == RV.label
    if not near.any():
        return np.zeros(plane.shape, dtype=bool)
    for _ in range(3):
        near = _grow(near)
        if (near & muscle).any():
            break
    return near & muscle


def _grow(mask: np.ndarray) -> np.ndarray:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _has(plane: np.ndarray, structure: Structure) -> bool:
    return bool((plane == structure.label).any())


def _find_apical_step(stack: LabelStack) -> Tuple[int, List[str]]:
    """The cavities are wide at the base and end at the apex: the blood's middle lies on the base's side of the
    heart's."""
    labels = stack.labels
    blood = ((labels == LV.label) | (labels == RV.label)).sum(axis=(1, 2)).astype(float)
    heart = np.flatnonzero((labels == LV.label).any(axis=(1, 2)) | (labels == MYO.label).any(axis=(1, 2)))
    middle, length = heart.mean(), heart[-1] - heart[0] + 1
    inside = blood[heart[0] : heart[-1] + 1]
    off = (inside * (np.arange(heart[0], heart[-1] + 1) - middle)).sum() / inside.sum() / length
    if abs(off) >= LEAST_TAPER:
        return (1 if off < 0 else -1), []
    by_header = 1 if stack.steps_mm[0] @ _TOWARDS_APEX >= 0 else -1
    return by_header, [
        "The heart is as wide at one end as at the other: which end is the base is taken from the header's orientation."
    ]
