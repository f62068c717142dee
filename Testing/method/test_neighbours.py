"""Networks that see a slice between its neighbours: what they are shown, and that bundle and adaptation keep it so."""

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.method.toy_adaptation import TINY
from Testing.method.toy_neighbours import STACK, show_neighbours

from confuda.adaptation.loop import Adaptation
from confuda.adaptation.methods import METHOD_CLASSES
from confuda.adaptation.runs import adapt
from confuda.adaptation.styles import TissueStyle
from confuda.app.cli import main
from confuda.bundle.exemplars import derive_bundle
from confuda.bundle.format import load_bundle, save_bundle
from confuda.imaging.neighbours import count_offset, join_neighbours
from confuda.imaging.random_settings import Dice
from confuda.inference.prediction import ALL_VIEWS, NO_FLIP, Predictor
from confuda.networks.drunet import DRUNet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def between(bundle):
    """The toy bundle with a network of three channels."""
    return show_neighbours(bundle)


# What a network is shown


@pytest.mark.parametrize("distance_mm, offset", [(5.0, 2), (8.0, 1), (10.0, 1), (20.0, 1), (1.0, 10), (0.0, 1)])
def test_the_neighbours_lie_about_a_centimetre_away(distance_mm, offset) -> None:
    assert count_offset(distance_mm) == offset


def test_the_ends_of_a_stack_stand_in_for_themselves() -> None:
    slices = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    shown = join_neighbours(slices, 3)
    assert shown.shape == (5, 3, 2, 3)
    assert shown[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]
    further = join_neighbours(slices, 3, offset=2)
    assert further[:, :, 0, 0].tolist() == [[0, 0, 2], [1, 1, 3], [0, 2, 4], [1, 3, 3], [2, 4, 4]]
    assert join_neighbours(slices, 1).shape == (5, 1, 2, 3)
    assert join_neighbours(slices[:1], 3)[0, :, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("distance_mm, offset", [(5.0, 2), (10.0, 1), (None, 1)])
def test_prediction_shows_each_slice_between_its_neighbours(distance_mm, offset) -> None:
    network = DRUNet(channels=3, width=4).eval()
    slices = np.random.default_rng(0).random((5, 32, 32)).astype(np.float32)
    predictor = Predictor(network, slice_distance_mm=distance_mm)
    told = predictor.predict(slices, NO_FLIP)
    below, above = (np.clip(np.arange(5) + way * offset, 0, 4) for way in (-1, 1))
    outside = np.arange(5) - offset < 0, np.arange(5) + offset > 4
    below, above = (np.where(out, np.arange(5), at) for out, at in zip(outside, (below, above)))
    samples = torch.from_numpy(np.stack([slices[below], slices, slices[above]], axis=1))
    with torch.no_grad():
        wanted = torch.softmax(network(samples), dim=1).numpy().transpose(1, 0, 2, 3)
        alone = torch.softmax(network(samples[:, 1:2].expand(-1, 3, -1, -1)), dim=1).numpy().transpose(1, 0, 2, 3)
    # Prediction rounds to 16 bits.
    np.testing.assert_allclose(told, wanted, atol=0.03)
    assert np.abs(told - wanted).mean() < 0.1 * np.abs(alone - wanted).mean()
    some = np.array([3, 1])
    np.testing.assert_allclose(predictor.predict(slices, NO_FLIP, some), told[:, some], atol=0.03)
    # Samples that were joined before are shown as they are.
    np.testing.assert_allclose(predictor.predict(samples.numpy(), NO_FLIP), told, atol=0.03)
    assert predictor.predict(slices, ALL_VIEWS).shape == (4, 5, 32, 32)


# Bundles


def test_a_bundle_keeps_channels_samples_and_packed_labels(between, tmp_path) -> None:
    save_bundle(between, tmp_path / "b")
    again = load_bundle(tmp_path / "b")
    assert again.description["format_version"] == 2 and again.segmenter.channels == 3
    assert torch.equal(again.labels, between.labels) and torch.equal(again.samples, between.samples)
    torch.testing.assert_close(again.images, between.images, atol=1 / 255, rtol=0)
    torch.testing.assert_close(again.bank.vectors, between.bank.vectors)
    images, labels = again.get_samples(torch.tensor([0, STACK + 2]))
    for item, places in enumerate(([0, 0, 1], [STACK + 1, STACK + 2, STACK + 3])):
        assert torch.equal(images[item], again.images[places, 0]) and torch.equal(labels[item], again.labels[places])
    # What is loaded is written again as it was.
    save_bundle(again, tmp_path / "twice")
    for name in ("segmenter.safetensors", "rain.safetensors", "source.safetensors"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_what_needs_nothing_new_stays_format_1(bundle, small_bundle_folder, tmp_path) -> None:
    assert json.loads((small_bundle_folder / "bundle.json").read_text())["format_version"] == 1
    save_bundle(bundle, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "bundle.json").read_text())["format_version"] == 1
    content = (small_bundle_folder / "source.safetensors").read_bytes()
    assert (tmp_path / "again" / "source.safetensors").read_bytes() == content
    assert bundle.samples.tolist() == [[number] for number in range(len(bundle.images))]


# Adaptation


@pytest.mark.parametrize("method", [name for name in METHOD_CLASSES if name != "none"])
def test_every_method_adapts_a_network_with_neighbours(between, dim, method) -> None:
    target = join_neighbours(dim[0], 3)
    result = adapt(between, target, method, dataclasses.replace(TINY, tissue_share=0.5), CPU)
    assert all(np.isfinite(list(losses.values())).all() for losses in result.losses)
    moved = [
        float((value - between.segmenter.state_dict()[name]).abs().max())
        for name, value in result.network.state_dict().items()
    ]
    assert max(moved) > 0 and all(np.isfinite(moved))
    assert result.network.channels == 3


def test_source_samples_come_with_the_labels_of_each_channel(between) -> None:
    """Exemplars that are their own labels: after motion each channel still is what its labels say."""
    level = torch.tensor([0.0, 0.3, 0.6, 0.9])
    labelled = dataclasses.replace(between, images=level[between.labels][:, None])
    adaptation = Adaptation(labelled, np.zeros((2, 64, 64), np.float32), "fuda", TINY, CPU, 0)
    for _ in range(5):
        images, labels = adaptation._draw_source()
        assert images.shape == labels.shape == (2, 3, 64, 64)
        agreement = ((images - level[labels]).abs() < 0.15).float().mean((0, 2, 3))
        # What differs lies on the borders, where linear interpolation passes through other levels.
        assert agreement.min() > 0.93
        assert (labels[:, 0] != labels[:, 2]).any()


def test_copies_of_the_target_move_as_the_grid_says_in_every_channel(between, plain, monkeypatch) -> None:
    monkeypatch.setattr("confuda.adaptation.loop.change_contrast", lambda dice, images, random: images)
    target = join_neighbours(plain[0], 3)
    adaptation = Adaptation(between, target, "fuda", TINY, CPU, 0)
    drawn, copies, motion, _, _ = adaptation._draw_target()
    assert drawn.shape == copies.shape == (2, 3, 64, 64)
    for channel in range(3):
        moved = torch.nn.functional.grid_sample(drawn[:, channel, None], motion, align_corners=False)[:, 0]
        kept = copies[:, channel] > 0  # Random dropout blanks the others.
        torch.testing.assert_close(copies[:, channel][kept], moved[kept], atol=1e-4, rtol=0)


def test_rain_gives_all_channels_of_a_sample_one_style(between, plain) -> None:
    settings = dataclasses.replace(TINY, tissue_share=0.0)
    adaptation = Adaptation(between, join_neighbours(plain[0], 3), "fuda", settings, CPU, 0)
    image = torch.from_numpy(plain[0][2])[None, None].expand(2, 3, -1, -1)
    labels = torch.from_numpy(plain[1][2]).long()[None, None].expand(2, 3, -1, -1)
    # The toy RAIN was never trained: only a style that lies far off shows.
    style = adaptation.stylist.choose_styles(image, labels).rain
    styled = adaptation.stylist.draw(style, 100 * adaptation.stylist.draw_epsilon(style))
    assert styled.shape == (2, 3, 64, 64)
    for channel in (0, 2):
        torch.testing.assert_close(styled[:, channel], styled[:, 1], atol=1e-5, rtol=0)
    assert (styled[0] - styled[1]).abs().max() > 1e-3


def test_tissue_style_treats_all_channels_of_a_sample_alike(plain) -> None:
    slices, truth = torch.from_numpy(plain[0]), torch.from_numpy(plain[1]).long()
    probabilities = torch.nn.functional.one_hot(truth, 4).permute(0, 3, 1, 2).float()
    style = TissueStyle(1 - slices, probabilities, 0.5, least_pixels=10)
    images, labels = (part[2:4, None].expand(-1, 3, -1, -1) for part in (slices, truth))
    styled = style.apply(Dice(torch.Generator().manual_seed(0)), images, labels)
    for channel in (0, 2):
        torch.testing.assert_close(styled[:, channel], styled[:, 1], atol=1e-6, rtol=0)


def test_an_adapted_bundle_has_channels_too(between, dim, tmp_path) -> None:
    network = adapt(between, join_neighbours(dim[0], 3), "fuda", TINY, CPU).network
    save_bundle(derive_bundle(between, network, {"method": "fuda"}), tmp_path / "adapted")
    adapted = load_bundle(tmp_path / "adapted")
    assert adapted.segmenter.channels == 3 and torch.equal(adapted.samples, between.samples)
    assert not torch.equal(adapted.bank.vectors, between.bank.vectors)


def test_the_whole_command_adapts_a_bundle_with_neighbours(between, heart, tmp_path, capsys) -> None:
    image, truth = heart
    save_bundle(between, tmp_path / "b")
    volume, output = tmp_path / "scan.nii.gz", tmp_path / "scan.seg.nrrd"
    sitk.WriteImage(image, str(volume))
    arguments = [str(volume), "-o", str(output), "--bundle", str(tmp_path / "b"), "--set", "steps=2", "--json"]
    assert main(["adapt", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] in (0, 2)
    found, true = (sitk.GetArrayFromImage(part) for part in (sitk.ReadImage(str(output)), truth))
    assert 2 * ((found == 2) & (true == 2)).sum() / ((found == 2).sum() + (true == 2).sum()) > 0.7
