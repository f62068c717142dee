"""A bundle of the real format whose small networks were trained for seconds on toy hearts, and those hearts."""

import atexit
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from filelock import FileLock


def make_heart(slices: int = 6, size: int = 96, spacing_mm: float = 1.5, thickness_mm: float = 8.0, seed: int = 0):
    """A toy short-axis volume and its labels (1 MYO, 2 LV, 3 RV): a ring, its pool and a crescent, off the middle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    labels = np.zeros((slices, size, size), dtype=np.uint8)
    for number in range(slices):
        shrink = 1.0 - 0.08 * number
        distance = np.hypot(rows - 0.45 * size, columns - 0.55 * size)
        right = np.hypot(rows - 0.45 * size, (columns - 0.33 * size) * 1.3)
        labels[number][right < 0.19 * size * shrink] = 3
        labels[number][distance < 0.21 * size * shrink] = 1
        labels[number][distance < 0.13 * size * shrink] = 2
    levels = np.array([60.0, 95.0, 210.0, 145.0])
    voxels = levels[labels] + rng.normal(0, 8, labels.shape) + 20 * np.sin(columns / 9.0)
    image = sitk.GetImageFromArray(voxels.astype(np.float32))
    image.SetSpacing((spacing_mm, spacing_mm, thickness_mm))
    truth = sitk.GetImageFromArray(labels)
    truth.CopyInformation(image)
    return image, truth


@lru_cache(maxsize=None)
def share_toy_bundle() -> Path:
    """The toy bundle of this process, removed at its end; not to be changed.

    The processes of one run of pytest-xdist train it once and copy it.
    """
    own = Path(tempfile.mkdtemp(prefix="toy-bundle-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return make_toy_bundle(own / "toy")
    shared = Path(tempfile.gettempdir()) / f"toy-bundle-of-{run}"
    with FileLock(f"{shared}.lock"):
        if not shared.is_dir():
            atexit.register(shutil.rmtree, shared, ignore_errors=True)
            make_toy_bundle(own / "made").rename(shared)
        return Path(shutil.copytree(shared, own / "toy"))


def make_toy_bundle(folder: Path) -> Path:
    """Train and save it as ``folder``; seconds."""
    import torch

    from confuda.bundle.exemplars import compute_source_bank
    from confuda.bundle.format import Bundle, save_bundle
    from confuda.imaging.stack import ShortAxisStack
    from confuda.labels import CLASS_NAMES
    from confuda.losses.segmentation import compute_segmentation_loss
    from confuda.networks.drunet import DRUNet
    from confuda.networks.rain import RAIN

    torch.manual_seed(0)
    # Sums in another order make another network of it: the same one on machines of any number of cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images, labels = [], []
    for seed in range(3):
        image, truth = make_heart(seed=seed)
        stack = ShortAxisStack(image, 1.5)
        crop = stack.crop(None, 96)
        images.append(torch.from_numpy(crop.slices)[:, None])
        labels.append(torch.from_numpy(crop.cut(stack.resample_labels(truth))).long())
    images, labels = torch.cat(images), torch.cat(labels)
    network, rain = DRUNet(width=4, normalisation="instance"), RAIN((4, 4, 8, 8), latent=4)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(150):
        some = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:4]
        top, left = 7 * step % 33, 5 * step % 33
        x, y = images[some, :, top : top + 64, left : left + 64], labels[some, top : top + 64, left : left + 64]
        loss = compute_segmentation_loss(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    network.eval().requires_grad_(False)
    rain.eval().requires_grad_(False)
    description = {
        "name": "toy",
        "version": "0",
        "classes": list(CLASS_NAMES),
        "spacing_mm": 1.5,
        "crop": 64,
        "segmenter": {"width": 4, "normalisation": "instance"},
        "rain": {"widths": [4, 4, 8, 8], "latent": 4},
        "training": {},
        "scores": {},
    }
    bank = compute_source_bank(network, images, labels)
    save_bundle(Bundle(description, network, rain, images, labels, bank), folder)
    return folder
