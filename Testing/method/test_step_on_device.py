"""A step of adaptation on a GPU waits for nothing, and leaves nothing behind on the CPU.

No GPU is at hand in the tests. torch's "meta" device stands for it: tensors there have shapes but no values. Whatever
asks for a value (and would make the CPU wait for a GPU) fails on it, as does what mixes it with tensors of the CPU.
"""

import contextlib
import dataclasses

import pytest
import torch

from confuda.adaptation import loop
from confuda.adaptation.loop import Adaptation, Answer
from confuda.adaptation.methods import METHOD_CLASSES
from confuda.inference.prediction import Predictor

META = torch.device("meta")


class GeneratorOnTheCpu(torch.Generator):
    def __new__(cls, device=None):
        return super().__new__(cls)


class NoAutocast(contextlib.nullcontext):
    def __init__(self, *arguments, **named) -> None:
        super().__init__()


@pytest.fixture
def without_values(monkeypatch) -> None:
    """What torch has no meta variant of: random numbers, which are drawn on the CPU and then lose their values, and
    mixed precision. Classes stand for classes, since torch's own modules may be loaded meanwhile."""
    monkeypatch.setattr(torch, "Generator", GeneratorOnTheCpu)
    monkeypatch.setattr(torch, "autocast", NoAutocast)
    monkeypatch.setattr(loop, "compute_in_mixed_precision", NoAutocast)


@pytest.mark.parametrize("method", sorted(METHOD_CLASSES))
def test_a_step_on_a_gpu_waits_for_no_value(bundle, plain, method, without_values) -> None:
    slices = plain[0][:2]
    settings = dataclasses.replace(
        loop.AdaptationSettings(steps=2, source_batch=2, target_batch=2, discriminator_width=4, warmup_share=0.0),
        tissue_share=0.5,
        randomise_source=True,
        lambda_self=1.0,
        lambda_rain=1.0,
        gradient_clip=1.0,
    )
    soft = Predictor(bundle.segmenter).predict(slices)
    answer = Answer(soft, soft)
    here = Adaptation(bundle, slices, method, settings, torch.device("cpu"), 0, answer=answer)
    here._look_at_target()
    there = Adaptation(bundle, slices, method, settings, META, 0, answer=answer)
    for name in ("pseudo_labels", "trust"):
        value = getattr(here, name)
        setattr(there, name, None if value is None else value.to(META))
    tissue = here.stylist.tissue
    if tissue is not None:
        tissue.levels = tissue.levels.to(META)
        tissue.quantiles = [None if part is None else part.to(META) for part in tissue.quantiles]
        there.stylist.tissue = tissue

    losses = there._take_step(1)

    assert {"total", "source"} <= set(losses)
    assert all(value.device == META and value.shape == () for value in losses.values())
    assert all(parameter.device == META for parameter in there.averaged.parameters())


def test_asking_for_a_value_is_noticed() -> None:
    """Or the test above could not fail."""
    nothing = torch.zeros(3, device=META)
    for ask in (lambda: nothing.sum().item(), lambda: nothing[nothing > 0], lambda: nothing + torch.ones(3)):
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask()


def test_exemplars_move_and_their_bundle_stays(bundle) -> None:
    chosen = torch.tensor([1, 0])
    moved = bundle.move_exemplars(META)
    assert {part.device for part in (moved.images, moved.labels, moved.samples)} == {META}
    assert bundle.images.device.type == "cpu" and moved.segmenter is bundle.segmenter
    here = bundle.move_exemplars(torch.device("cpu"))
    for one, other in zip(here.get_samples(chosen), bundle.get_samples(chosen)):
        assert torch.equal(one, other)
