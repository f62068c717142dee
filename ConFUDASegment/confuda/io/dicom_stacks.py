"""Planes of DICOM files put together: series by series into stacks of slices, each taken once or phase by phase."""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from confuda.imaging.parallel_slices import (
    GAP_REFUSED,
    GAP_WARNED,
    LARGEST_DIFFERENCE,
    SAME_PLACE_MM,
    differ,
    find_normal,
    measure_steps,
)
from confuda.io.dicom_pixels import read_stored_values
from confuda.io.dicom_plane import NOTHING, SLICE_LOCATION, Plane, make_vector

FEWEST_OF_A_STACK = 3
"""A series of one direction and of fewer planes is a view, not a stack of its own."""

LOCALIZER_NAME = re.compile(r"locali[sz]er|scout|survey|(^|[\W_])loc([\W_]|$)", re.IGNORECASE)
SHORT_AXIS_NAME = re.compile(r"short[\W_]*ax|kurz\w*[\W_]*achse|(^|[\W_])(p?sax?)([\W_\d]|$)", re.IGNORECASE)

IMAGE_KINDS = {"M": "magnitude", "P": "phase", "R": "real part", "I": "imaginary part"}
"""The third value of ImageType (PS3.3, C.8.3.1.1.1)."""

UNEVEN = "the slices are not evenly spaced and parallel: a slice is missing, or several stacks are mixed"

SORT_KEYS: Tuple[Tuple[str, Callable[[Plane], Optional[float]]], ...] = (
    ("temporal position", lambda plane: plane.temporal),
    ("trigger time", lambda plane: plane.trigger_ms),
    ("inversion time", lambda plane: plane.inversion_ms),
    ("echo time", lambda plane: plane.echo_ms),
    ("acquisition number", lambda plane: plane.acquisition),
    ("instance number", lambda plane: plane.instance),
)
"""What tells images at one place apart, the first that does in the whole stack."""

NO_CINE_KEYS = ("inversion time", "echo time", "acquisition number")
"""Images that these tell apart are no phases of the heart's motion: a map's, say, or repeated ones."""


@dataclass(frozen=True)
class DicomStack:
    """Parallel slices at even distances, with one image or more of each.

    phases: (phases, slices) planes in order of time and, along the normal, of place; with a ``problem`` one phase of
    all planes in no order. sorted_by: what tells the phases apart. problem: why it cannot be one volume, a clause;
    kind: what its ImageType says where that tells it from another stack of its series; notes: what the user should
    know, sentences.
    """

    phases: Tuple[Tuple[Plane, ...], ...]
    sorted_by: str = ""
    problem: str = ""
    kind: str = ""
    notes: Tuple[str, ...] = ()

    @property
    def first(self) -> Plane:
        return self.phases[0][0]

    @property
    def slices(self) -> int:
        return len(self.phases[0])

    @property
    def is_cine(self) -> bool:
        """Whether its phases are those of the heart's motion, as far as headers tell."""
        return len(self.phases) > 1 and self.sorted_by not in NO_CINE_KEYS

    @property
    def series(self) -> Set[str]:
        """The UIDs of its series."""
        return {plane.series for phase in self.phases for plane in phase}

    @property
    def times_ms(self) -> Optional[Tuple[float, ...]]:
        """The mean trigger time of each phase, None where not all images tell it."""
        times = [[plane.trigger_ms for plane in phase if plane.trigger_ms is not None] for phase in self.phases]
        if any(len(known) < len(phase) for known, phase in zip(times, self.phases)):
            return None
        return tuple(float(np.mean(phase)) for phase in times)

    @property
    def is_localizer(self) -> bool:
        return "LOCALIZER" in self.first.image_type or LOCALIZER_NAME.search(self.first.description) is not None

    @property
    def is_candidate(self) -> bool:
        """Whether it can be the stack that the user means: several slices, and nothing wrong with them."""
        return not self.problem and self.slices > 1 and not self.is_localizer

    @property
    def is_spoilt(self) -> bool:
        """Whether it might have been the stack that the user means, but for its ``problem``."""
        if not self.problem or self.is_localizer or self.first.is_colour:
            return False
        return max(map(len, _group_by_direction(self.phases[0]))) >= FEWEST_OF_A_STACK

    @property
    def names_short_axis(self) -> bool:
        return SHORT_AXIS_NAME.search(self.first.description) is not None

    def describe(self) -> str:
        """Description, size, slices and phases, for a list or a sentence; no name of a patient."""
        first = self.first
        parts = [f"'{first.description}'" if first.description else "without a description"]
        parts += [self.kind] if self.kind else []
        parts.append(f"{first.columns} x {first.rows}")
        what = "images" if self.problem else "slices"
        parts.append(f"{self.slices} {what if self.slices != 1 else what[:-1]}" + self._count_phases())
        parts += ["colour"] if first.is_colour else []
        parts += [self.problem] if self.problem and not first.is_colour else []
        return ", ".join(parts)

    def _count_phases(self) -> str:
        if len(self.phases) == 1:
            return ""
        return f" of {len(self.phases)} {'phases' if self.is_cine else 'images each'}"


def divide_into_stacks(planes: Sequence[Plane]) -> List[DicomStack]:
    """The stacks of each series, in the order of the series' numbers; what cannot be one volume has a problem."""
    by_series: Dict[Tuple[str, str], List[Plane]] = {}
    for plane in planes:
        by_series.setdefault((plane.study, plane.series), []).append(plane)
    stacks = [stack for group in by_series.values() for stack in _divide_series(group)]
    stacks.sort(key=sort_key)
    return stacks


def sort_key(stack: DicomStack) -> Tuple:
    """By study, series number, and what else makes the order the same in every run."""
    first = stack.first
    number = first.series_number
    return (first.study, number is None, number or 0, first.series, stack.kind, str(first.path), first.frame)


def _divide_series(planes: List[Plane]) -> List[DicomStack]:
    """The stacks of one series: one, unless it has several directions with several slices each."""
    colour = [plane for plane in planes if plane.is_colour]
    grey = [plane for plane in planes if not plane.is_colour]
    stacks = [DicomStack((tuple(colour),), problem="colour images")] if colour else []
    groups = _group_by_direction(grey)
    if len(groups) > 1 and min(map(len, groups)) < FEWEST_OF_A_STACK:
        groups = [grey]
    for group in groups:
        stacks += _arrange(group)
    return stacks


def _group_by_direction(planes: Sequence[Plane]) -> List[List[Plane]]:
    groups: List[List[Plane]] = []
    for plane in planes:
        for group in groups:
            one, other = group[0].orientation, plane.orientation
            if one == other or (one is not None and other is not None and not differ([one, other])):
                group.append(plane)
                break
        else:
            groups.append([plane])
    return groups


def _arrange(planes: Sequence[Plane], kind: str = "") -> List[DicomStack]:
    """Grey planes of one series, sorted by place and time; several stacks where ImageType tells them apart."""
    problem = _find_mixture(planes)
    notes: List[str] = []
    placed: List[Plane] = list(planes)
    if not problem:
        placed, problem = _place(planes, notes)
    if problem:
        return [DicomStack((tuple(planes),), problem=problem, kind=kind)]
    places = _group_by_place(placed)
    most = max(map(len, places))
    if most > 1:
        by_type = _group_by_type(placed)
        if len(by_type) > 1 and max(len(group) for part in by_type for group in _group_by_place(part)) < most:
            kinds = _name_types([part[0].image_type for part in by_type])
            return [stack for part, name in zip(by_type, kinds) for stack in _arrange(part, name)]
        places, dropped = _drop_copies(places)
        if dropped:
            notes.append(f"{dropped} identical copies of DICOM images were left out.")
    if len({len(group) for group in places}) > 1:
        counts = sorted({len(group) for group in places})
        problem = f"{counts[0]} to {counts[-1]} images at one place: an incomplete cine, or slices taken twice"
        return [DicomStack((tuple(planes),), problem=problem, kind=kind)]
    if (
        len({plane.image_type[2] for plane in placed if plane.image_type[2:3] and plane.image_type[2] in IMAGE_KINDS})
        > 1
    ):
        return [DicomStack((tuple(planes),), problem="magnitude and phase images are mixed", kind=kind)]
    sorted_by = _sort_phases(places)
    problem = _check_places(places, notes)
    phases = tuple(tuple(group[phase] for group in places) for phase in range(len(places[0])))
    if problem:
        return [DicomStack((tuple(planes),), problem=problem, kind=kind)]
    return [DicomStack(phases, sorted_by, kind=kind, notes=tuple(notes))]


def _find_mixture(planes: Sequence[Plane]) -> str:
    """What is not the same in all planes though it has to be, as a clause; nothing where all is well."""
    if len({(plane.rows, plane.columns) for plane in planes}) > 1:
        return "the files differ in size: keep the slices of one stack only"
    spacings = [plane.spacing for plane in planes if plane.spacing is not None]
    if 0 < len(spacings) < len(planes):
        return "only some of the files state a pixel spacing: export the series again"
    if spacings and differ(spacings, relative=True):
        return "the files differ in pixel spacing: keep the slices of one stack only"
    orientations = [plane.orientation for plane in planes if plane.orientation is not None]
    if len(planes) > 1 and len(orientations) < len(planes):
        return "the files do not say in which direction their slices lie: export the series again"
    if orientations:
        if differ(orientations):
            return "the files differ in direction: keep the slices of one stack only"
        lengths = [np.linalg.norm(half) for half in np.reshape(orientations[0], (2, 3))]
        if max(abs(length - 1) for length in lengths) > LARGEST_DIFFERENCE:
            return "the files do not say in which direction their slices lie: export the series again"
    return ""


def _place(planes: Sequence[Plane], notes: List[str]) -> Tuple[List[Plane], str]:
    """The planes with a position each, and a problem where there is none to be had."""
    if all(plane.position is not None for plane in planes):
        return list(planes), ""
    first = planes[0]
    if len(planes) == 1:
        notes.append("The DICOM image does not say where it lies: its segmentation lies at the origin.")
        orientation = first.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        return [replace(first, position=(0.0, 0.0, 0.0), orientation=orientation, placed_by=NOTHING)], ""
    if all(plane.slice_location is not None for plane in planes) and first.orientation is not None:
        notes.append(
            "The DICOM images tell their slice location but not their position: slices are placed along their normal, "
            "and where the stack lies in the body is not known."
        )
        normal = find_normal(first.orientation[:3], first.orientation[3:])
        located = [make_vector((plane.slice_location or 0.0) * normal) for plane in planes]
        return [replace(plane, position=x, placed_by=SLICE_LOCATION) for plane, x in zip(planes, located)], ""
    return list(planes), "the files do not say where their slices lie: export the series again"


def _group_by_place(planes: Sequence[Plane]) -> List[List[Plane]]:
    """Planes at one place together, the places sorted along the normal."""
    first = planes[0]
    orientation = first.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    normal = find_normal(orientation[:3], orientation[3:])
    groups: List[List[Plane]] = []
    for plane in sorted(planes, key=lambda plane: float(np.dot(plane.place, normal))):
        for group in reversed(groups[-2:]):
            if np.linalg.norm(np.subtract(plane.place, group[0].place)) <= SAME_PLACE_MM:
                group.append(plane)
                break
        else:
            groups.append([plane])
    return groups


def _group_by_type(planes: Sequence[Plane]) -> List[List[Plane]]:
    groups: Dict[Tuple[str, ...], List[Plane]] = {}
    for plane in planes:
        groups.setdefault(plane.image_type, []).append(plane)
    return [groups[image_type] for image_type in sorted(groups)]


def _name_types(types: Sequence[Tuple[str, ...]]) -> List[str]:
    """What tells each ImageType from the others, in words where the standard has some."""
    shared = set(types[0]).intersection(*types[1:])
    names = []
    for image_type in types:
        own = [part for part in image_type if part not in shared]
        names.append(" ".join(IMAGE_KINDS.get(part, part) for part in own) or "other images")
    return names


def _drop_copies(places: Sequence[List[Plane]]) -> Tuple[List[List[Plane]], int]:
    """Without images that are there twice, voxel for voxel, and that nothing tells apart."""
    kept_places, dropped = [], 0
    for group in places:
        alike: Dict[Tuple, List[Plane]] = {}
        for plane in group:
            alike.setdefault((plane.image_type, *(get(plane) for _, get in SORT_KEYS[:-1])), []).append(plane)
        kept: List[Plane] = []
        for planes in alike.values():
            seen = set()
            for plane in planes:
                digest = _hash_pixels(plane) if len(planes) > 1 else ""
                if digest in seen:
                    dropped += 1
                    continue
                seen.add(digest)
                kept.append(plane)
        kept_places.append(kept)
    return kept_places, dropped


def _hash_pixels(plane: Plane) -> str:
    (frame,) = read_stored_values(plane.path, [plane.frame])
    return hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()


def _sort_phases(places: Sequence[List[Plane]]) -> str:
    """Sort the images of each place by what tells all of them apart; returns what that is."""
    if len(places[0]) == 1:
        return ""
    for name, get in SORT_KEYS:
        values = [[get(plane) for plane in group] for group in places]
        if all(None not in row and len(set(row)) == len(row) for row in values):
            for group in places:
                group.sort(key=lambda plane: get(plane) or 0.0)  # noqa: B023 (used at once)
            return name
    for group in places:
        group.sort(key=lambda plane: (str(plane.path), plane.frame))
    return "file name"


def _check_places(places: Sequence[List[Plane]], notes: List[str]) -> str:
    """A problem where the places are no regular grid."""
    if len(places) == 1:
        return ""
    first = places[0][0]
    assert first.orientation is not None
    positions = np.array([group[0].position for group in places])
    _, unevenness = measure_steps(positions, find_normal(first.orientation[:3], first.orientation[3:]))
    notes += describe_unevenness(unevenness)
    return "" if unevenness <= GAP_REFUSED else UNEVEN


def describe_unevenness(unevenness: float) -> List[str]:
    """A warning where slices that are taken for evenly spaced are not quite so."""
    if not GAP_WARNED < unevenness <= GAP_REFUSED:
        return []
    return [f"The slices are not quite evenly spaced (off by {100 * unevenness:.0f} % of their distance)."]
