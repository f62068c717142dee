"""Random geometry, contrast and disturbance of training slices, wherever the images lie: on the CPU or on a GPU.

A sample is a slice with its neighbours as channels. All channels of a sample share one drawing (they are one scan), so
images and labels are (B, C, H, W), the images float32 in [0, 1], labels 0 background, 1 MYO, 2 LV, 3 RV. A good share
of each batch keeps its own contrast; the others get any contrast that a scanner could give the same anatomy: random
maps of intensity, random shallow networks (Ouyang et al., IEEE TMI 2023), new levels for each class and tissue (Su et
al., SLAug, AAAI 2023; Billot et al., SynthSeg, MedIA 2023), late enhancement with scars and blooming blood. Then comes
what goes wrong on scanners: ghosts, spikes, voids, noise, bias fields, cut fields of view. Where blood and muscle would
look alike, so that nobody could tell them apart, the scan's own contrast is kept.
"""

from torch import Tensor

from confuda.imaging.disturbance import disturb
from confuda.imaging.random_contrast import change_contrast
from confuda.imaging.random_settings import Dice, RandomSettings


def randomise(dice: Dice, images: Tensor, labels: Tensor, settings: RandomSettings) -> Tensor:
    """All changes of contrast and all disturbances; images (B, C, H, W) in [0, 1]."""
    return disturb(dice, change_contrast(dice, images, labels, settings), settings)
