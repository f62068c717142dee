"""How much of the left ventricle's muscle is hyperenhanced in a late enhancement image. A measurement of intensities
within the muscle that the labels mark, not a diagnosis.

Remote muscle is found from the muscle's own histogram, slice by slice, since each slice has its own breath hold,
nulling and scale: its mean is the lowest high peak of the histogram, its standard deviation that of what lies below the
peak, where no scar is. Hyperenhanced is then what lies above

- ``fwhm``, full width at half maximum: the middle between remote muscle and the brightest muscle (Amado et al., J Am
  Coll Cardiol 44:2383, 2004; with remote muscle as the foot of the peak, as grey values need not begin at zero, Hsu et
  al., J Magn Reson Imaging 23:298, 2006);
- ``Nsd``: remote muscle's mean and N of its standard deviations (Bondarenko et al., J Cardiovasc Magn Reson 7:481,
  2005).

Pieces of less than 0.5 mL are noise or borders of the blood; in the half maximum's, which every muscle has, a piece
counts only where some of it is 5 standard deviations bright. A dark core, enclosed by scar and cavity in its slice, is
microvascular obstruction and counts as scar.
"""

import re
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from confuda.errors import InputError, UsageError
from confuda.labels import LV, MYO, MYOCARDIAL_DENSITY_G_PER_ML
from confuda.measure.aha_segments import SEGMENT_NAMES, find_aha_segments
from confuda.measure.heart_axes import LabelStack, restore_from_slices, view_as_slices
from confuda.measure.metrics import check_same_grid
from confuda.measure.transmurality import SegmentScar, measure_segment_scar

SMALLEST_PIECE_ML = 0.5
SURE_DEVIATIONS = 5.0
SMALLEST_SURE_ML = 0.1
"""The half maximum's pieces hold at least so much that is ``SURE_DEVIATIONS`` above remote muscle."""

BRIGHTEST_PERCENTILE = 80.0
"""Of what is surely bright: its maximum itself is noise, or blood at the muscle's border."""

LEAST_DEVIATIONS = 2.0
"""The half maximum is no lower than so many standard deviations above remote muscle."""

LEAST_VOXELS = 40
"""A slice with less muscle takes the remote muscle of all slices."""

HIGH_PEAK = 0.5
"""A peak of the histogram counts as one from this share of the highest one."""

BINS = 1024
"""Of the histogram, before it is smoothed."""

LEAST_BRIGHTNESS = 0.72
"""Where what was found reaches less than this share of the way from remote muscle to blood, the image is hardly one of
late enhancement. In experts' muscle, scar on late enhancement reaches 0.76 and more (18 volumes of two centres), and of
twelve cine volumes on which borders of the blood pass for scar nine stay below 0.72."""

NOT_A_DIAGNOSIS = "Scar is a measurement of intensities within the marked muscle, not a diagnosis."
NOT_LATE_ENHANCEMENT = (
    "This volume does not look like late enhancement: measure scar on late enhancement alone, the numbers may mean "
    "nothing."
)


class ScarMethod(NamedTuple):
    """``deviations``: how many standard deviations above remote muscle, None for full width at half maximum."""

    deviations: Optional[float] = None

    @property
    def name(self) -> str:
        return "fwhm" if self.deviations is None else f"{self.deviations:g}sd"


def parse_scar_method(text: str) -> ScarMethod:
    """The method that ``fwhm`` or ``5sd`` (any number from 1 to 20) names.

    Raises:
        UsageError: where the text is neither.
    """
    wanted = text.strip().lower()
    if wanted == "fwhm":
        return ScarMethod()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)sd", wanted)
    if found is None or not 1 <= float(found[1]) <= 20:
        raise UsageError(
            f"'{text}' is no way to measure scar: give fwhm, or a number from 1 to 20 before sd, as in 5sd."
        )
    return ScarMethod(float(found[1]))


@dataclass(frozen=True)
class Scar:
    """The scar of one heart.

    mask: (S, rows, columns) bool, microvascular obstruction included; obstruction: that alone; voxel_ml: of one of
    their voxels; muscle_ml: the whole muscle; segments: by AHA segment, empty where none can be given; remote_mean,
    remote_sd: of remote muscle, in grey values, the medians of all slices; threshold: likewise, None where no muscle is
    bright enough to have a half maximum; warnings: what to know.
    """

    method: ScarMethod
    mask: np.ndarray
    obstruction: np.ndarray
    voxel_ml: float
    muscle_ml: float
    segments: Dict[int, SegmentScar]
    remote_mean: float
    remote_sd: float
    threshold: Optional[float]
    warnings: Tuple[str, ...]
    slice_axis: int

    @property
    def volume_ml(self) -> float:
        return int(self.mask.sum()) * self.voxel_ml

    @property
    def mass_g(self) -> float:
        return self.volume_ml * MYOCARDIAL_DENSITY_G_PER_ML

    @property
    def percent_of_lv_mass(self) -> float:
        return 100 * self.volume_ml / self.muscle_ml

    def make_labelmap(self, image: sitk.Image) -> sitk.Image:
        """1 where scar is (uint8, 0 elsewhere), on the grid of ``image``, the volume that was measured."""
        return restore_from_slices(self.mask.astype(np.uint8), self.slice_axis, image)

    def describe(self) -> Dict[str, Any]:
        """As told in JSON, numbers rounded to hundredths."""
        return {
            "method": self.method.name,
            "scar_ml": round(self.volume_ml, 2),
            "scar_g": round(self.mass_g, 2),
            "scar_percent_of_lv_mass": round(self.percent_of_lv_mass, 2),
            "microvascular_obstruction_ml": round(int(self.obstruction.sum()) * self.voxel_ml, 2),
            "remote_mean": round(self.remote_mean, 2),
            "remote_sd": round(self.remote_sd, 2),
            "threshold": None if self.threshold is None else round(self.threshold, 2),
            "segments": [
                {
                    "segment": number,
                    "name": SEGMENT_NAMES[number],
                    "scar_percent": round(part.scar_percent, 2),
                    "transmurality_percent": None
                    if part.transmurality_percent is None
                    else round(part.transmurality_percent, 2),
                }
                for number, part in sorted(self.segments.items())
            ],
            "note": NOT_A_DIAGNOSIS,
        }


def measure_scar(volume: sitk.Image, labelmap: sitk.Image, slice_axis: int, method: ScarMethod) -> Scar:
    """Scar within MYO of ``labelmap`` (ours), in ``volume`` on the same grid, slices along ``slice_axis``.

    Raises:
        InputError: where the grids differ, or there is no muscle.
    """
    check_same_grid(volume, labelmap)
    stack = LabelStack.from_image(labelmap, slice_axis)
    values = view_as_slices(volume, slice_axis).astype(np.float64)
    muscle = stack.labels == MYO.label
    if not muscle.any():
        raise InputError("Scar cannot be measured: no muscle of the left ventricle is marked.")
    means, deviations = _find_remote(values, muscle)
    above = values - means[:, None, None]
    thresholds, bright = _find_bright(above, muscle, deviations, method, stack.voxel_ml)
    obstruction = _find_enclosed(bright, muscle, stack.labels == LV.label)
    warnings = []
    if not _looks_like_late_enhancement(above, bright, stack.labels == LV.label):
        warnings.append(NOT_LATE_ENHANCEMENT)
    mask = bright | obstruction
    segments: Dict[int, SegmentScar] = {}
    try:
        division = find_aha_segments(stack)
    except InputError as error:
        warnings.append(f"Scar by segment is not given. {error}")
    else:
        segments = measure_segment_scar(mask, stack, division)
    shown = muscle.any(axis=(1, 2))
    threshold = float(np.median((means + thresholds)[shown]))
    return Scar(
        method,
        mask,
        obstruction,
        stack.voxel_ml,
        int(muscle.sum()) * stack.voxel_ml,
        segments,
        float(np.median(means[shown])),
        float(np.median(deviations[shown])),
        threshold if np.isfinite(threshold) else None,
        tuple(warnings),
        slice_axis,
    )


def find_remote_muscle(values: np.ndarray) -> Tuple[float, float]:
    """Mean and standard deviation of remote muscle, from the grey values of muscle (N,): the lowest peak that is at
    least half as high as the highest one, and the spread below it."""
    # Of equal values the standard deviation may be above 0 by rounding.
    if values.min() == values.max():
        return float(values[0]), 0.0
    spread = float(values.std())
    width = 0.9 * spread * len(values) ** -0.2  # Silverman's rule.
    # Of narrow bins, not of each value: a fine volume has hundreds of thousands.
    counts, edges = np.histogram(values, BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    grid = np.linspace(values.min(), values.max(), 201)
    density = np.exp(-0.5 * ((grid[:, None] - middles[None, :]) / width) ** 2) @ counts
    inner = np.flatnonzero((density[1:-1] >= density[:-2]) & (density[1:-1] > density[2:])) + 1
    high = [int(peak) for peak in inner if density[peak] >= HIGH_PEAK * density.max()]
    mean = float(grid[high[0] if high else int(density.argmax())])
    below = values[values <= mean]
    deviation = float(np.sqrt(np.mean((below - mean) ** 2))) if len(below) else spread
    return mean, deviation


def _find_remote(values: np.ndarray, muscle: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of remote muscle in each slice, (S,) each."""
    everywhere = find_remote_muscle(values[muscle])
    found = [
        find_remote_muscle(plane[inside]) if int(inside.sum()) >= LEAST_VOXELS else everywhere
        for plane, inside in zip(values, muscle)
    ]
    means, deviations = np.array(found).T
    return means, deviations


def _find_bright(
    above: np.ndarray, muscle: np.ndarray, deviations: np.ndarray, method: ScarMethod, voxel_ml: float
) -> Tuple[np.ndarray, np.ndarray]:
    """How far above remote muscle scar begins in each slice, (S,), and the muscle (bool) that is scar.

    above: (S, rows, columns), grey values above remote muscle's mean.
    """
    if method.deviations is not None:
        thresholds = method.deviations * deviations
        bright = muscle & (above > thresholds[:, None, None])
        return thresholds, _keep_pieces(bright, bright, SMALLEST_PIECE_ML / voxel_ml)
    sure = muscle & (above > SURE_DEVIATIONS * deviations[:, None, None])
    sure = _keep_pieces(sure, sure, SMALLEST_SURE_ML / voxel_ml)
    brightest = float(np.percentile(above[sure], BRIGHTEST_PERCENTILE)) if sure.any() else np.inf
    thresholds = np.maximum(brightest / 2, LEAST_DEVIATIONS * deviations)
    bright = muscle & (above > thresholds[:, None, None])
    bright = _keep_pieces(bright, sure, SMALLEST_SURE_ML / voxel_ml)
    return thresholds, _keep_pieces(bright, bright, SMALLEST_PIECE_ML / voxel_ml)


def _keep_pieces(mask: np.ndarray, counted: np.ndarray, least: float) -> np.ndarray:
    """The pieces of ``mask``, in space, with at least ``least`` voxels of ``counted``. Voxels that touch at a corner
    are of one piece, since slices lie far apart."""
    if not mask.any():
        return mask
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True))
    enough = np.bincount(pieces[counted], minlength=int(pieces.max()) + 1) >= least
    enough[0] = False
    return enough[pieces]


def _find_enclosed(bright: np.ndarray, muscle: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """Dark muscle that in its slice touches nothing but scar and cavity, and is no larger than the scar around it."""
    enclosed = np.zeros(bright.shape, dtype=bool)
    for number in np.flatnonzero(bright.any(axis=(1, 2))):
        dark = muscle[number] & ~bright[number]
        pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(dark.astype(np.uint8))))
        outside = np.pad(~muscle[number] & ~cavity[number], 1, constant_values=True)
        near_outside = (outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]) & dark
        near_scar = np.pad(bright[number], 1)
        near_scar = (near_scar[:-2, 1:-1] | near_scar[2:, 1:-1] | near_scar[1:-1, :-2] | near_scar[1:-1, 2:]) & dark
        sizes = np.bincount(pieces.ravel())
        inside = np.ones(len(sizes), dtype=bool)
        inside[np.unique(pieces[near_outside])] = False
        inside[sizes > int(bright[number].sum())] = False
        inside &= np.bincount(pieces[near_scar], minlength=len(sizes)) > 0
        inside[0] = False
        enclosed[number] = inside[pieces]
    return enclosed


def _looks_like_late_enhancement(above: np.ndarray, scar: np.ndarray, cavity: np.ndarray) -> bool:
    """Whether blood is brighter than remote muscle, and what was found about as bright as blood."""
    if not cavity.any():
        return True
    blood = float(np.median(above[cavity]))
    if blood <= 0:
        return False
    return not scar.any() or float(np.median(above[scar])) >= LEAST_BRIGHTNESS * blood
