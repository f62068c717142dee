"""The classes: their values, names, colours and codes, and how the public data sets number them. The one place."""

from typing import Dict, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np

from confuda.errors import InputError, UsageError

CATEGORY_CODE, CATEGORY_NAME = "123037004", "Anatomical Structure"


class Structure(NamedTuple):
    """A segmented structure as files, tables and 3D Slicer show it.

    name: short name in tables and segment ID; label: value in label maps; display_name: segment name in Slicer;
    color: RGB 0-255; code: SNOMED CT concept; terminology: Slicer's list that has the code; meaning: the code's, where
    it is not ``display_name``; category: code and meaning of what kind of thing the concept is.
    """

    name: str
    label: int
    display_name: str
    color: Tuple[int, int, int]
    code: str
    terminology: str
    meaning: str = ""
    category: Tuple[str, str] = (CATEGORY_CODE, CATEGORY_NAME)

    @property
    def rgb(self) -> Tuple[float, float, float]:
        """The colour with channels from 0 to 1."""
        red, green, blue = (channel / 255 for channel in self.color)
        return red, green, blue

    @property
    def terminology_entry(self) -> str:
        """Value of Slicer's ``TerminologyEntry`` tag: list~category~type~modifier~region list~region~modifier."""
        category, meaning = "^".join(self.category), self.meaning or self.display_name
        return f"{self.terminology}~SCT^{category}~SCT^{self.code}^{meaning}~^^~~^^~^^"


SLICER_TERMINOLOGY = "Segmentation category and type - 3D Slicer General Anatomy list"
OWN_TERMINOLOGY = "Segmentation category and type - ConFUDA"
"""Travels with the extension (Resources/ConFUDA.term.json), since Slicer's own list has no myocardium."""

BACKGROUND = 0
# Of the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/): bluish green, vermilion and blue, which differ
# also for people who can't tell red from green. Slicer's own for these codes are three shades of brown.
MYO = Structure("MYO", 1, "Myocardium", (0, 158, 115), "74281007", OWN_TERMINOLOGY)
LV = Structure("LV", 2, "Left ventricle", (213, 94, 0), "87878005", SLICER_TERMINOLOGY)
RV = Structure("RV", 3, "Right ventricle", (0, 114, 178), "53085002", SLICER_TERMINOLOGY)

STRUCTURES: Tuple[Structure, ...] = (MYO, LV, RV)
MYOCARDIAL_DENSITY_G_PER_ML = 1.05
SCAR = Structure(
    "Scar",
    1,
    "Scar",
    (240, 228, 66),
    "12402003",
    OWN_TERMINOLOGY,
    category=("49755003", "Morphologically Altered Structure"),
)
"""Measured within MYO, and so in a layer or a file of its own. Yellow, of the same palette."""
CLASS_NAMES: Tuple[str, ...] = ("background",) + tuple(structure.name for structure in STRUCTURES)
"""Names by label value; their number is the number of classes of the network."""

DOUBT_COLORS: Tuple[Tuple[int, int, int], ...] = (
    (24, 0, 20),
    (110, 10, 80),
    (190, 50, 140),
    (235, 110, 190),
    (255, 190, 230),
)
"""Of maps of uncertainty, evenly spaced from certain to doubtful: a hue that no structure has, from dark to bright."""

OWN_DATASET = "confuda"
DATASET_VALUES: Dict[str, Dict[str, int]] = {
    OWN_DATASET: {structure.name: structure.label for structure in STRUCTURES},
    "acdc": {"RV": 1, "MYO": 2, "LV": 3},
    "ms-cmrseg": {"MYO": 200, "LV": 500, "RV": 600},
    "mnms": {"LV": 1, "MYO": 2, "RV": 3},
}
"""Label value of each structure in the files of a data set; background is 0 in all of them."""

LARGEST_LABEL = 65535
"""Of a label map's two bytes a voxel."""


def parse_label_values(text: str) -> Dict[str, int]:
    """The label value of each structure from ``MYO=2,LV=1,RV=5``.

    Raises:
        UsageError: if a structure is missing or unknown, or a value is no whole number above 0, or is there twice.
    """
    values: Dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        structure = find_structure(name)
        if structure is None or structure.name in values or not (number.isascii() and number.isdecimal()):
            raise UsageError(f"'{text}' says no label values: give all three, as in MYO=2,LV=1,RV=5.")
        values[structure.name] = int(number)
    if len(values) < len(STRUCTURES) or len({BACKGROUND, *values.values()}) <= len(values):
        raise UsageError(f"'{text}' says no label values: give three different ones above 0, as in MYO=2,LV=1,RV=5.")
    return values


def find_label_values(text: str) -> Dict[str, int]:
    """The label value of each structure that ``--output-labels`` asks for: a data set's name or ``MYO=2,LV=3,RV=1``.

    Raises:
        UsageError: where the text is neither, or a value is beyond 65535.
    """
    name = text.strip().casefold()
    if name in DATASET_VALUES:
        return dict(DATASET_VALUES[name])
    if "=" not in text:
        known = ", ".join(DATASET_VALUES)
        raise UsageError(f"'{text}' says no label values: give one of {known}, or all three, as in MYO=2,LV=3,RV=1.")
    values = parse_label_values(text)
    if max(values.values()) > LARGEST_LABEL:
        raise UsageError(f"'{text}' says no label values: the largest one that a file can hold is {LARGEST_LABEL}.")
    return values


def renumber_labels(labels: np.ndarray, values: Mapping[str, int]) -> np.ndarray:
    """Turn our labels (0 background, 1 MYO, 2 LV, 3 RV) into those of ``values``, by structure: the inverse of
    :func:`map_labels`. Returns the same shape in uint8, or uint16 where a value needs it."""
    numbered = np.zeros(labels.shape, dtype=np.uint8 if max(values.values()) <= 255 else np.uint16)
    for structure in STRUCTURES:
        numbered[labels == structure.label] = values[structure.name]
    return numbered


def map_labels(array: np.ndarray, dataset: Union[str, Mapping[str, int]]) -> np.ndarray:
    """Turn a data set's label values into ours (0 background, 1 MYO, 2 LV, 3 RV), structure by structure.

    array: any shape and number type (files often keep labels as floats). dataset: a name in ``DATASET_VALUES``, or the
    values of own data by structure. Returns uint8 of the same shape.

    Raises:
        UsageError: for a data set that is not in ``DATASET_VALUES``.
        InputError: for values that are none of the data set's, listing them.
    """
    if isinstance(dataset, str) and dataset not in DATASET_VALUES:
        raise UsageError(f"Unknown data set '{dataset}': choose one of {', '.join(DATASET_VALUES)}.")
    values, whose = (DATASET_VALUES[dataset], dataset) if isinstance(dataset, str) else (dataset, "this data")
    unexpected = sorted(set(np.unique(array).tolist()) - {BACKGROUND, *values.values()})
    if unexpected:
        listed = ", ".join(f"{value:g}" for value in unexpected[:8]) + (", ..." if len(unexpected) > 8 else "")
        known = ", ".join(f"{value} {name}" for name, value in values.items())
        raise InputError(f"Unexpected label values {listed}: the labels of {whose} are 0 background, {known}.")
    mapped = np.zeros(array.shape, dtype=np.uint8)
    for structure in STRUCTURES:
        mapped[array == values[structure.name]] = structure.label
    return mapped


def find_structure(name: str) -> Optional[Structure]:
    """The structure that a segment's name or ID means, whatever its case, or None."""
    wanted = name.strip().casefold()
    for structure in STRUCTURES:
        if wanted in (structure.name.casefold(), structure.display_name.casefold()):
            return structure
    return None
