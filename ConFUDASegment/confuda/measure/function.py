"""Function of the heart over one cardiac cycle: volumes by frame, ejection fraction, mass, all by body surface too.

End-diastole is the frame of a ventricle's largest volume and end-systole that of its smallest, each ventricle by
itself, as the SCMR's task force advises (Schulz-Menger et al., J Cardiovasc Magn Reson 22:19, 2020): the right
ventricle need not empty in the same frame as the left one. Papillary muscles count as the labels have them (as blood).
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Union

from confuda.errors import UsageError
from confuda.labels import LV, MYO, MYOCARDIAL_DENSITY_G_PER_ML, RV, STRUCTURES

ALL_FRAMES, ED_AND_ES = "all", "ed,es"
"""What may be chosen of a cine, beside the number of one frame: all, or those near end-diastole and end-systole."""

SCAR_OF_A_FRAME = (
    "Scar is measured in one frame of several: of a cine, which is no late enhancement, these numbers mean nothing."
)

HEIGHT_CM = (30.0, 272.0)
"""Heights that are taken for those of a human being, newborn to the tallest one known."""

WEIGHT_KG = (1.0, 650.0)


@dataclass(frozen=True)
class VentricleFunction:
    """One ventricle over the cycle; a number that does not exist (no cavity, no second frame) is None.

    edv_ml, esv_ml: its largest and smallest volume; ed_frame, es_frame: where, in the cine's own numbers from 0.
    """

    edv_ml: Optional[float]
    esv_ml: Optional[float]
    ed_frame: Optional[int]
    es_frame: Optional[int]

    @property
    def stroke_volume_ml(self) -> Optional[float]:
        return None if self.edv_ml is None or self.esv_ml is None else self.edv_ml - self.esv_ml

    @property
    def ejection_fraction_percent(self) -> Optional[float]:
        """Stroke volume as a share of the end-diastolic volume, 0 to 100."""
        stroke = self.stroke_volume_ml
        return None if stroke is None or not self.edv_ml else 100 * stroke / self.edv_ml


@dataclass(frozen=True)
class HeartFunction:
    """Both ventricles over the cycle.

    frames: the frames measured, in the cine's own numbers from 0; volumes_ml: by structure, a number a frame;
    lv_mass_g: mass of the left ventricle's muscle at the left ventricle's end-diastole, at 1.05 g/mL;
    body_surface_area_m2: None where it is not known.
    """

    frames: Sequence[int]
    volumes_ml: Dict[str, List[float]]
    lv: VentricleFunction
    rv: VentricleFunction
    lv_mass_g: Optional[float]
    body_surface_area_m2: Optional[float] = None

    def describe(self) -> Dict[str, Any]:
        """As told in JSON: a key a number with its unit, rounded to hundredths; None for what cannot be known.

        ``..._per_m2`` keys are there where the body's surface is known.
        """
        found: Dict[str, Any] = {"frames": list(self.frames)}
        sizes: Dict[str, Optional[float]] = {}
        for prefix, ventricle in (("lv", self.lv), ("rv", self.rv)):
            sizes[f"{prefix}_edv_ml"] = ventricle.edv_ml
            sizes[f"{prefix}_esv_ml"] = ventricle.esv_ml
            sizes[f"{prefix}_stroke_volume_ml"] = ventricle.stroke_volume_ml
            found[f"{prefix}_ejection_fraction_percent"] = _round(ventricle.ejection_fraction_percent)
            found[f"{prefix}_ed_frame"] = ventricle.ed_frame
            found[f"{prefix}_es_frame"] = ventricle.es_frame
        sizes["lv_mass_g"] = self.lv_mass_g
        found.update({name: _round(size) for name, size in sizes.items()})
        found["body_surface_area_m2"] = _round(self.body_surface_area_m2)
        if self.body_surface_area_m2 is not None:
            area = self.body_surface_area_m2
            found.update(
                {f"{name}_per_m2": _round(None if size is None else size / area) for name, size in sizes.items()}
            )
        for structure in STRUCTURES:
            found[f"{structure.name.lower()}_volume_ml"] = [_round(ml) for ml in self.volumes_ml[structure.name]]
        return found


def parse_frames(text: str) -> Union[str, int]:
    """What ``--frames`` takes: ``ALL_FRAMES``, ``ED_AND_ES``, or the number of one frame, from 0.

    Raises:
        UsageError: where the text is none of these.
    """
    wanted = text.strip().lower().replace(" ", "")
    if wanted in (ALL_FRAMES, ED_AND_ES):
        return wanted
    if wanted.isascii() and wanted.isdecimal():
        return int(wanted)
    raise UsageError(f"'{text}' names no frames: give all, or ed,es, or the number of one frame, from 0.")


def measure_function(
    volumes_ml: Sequence[Dict[str, float]],
    frames: Optional[Sequence[int]] = None,
    body_surface_area_m2: Optional[float] = None,
) -> HeartFunction:
    """Function from the volumes of each frame's structures (``compute_volumes_ml``'s), one dictionary a frame.

    frames: the frames' numbers in the cine, where only some of it was measured; 0, 1, 2, ... otherwise.

    A ventricle that is empty in every frame has no numbers. One that is empty in some frames only counts there: of a
    wrong segmentation the ejection fraction of 100 % tells more than one that hides it.

    Raises:
        UsageError: where there is no frame, or not a number for each.
    """
    if not volumes_ml:
        raise UsageError("Function needs the volumes of at least one frame.")
    numbers = list(range(len(volumes_ml))) if frames is None else [int(frame) for frame in frames]
    if len(numbers) != len(volumes_ml):
        raise UsageError(f"There are {len(volumes_ml)} frames of volumes and {len(numbers)} frame numbers.")
    by_structure = {structure.name: [float(frame[structure.name]) for frame in volumes_ml] for structure in STRUCTURES}
    lv, rv = (_find_extremes(by_structure[structure.name], numbers) for structure in (LV, RV))
    mass = None
    if lv.ed_frame is not None:
        mass = by_structure[MYO.name][numbers.index(lv.ed_frame)] * MYOCARDIAL_DENSITY_G_PER_ML
    return HeartFunction(numbers, by_structure, lv, rv, mass, body_surface_area_m2)


def _find_extremes(volumes_ml: Sequence[float], frames: Sequence[int]) -> VentricleFunction:
    largest = max(volumes_ml)
    if largest <= 0:
        return VentricleFunction(None, None, None, None)
    ed_frame = frames[volumes_ml.index(largest)]
    if len(volumes_ml) == 1:
        return VentricleFunction(largest, None, ed_frame, None)
    smallest = min(volumes_ml)
    return VentricleFunction(largest, smallest, ed_frame, frames[volumes_ml.index(smallest)])


def measure_body_surface_area_m2(height_cm: float, weight_kg: float) -> float:
    """Surface of the body in m2 by the formula of Mosteller (N Engl J Med 317:1098, 1987).

    Raises:
        UsageError: for a height or weight that no human being has, as of one given in metres or pounds.
    """
    if not HEIGHT_CM[0] <= height_cm <= HEIGHT_CM[1]:
        raise UsageError(f"A height of {height_cm:g} cm is none: give it in cm, {HEIGHT_CM[0]:g} to {HEIGHT_CM[1]:g}.")
    if not WEIGHT_KG[0] <= weight_kg <= WEIGHT_KG[1]:
        raise UsageError(f"A weight of {weight_kg:g} kg is none: give it in kg, {WEIGHT_KG[0]:g} to {WEIGHT_KG[1]:g}.")
    return float((height_cm * weight_kg / 3600) ** 0.5)


def _round(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, 2)
