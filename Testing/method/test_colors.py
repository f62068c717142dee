"""The colours of the structures: those of Okabe and Ito, and far enough from each other and from grey for every eye.

Deuteranopia is simulated by the matrix of Machado et al. (IEEE TVCG 2009, severity 1); distances are CIE 1976 in
L*a*b*, of which 2 to 3 are just noticed.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from confuda.labels import DOUBT_COLORS, LV, MYO, RV, SCAR, STRUCTURES

TERMINOLOGY = Path(__file__).resolve().parents[2] / "ConFUDASegment" / "Resources" / "ConFUDA.term.json"
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
EYES = {"ordinary": np.eye(3), "deuteranopia": DEUTERANOPIA}
GREYS = [(level, level, level) for level in range(256)]


def to_lab(color, eye) -> np.ndarray:
    channels = np.asarray(color) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    linear = np.clip(EYES[eye] @ linear, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ linear / (0.95047, 1, 1.08883)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def distance(one, other, eye) -> float:
    return float(np.linalg.norm(to_lab(one, eye) - to_lab(other, eye)))


def test_the_colours_are_those_of_okabe_and_ito():
    assert ["#" + "".join(f"{channel:02X}" for channel in structure.color) for structure in (MYO, LV, RV)] == [
        "#009E73",
        "#D55E00",
        "#0072B2",
    ]


def test_the_terminology_file_has_the_same():
    categories = json.loads(TERMINOLOGY.read_text(encoding="utf-8"))["SegmentationCodes"]["Category"]
    entries = [entry for category in categories for entry in category["Type"]]
    colors = {entry["CodeValue"]: tuple(entry["recommendedDisplayRGBValue"]) for entry in entries}
    assert colors == {structure.code: structure.color for structure in (*STRUCTURES, SCAR)}


@pytest.mark.parametrize("eye", EYES)
def test_structures_differ_from_each_other(eye):
    for one, other in itertools.combinations(STRUCTURES, 2):
        assert distance(one.color, other.color, eye) > 50, (one.name, other.name)


def test_structures_differ_from_every_grey():
    for structure in STRUCTURES:
        assert min(distance(structure.color, grey, "ordinary") for grey in GREYS) > 40, structure.name


def test_structures_differ_from_greys_under_deuteranopia():
    """The green of the muscle is nearest to grey then, at a level of about 134: its neighbours' colours tell it."""
    for structure, least in ((MYO, 8), (LV, 60), (RV, 40)):
        assert min(distance(structure.color, grey, "deuteranopia") for grey in GREYS) > least, structure.name


@pytest.mark.parametrize("eye", EYES)
def test_doubt_has_another_hue(eye):
    for color in DOUBT_COLORS:
        for structure in STRUCTURES:
            assert distance(color, structure.color, eye) > 20, (color, structure.name)


def test_doubt_grows_brighter():
    lightness = [to_lab(color, "ordinary")[0] for color in DOUBT_COLORS]
    assert lightness == sorted(lightness) and lightness[-1] - lightness[0] > 60
