"""How sure a network is of its segmentation: entropy of its soft labels, and agreement of its views of the slices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Dict

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError, UsageError
from confuda.imaging.stack import HeartCrop, resample_in_plane
from confuda.inference.acceptance import Opinion
from confuda.inference.prediction import compute_entropy
from confuda.io.atomic import replace_file
from confuda.io.file_name import LABEL_ENDINGS, SLICER_ENDING, find_ending
from confuda.io.itk_names import any_letters
from confuda.io.volume_file import read_image
from confuda.labels import STRUCTURES
from confuda.measure.overlap import compute_dice

MAP_NAME = "uncertainty.nrrd"
"""The map's file in a report's folder."""

CONTENT_KEY, CONTENT = "ConFUDA_content", "uncertainty"
"""Field of an NRRD header that tells a map of ours from a file of someone else."""


@dataclass
class Uncertainty:
    """What is known about the doubt of one segmentation.

    Attributes:
        entropy: (S, H, W) float32, 0 (one class is certain) to 1 (all classes equally likely); 0.5 is a tie of two.
        dissent: (S, H, W) float32, share of the views (flips and turns) that give the pixel another label.
        slice_entropy, slice_agreement: by structure (S,): mean entropy inside it, and mean Dice between each two views
            (0 to 1), both NaN where there is none of it.
        entropy_by_structure, agreement_by_structure: the same over all slices.
        heart_entropy: mean entropy inside the heart, NaN where there is no heart.
        agreement: mean Dice between each two views over the structures, as ``prediction.measure_agreement`` has it.
    """

    entropy: np.ndarray
    dissent: np.ndarray
    slice_entropy: Dict[str, np.ndarray]
    slice_agreement: Dict[str, np.ndarray]
    entropy_by_structure: Dict[str, float]
    agreement_by_structure: Dict[str, float]
    heart_entropy: float
    agreement: float


def measure_uncertainty(opinion: Opinion) -> Uncertainty:
    """The doubt of the network that formed ``opinion``, about the segmentation that follows from it.

    The entropy is that of the averaged, weighed soft labels before clean-up: what clean-up decides, it does not know.
    """
    labels, votes = opinion.probabilities.argmax(axis=0), opinion.votes
    if opinion.soft is None or votes is None:
        raise ValueError("the opinion was formed without what its doubt is measured by")
    entropy = compute_entropy(opinion.soft).astype(np.float32)
    dissent = (votes != labels).mean(axis=0, dtype=np.float32)
    shared = {structure.name: _count_shared(votes, structure.label) for structure in STRUCTURES}
    whole = {name: counts.sum(axis=0) for name, counts in shared.items()}
    pairs = np.concatenate([_pair_dice(counts) for counts in whole.values()])
    inside = {structure.name: labels == structure.label for structure in STRUCTURES}
    return Uncertainty(
        entropy=entropy,
        dissent=dissent,
        slice_entropy={
            name: np.array([_mean(plane[where]) for plane, where in zip(entropy, mask)])
            for name, mask in inside.items()
        },
        slice_agreement={name: np.array([_mean(_pair_dice(c)) for c in counts]) for name, counts in shared.items()},
        entropy_by_structure={name: _mean(entropy[mask]) for name, mask in inside.items()},
        agreement_by_structure={name: _mean(_pair_dice(counts)) for name, counts in whole.items()},
        heart_entropy=measure_heart_entropy(opinion),
        agreement=float(pairs.mean()) if len(pairs) else 0.0,
    )


def measure_heart_entropy(opinion: Opinion) -> float:
    """Mean entropy (0 to 1) inside the heart that the opinion sees; NaN where it sees none."""
    if opinion.soft is None:
        return float("nan")
    return _mean(compute_entropy(opinion.soft)[opinion.probabilities.argmax(axis=0) > 0])


def restore_field(crop: HeartCrop, field: np.ndarray) -> sitk.Image:
    """A field (S, size, size) of numbers from 0 to 1 on the volume's own grid, float32; 0 outside the window."""
    stack = crop.stack
    native = resample_in_plane(np.asarray(field, np.float32), crop.grid, stack.native_grid)
    restored = sitk.GetImageFromArray(np.ascontiguousarray(stack.frame.invert(np.clip(native, 0.0, 1.0))))
    restored.CopyInformation(stack.image)
    return restored


def check_map_path(path: Path) -> str:
    """The ending of ``path`` that decides on the format of an uncertainty map.

    Raises:
        UsageError: naming the endings that can be written.
    """
    ending = find_ending(path.name, LABEL_ENDINGS)
    if ending in ("", SLICER_ENDING):
        known = [known for known in LABEL_ENDINGS if known != SLICER_ENDING]
        raise UsageError(f"Cannot write the uncertainty to {path}: the name has to end in {', '.join(known)}.")
    return ending


def write_map(image: sitk.Image, path: Path) -> None:
    """Write an uncertainty map, compressed; the file appears complete or not at all, replacing an older one.

    Raises:
        InputError: if the place cannot be written to.
    """
    ending = check_map_path(path)
    copy = sitk.Image(image)
    copy.SetMetaData(CONTENT_KEY, CONTENT)
    try:
        with replace_file(path, ending) as draft:
            # ITK hides the system's reason, so ask for it by opening the file first.
            with open(draft, "wb"):
                pass
            with any_letters():
                sitk.WriteImage(copy, str(draft), useCompression=True)
            # On a full disk some of ITK's writers stop without a word.
            written = read_image(draft)
            if not np.array_equal(sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)):
                raise OSError("the disk may be full")
    except OSError as error:
        raise InputError(f"Cannot write the uncertainty to {path}: {error.strerror or error}.") from error
    except (RuntimeError, InputError) as error:
        raise InputError(f"Cannot write the uncertainty to {path}: the disk may be full.") from error


def is_own_map(path: Path) -> bool:
    """Whether an NRRD file says that it is an uncertainty map of ours."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with any_letters():
            reader.ReadImageInformation()
    except RuntimeError:
        return False
    return reader.HasMetaDataKey(CONTENT_KEY) and reader.GetMetaData(CONTENT_KEY) == CONTENT


def _count_shared(votes: np.ndarray, label: int) -> np.ndarray:
    """Pixels that each two of the views (V, S, H, W) both give ``label``: (S, V, V), a view's own on the diagonal."""
    masks = (votes == label).reshape(*votes.shape[:2], -1).transpose(1, 0, 2).astype(np.float32)
    return masks @ masks.transpose(0, 2, 1)


def _pair_dice(counts: np.ndarray) -> np.ndarray:
    """Dice of each two views from their shared pixels (V, V); pairs that both show nothing are left out."""
    first, second = np.triu_indices(len(counts), 1)
    own = np.diagonal(counts)
    total = own[first] + own[second]
    return compute_dice(counts[first, second][total > 0], total[total > 0])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
