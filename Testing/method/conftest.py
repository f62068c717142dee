"""The toy bundle and toy targets that tests of the method share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def bundle(small_bundle_folder):
    """The toy bundle, loaded; never changed."""
    from confuda.bundle.format import load_bundle

    return load_bundle(small_bundle_folder)


@pytest.fixture(scope="session")
def plain(heart):
    """The toy heart as the source network knows it, slices (S, 64, 64) in [0, 1], and its truth."""
    from confuda.imaging.stack import ShortAxisStack

    image, truth = heart
    stack = ShortAxisStack(image, 1.5)
    crop = stack.crop((43, 50), 64)
    return crop.slices, crop.cut(stack.resample_labels(truth))


@pytest.fixture(scope="session")
def dim(plain):
    """A shift of contrast: dark tissue darker still, the right ventricle darkest of all."""
    slices, labels = plain
    return np.clip(0.7 * slices**2 - 0.1 * (labels == 3), 0, 1).astype(np.float32), labels


@pytest.fixture(scope="session")
def noisy(plain):
    """A shift of noise: the network is unsure and its maps are torn."""
    slices, labels = plain
    noise = np.random.default_rng(0).normal(0, 0.3, slices.shape)
    return np.clip(slices + noise, 0, 1).astype(np.float32), labels


@pytest.fixture(scope="session")
def scanner_folder(tmp_path_factory):
    """What a cohort is run on: see :func:`write_scanner_folder`."""
    from Testing.method.toy_cohort import write_scanner_folder

    return write_scanner_folder(tmp_path_factory.mktemp("scanner"))
