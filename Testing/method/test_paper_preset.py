"""``--preset paper``: the loss of a step against the paper's formulas, written out pixel by pixel; its prediction."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from toy_adaptation import CPU

from confuda.adaptation.loop import Adaptation
from confuda.adaptation.settings import PRESETS, make_settings
from confuda.imaging.volume import Volume
from confuda.inference.prediction import NO_FLIP, Predictor
from confuda.segmenter import Segmenter

SMALL = {"steps": 2, "source_batch": 2, "warmup_share": 0.0}
CLASSES = range(4)


def take_step(bundle, slices, **changes):
    """The views and losses of one step, what RAIN was given, and the order in which the pixels were dealt."""
    settings = make_settings("paper", {**SMALL, **changes})
    adaptation = Adaptation(bundle, slices, "confuda", settings, CPU, 0)
    seen = {}

    def remember(name, call):
        def instead(*arguments):
            seen[name] = arguments
            if name == "terms":
                seen["bank"] = adaptation.method.bank.vectors.clone()
                torch.manual_seed(7)
                seen["order"] = torch.randperm(arguments[0].target.logits[:, 0].numel()).tolist()
                torch.manual_seed(7)
            return call(*arguments)

        return instead

    adaptation.method.compute_terms = remember("terms", adaptation.method.compute_terms)
    adaptation.rain.compute_losses = remember("rain", adaptation.rain.compute_losses)
    losses = {name: value.item() for name, value in adaptation._take_step(1).items()}
    return adaptation, seen, losses


def list_pixels(view):
    """Of each pixel of a view: feature and softmax, in double precision."""
    features = view.features.detach().double().permute(0, 2, 3, 1).reshape(-1, view.features.shape[1]).numpy()
    logits = view.logits.detach().double().permute(0, 2, 3, 1).reshape(-1, 4).numpy()
    return features, np.array([np.exp(row) / np.exp(row).sum() for row in logits])


def find_centroids(features, weights):
    """Equation (1)."""
    return [sum(w[k] * f for f, w in zip(features, weights)) / max(sum(w[k] for w in weights), 1e-30) for k in CLASSES]


def compare(one, other, temperature):
    """h of equation (2)."""
    return math.exp(float(np.dot(one, other)) / (np.linalg.norm(one) * np.linalg.norm(other)) / temperature)


def contrast(anchors, positives, temperature):
    """Equation (2): negatives of both domains, no positive pair in the denominator."""
    total = 0.0
    for k in CLASSES:
        negatives = sum(
            compare(anchors[k], other[i], temperature) for other in (positives, anchors) for i in CLASSES if i != k
        )
        total -= math.log(compare(anchors[k], positives[k], temperature) / negatives)
    return total


def segment_loss(view, labels):
    """Cross-entropy and Jaccard over the batch."""
    _, softmax = list_pixels(view)
    wanted = labels.reshape(-1).tolist()
    cross_entropy = -np.mean([math.log(row[k]) for row, k in zip(softmax, wanted)])
    jaccard = []
    for k in CLASSES:
        here = [float(w == k) for w in wanted]
        if sum(here):
            both = sum(h * row[k] for h, row in zip(here, softmax))
            jaccard.append(1 - both / (sum(here) + sum(row[k] for row in softmax) - both))
    return cross_entropy + np.mean(jaccard)


def test_the_loss_of_a_step_is_equation_4(bundle, dim) -> None:
    settings = PRESETS["paper"]
    _, seen, losses = take_step(bundle, dim[0])
    (views,) = seen["terms"]
    source, stylised, target, copy = (
        list_pixels(view) for view in (views.source, views.stylised, views.target, views.augmented)
    )
    # The source centroids are those of both kinds of labelled image; nine parts in ten of them are new.
    one_hot = np.eye(4)[views.labels.reshape(-1).numpy()]
    fresh = find_centroids(np.concatenate([source[0], stylised[0]]), np.concatenate([one_hot, one_hot]))
    bank = [0.9 * new + 0.1 * old for new, old in zip(fresh, seen["bank"].double().numpy())]
    parts, augmented = np.array_split(seen["order"], settings.partitions), find_centroids(*copy)
    contrasts, norms = [], 0.0
    for part in parts:
        own = find_centroids(target[0][part], target[1][part])
        contrasts.append(contrast(own, bank, settings.temperature) + contrast(augmented, own, settings.temperature))
        norms += np.mean([(np.linalg.norm(own[k]) - np.linalg.norm(bank[k])) ** 2 for k in CLASSES])
    assert losses["contrast"] == pytest.approx(1.0 * np.mean(contrasts), rel=1e-3)
    assert losses["norm"] == pytest.approx(0.5 * norms, rel=1e-3)

    halves = [0.5 * segment_loss(view, views.labels) for view in (views.source, views.stylised)]
    assert [losses["source"], losses["stylised"]] == pytest.approx(halves, rel=1e-3)
    assert losses["total"] == pytest.approx(
        sum(losses[name] for name in ("rain", "source", "stylised", "consistency", "contrast", "norm")), rel=1e-5
    )


def test_rain_is_trained_along_by_its_own_loss(bundle, dim) -> None:
    adaptation, seen, losses = take_step(bundle, dim[0])
    content, style, epsilon = seen["rain"]
    assert content.shape == style.shape and len(epsilon) == 2
    # Inside the loop it may be computed in bfloat16.
    assert losses["rain"] == pytest.approx(float(bundle.rain.compute_losses(*seen["rain"])["total"]), rel=0.03)
    moved = {
        name.split(".")[0]
        for name, value in adaptation.rain.state_dict().items()
        if not torch.equal(value, bundle.rain.state_dict()[name])
    }
    assert moved == {"decoder", "style"}, "the encoder is the frame in which styles are measured"


def test_the_gradient_is_used_as_it_is(bundle, dim) -> None:
    steps = {}
    for clip in (0.0, 1e-6):
        adaptation, *_ = take_step(bundle, dim[0], gradient_clip=clip)
        before = bundle.segmenter.state_dict()["classifier.weight"]
        steps[clip] = float((adaptation.network.classifier.weight.detach() - before).abs().max())
    assert PRESETS["paper"].gradient_clip == 0 and steps[0.0] > 100 * steps[1e-6]


def test_the_answer_is_the_networks_own(bundle, heart) -> None:
    volume = Volume.from_image(heart[0])
    segmenter = Segmenter(bundle, device="cpu")
    look = segmenter.look(volume)
    adapted = segmenter.adapt(look, preset="paper", settings=SMALL)
    given = segmenter.judge(look, adapted).opinion.probabilities
    plain = Predictor(adapted.network, slice_distance_mm=look.stack.slice_distance_mm).predict(
        look.crop.slices, NO_FLIP
    )
    np.testing.assert_array_equal(given, plain)
    helped = segmenter.judge(
        look, dataclasses.replace(adapted, settings=dataclasses.replace(adapted.settings, plain_prediction=False))
    )
    assert not np.array_equal(helped.opinion.probabilities, plain)
