"""DICOM series of one slice each put together, as one vendor exports a short-axis stack."""

from typing import List, Sequence, Set

from confuda.imaging.parallel_slices import SlicePlace, join_slices, strip_number
from confuda.io.dicom_plane import Plane
from confuda.io.dicom_stacks import UNEVEN, DicomStack, describe_unevenness, divide_into_stacks, sort_key


def find_stacks(planes: Sequence[Plane]) -> List[DicomStack]:
    """All stacks among ``planes``, in the order of their series' numbers; what cannot be one volume has a problem.

    Series of one slice each are put together where direction, pixel size, frame of reference and description are the
    same and their places differ.
    """
    return sorted(_join_single_slices(divide_into_stacks(planes)), key=sort_key)


def _join_single_slices(stacks: Sequence[DicomStack]) -> List[DicomStack]:
    """Stacks, with those of one slice put together where they belong together."""
    single = [stack for stack in stacks if stack.slices == 1 and not stack.problem and not stack.is_localizer]
    single = [stack for stack in single if stack.first.orientation is not None and stack.first.spacing is not None]
    result = [stack for stack in stacks if not any(stack is other for other in single)]
    joined: Set[int] = set()
    for group in join_slices([_describe_place(stack) for stack in single]):
        parts = [single[number] for number in group.order]
        joined.update(group.order)
        phases = tuple(tuple(part.phases[phase][0] for part in parts) for phase in range(len(parts[0].phases)))
        name = strip_number(parts[0].first.description) or "without a description"
        notes = [f"{len(parts)} DICOM series of one slice each were taken for one stack ({name})."]
        notes += dict.fromkeys(note for part in parts for note in part.notes)
        notes += describe_unevenness(group.unevenness)
        problem = "" if group.is_even else UNEVEN
        result.append(DicomStack(phases, parts[0].sorted_by, problem, parts[0].kind, tuple(notes)))
    return result + [stack for number, stack in enumerate(single) if number not in joined]


def _describe_place(stack: DicomStack) -> SlicePlace:
    plane = stack.first
    assert plane.spacing is not None and plane.position is not None and plane.orientation is not None
    key = (
        plane.study,
        plane.frame_of_reference,
        plane.modality,
        strip_number(plane.description),
        plane.image_type[:4],
        stack.kind,
        len(stack.phases),
    )
    rows_apart, columns_apart = plane.spacing
    row, column = plane.orientation[:3], plane.orientation[3:]
    return SlicePlace((plane.columns, plane.rows), (columns_apart, rows_apart), plane.position, row, column, key)  # type: ignore[arg-type]
