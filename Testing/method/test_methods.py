"""Every system of the paper's table 1 as a method: its name, its views, its own terms and where they pull."""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from Testing.method.toy_adaptation import ADVERSARIAL, CPU, STEP, TINY, make_game, take_step_of_views
from Testing.packaging.documents import run_examples

from confuda.adaptation.methods import METHOD_CLASSES
from confuda.adaptation.methods.base import Views
from confuda.adaptation.runs import adapt
from confuda.adaptation.settings import METHODS, make_settings
from confuda.app.cli import main
from confuda.benchmark.plan import ABLATIONS
from confuda.losses.centroids import SourceBank
from confuda.networks.drunet import DRUNet

DEVELOPERS = Path(__file__).resolve().parents[2] / "docs" / "developers.md"
ADAPTING = [name for name in METHOD_CLASSES if name != "source"]

# The names, the interface


def test_names_on_the_command_line_are_the_methods() -> None:
    assert set(METHODS) == {*METHOD_CLASSES, "none"} and len(METHODS) == len(set(METHODS))


@pytest.mark.parametrize("method", ["advent", "blockcl", "source"])
def test_command_line_runs_it(small_bundle_folder, heart, tmp_path, method) -> None:
    volume, output = tmp_path / "heart.nrrd", tmp_path / "heart.seg.nrrd"
    sitk.WriteImage(heart[0], str(volume))
    options = ["--method", method, "--bundle", str(small_bundle_folder), "--center", "50,43", "--device", "cpu"]
    options += ["--set", "steps=1", "--set", "discriminator_width=4"]
    assert main(["adapt", str(volume), "-o", str(output), *options]) == 0
    assert output.is_file()


@pytest.mark.parametrize("method", list(METHOD_CLASSES))
def test_one_slice_and_group_normalisation_are_enough(bundle, dim, method) -> None:
    description = {**bundle.description, "segmenter": {"width": 8, "normalisation": "group"}}
    other = dataclasses.replace(
        bundle, description=description, segmenter=DRUNet(width=8, normalisation="group"), bank=SourceBank(4, 8)
    )
    result = adapt(other, dim[0][2:3], method, dataclasses.replace(TINY, target_batch=1), CPU)
    assert all(math.isfinite(value) for step in result.losses for value in step.values())


def test_all_methods_see_the_same_images_at_the_same_seed(bundle, dim) -> None:
    """In the second step too, after all that a method draws for itself: nothing but the method differs."""
    seen = {name: take_step_of_views(bundle, dim[0], name, steps=2)[1] for name in METHOD_CLASSES}
    for views in seen.values():
        assert torch.equal(views.labels, seen["source"].labels)
        if len(views.motion):
            assert torch.equal(views.motion, seen["blockcl"].motion)


@pytest.mark.parametrize("method", list(METHOD_CLASSES))
def test_kinds_not_asked_for_are_empty(bundle, dim, method) -> None:
    _, views = take_step_of_views(bundle, dim[0], method)
    kind = METHOD_CLASSES[method]
    assert len(views.source.logits) == 2
    assert len(views.stylised.logits) == 2 * kind.uses_style
    assert len(views.target.logits) == len(views.augmented.logits) == len(views.motion) == 2 * kind.uses_target


# The control


def test_source_uses_no_target_image(bundle, dim) -> None:
    settings = dataclasses.replace(TINY, lambda_self=1.0)
    other = np.full((1, 64, 64), np.nan, dtype=np.float32)
    one, two = (adapt(bundle, slices, "source", settings, CPU) for slices in (dim[0], other))
    assert one.losses == two.losses and set(one.losses[0]) == {"total", "source"}
    weights = two.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.network.state_dict().items())


@pytest.mark.parametrize("method", ADAPTING)
def test_every_other_method_uses_it(bundle, dim, method) -> None:
    # At the published weight, 1e-3, a game of so few steps is lost in rounding.
    settings = dataclasses.replace(TINY, learning_rate=1e-2, lambda_adversarial=1.0)
    one, two = (
        adapt(bundle, slices, method, settings, CPU).network.classifier.weight for slices in (dim[0], 1 - dim[0])
    )
    assert not torch.equal(one, two)


# The ablation


def test_each_row_of_the_ablation_adds_one_part(bundle, dim) -> None:
    last = {}
    for row, (method, overrides) in ABLATIONS.items():
        settings = make_settings("fast", {**dataclasses.asdict(TINY), "partitions": 4, **overrides})
        adaptation, views = take_step_of_views(bundle, dim[0], method, settings)
        last[row] = {**adaptation.method.compute_terms(views), "partitions": settings.partitions}
    assert list(last) == ["FUDA", "+ CCL", "+ CNR", "+ MPCCL"]
    fuda, ccl, cnr, mpccl = last.values()
    assert "contrast" not in fuda and "norm" not in fuda
    assert ccl["contrast"] != 0 and ccl["norm"] == 0 and ccl["partitions"] == 1
    assert cnr["norm"] != 0 and cnr["partitions"] == 1
    assert mpccl["norm"] != 0 and mpccl["partitions"] == 4


# Where their terms pull


def check_that_terms_pull(adaptation) -> None:
    """A small step against the gradient of a method's own terms lowers them, and one along it raises them.

    Both are judged on the same images with the same draws. The bank sees the same source features before and after,
    since no gradient goes through it; in a game the discriminator stays as it is.
    """
    source, labels = adaptation._draw_source()
    target, augmented, motion, *_ = adaptation._draw_target()
    stylised, _ = adaptation._stylise(source, labels, labels[:, 0], progress=0.0)
    parameters = list(adaptation.network.parameters())
    banked = adaptation._look([source])[0].features.detach()

    def compute_cost() -> torch.Tensor:
        torch.manual_seed(0)
        first, *others = adaptation._look([source, stylised, target, augmented])
        views = Views(labels[:, 0], first._replace(features=banked), *others, motion=motion, progress=1.0)
        return torch.stack(list(copy.deepcopy(adaptation.method).compute_terms(views).values())).sum()

    adaptation.optimizer.zero_grad()
    gradients = torch.autograd.grad(compute_cost(), parameters, allow_unused=True)
    length = torch.stack([part.norm() for part in gradients if part is not None]).norm()
    assert length > 0
    costs = []
    for way in (-STEP, 2 * STEP):
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients):
                if gradient is not None:
                    parameter += way * gradient / length
            costs.append(compute_cost().item())
    assert costs[0] < costs[1]


@pytest.mark.parametrize("method", ADAPTING)
def test_a_methods_own_terms_pull_the_network_where_they_are_lower(bundle, dim, method) -> None:
    if method in ADVERSARIAL:
        adaptation, _ = make_game(bundle, dim[0], method, lambda_adversarial=1.0)
    else:
        adaptation, _ = take_step_of_views(bundle, dim[0], method)
    check_that_terms_pull(adaptation)


# A new method, as the developers' document has it


def test_method_of_the_documentation_runs_as_it_stands(bundle, dim, monkeypatch) -> None:
    monkeypatch.setitem(METHOD_CLASSES, "entropy", None)
    assert run_examples(DEVELOPERS, {"__name__": "entropy"}, "A new method") == 1
    adapted = adapt(bundle, dim[0], "entropy", TINY, CPU)
    assert all(math.isfinite(step["entropy"]) and step["entropy"] > 0 for step in adapted.losses)
    adaptation, _ = take_step_of_views(bundle, dim[0], "entropy")
    check_that_terms_pull(adaptation)
