"""Adaptation as its callers ask for it: short runs whose weights are averaged, smaller batches if memory is short."""

import copy
import dataclasses
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
import torch

from confuda.adaptation.loop import Adaptation, AdaptationResult, Answer, StepReport
from confuda.adaptation.settings import AdaptationSettings
from confuda.bundle.format import Bundle
from confuda.device import CPU, release_memory
from confuda.errors import is_out_of_memory
from confuda.networks.drunet import DRUNet


def adapt(
    bundle: Bundle,
    target: np.ndarray,
    method: str = "confuda",
    settings: Optional[AdaptationSettings] = None,
    device: Optional[torch.device] = None,
    seed: int = 0,
    report: Optional[StepReport] = None,
    warn: Optional[Callable[[str], None]] = None,
    answer: Optional[Answer] = None,
) -> AdaptationResult:
    """Adapt the bundle's network to ``target`` slices (T, H, W) in [0, 1]; see :class:`Adaptation`.

    The steps are shared out among ``settings.runs`` runs, which all begin with the bundle's network and draw other
    images and styles; the weights that they end with are averaged. A single run of few steps depends on what it happens
    to draw.

    Where memory does not suffice, it begins again with half as many images a step and says so through ``warn``; where
    it does not suffice even for one source and one target image, the error is raised.
    """
    settings = settings or AdaptationSettings()
    while True:
        try:
            return _average_runs(bundle, target, method, settings, device or CPU, seed, report, answer)
        except (MemoryError, RuntimeError) as error:
            if max(settings.source_batch, settings.target_batch) == 1 or not is_out_of_memory(error):
                raise
        # After the except clause, since its error keeps alive what the attempt had allocated.
        release_memory()
        settings = dataclasses.replace(
            settings, source_batch=(settings.source_batch + 1) // 2, target_batch=(settings.target_batch + 1) // 2
        )
        if warn is not None:
            sizes = f"{settings.source_batch} source and {settings.target_batch} target images a step"
            warn(f"Memory was short: adaptation was done with {sizes}, and may be a little worse.")


def _average_runs(
    bundle: Bundle,
    target: np.ndarray,
    method: str,
    settings: AdaptationSettings,
    device: torch.device,
    seed: int,
    report: Optional[StepReport],
    answer: Optional[Answer],
) -> AdaptationResult:
    count = min(settings.runs, settings.steps)
    done = 0

    def tell(step: int, _: int, losses: Dict[str, float], network: DRUNet) -> None:
        if report is not None:
            report(done + step, settings.steps, losses, network)

    results = []
    for number in range(count):
        steps = settings.steps // count + (number < settings.steps % count)
        own = dataclasses.replace(settings, steps=steps)
        run = Adaptation(bundle, target, method, own, device, seed, number, answer)
        results.append(run.run(tell if report is not None else None))
        # What the bundle's network says of the target is the same in each run.
        answer = run.answer
        done += steps
    networks = [result.network for result in results]
    network = _average(networks) if count > 1 else networks[0]
    return AdaptationResult(network, settings.steps, _average_losses([result.losses for result in results]))


@torch.no_grad()
def _average(networks: Sequence[DRUNet]) -> DRUNet:
    """A network in evaluation mode whose weights are the mean of those of ``networks``."""
    mean = copy.deepcopy(networks[0]).eval()
    states = [network.state_dict() for network in networks]
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            parts = [state[name].to(torch.float64) * (1 / len(states)) for state in states]
            value.copy_(torch.stack(parts).sum(dim=0))
    return mean


def _average_losses(runs: Sequence[List[Dict[str, float]]]) -> List[Dict[str, float]]:
    """Of runs whose lengths differ by one at most: the mean losses of their first steps, second steps and so on."""
    steps = [[run[number] for run in runs if number < len(run)] for number in range(max(map(len, runs)))]
    return [{name: float(np.mean([losses[name] for losses in step])) for name in step[0]} for step in steps]
