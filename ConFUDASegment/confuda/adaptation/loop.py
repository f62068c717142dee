"""One-shot and few-shot adaptation of the segmentation network to the slices of one target (ConFUDA, section 2).

The common loop of all methods: labelled source exemplars, their copies in the target's style, the target's slices and
their augmented copies go through the network together; the method adds its terms; eps of the style moves against the
segmenter. No label of the target is used anywhere.
"""

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from confuda.adaptation.methods import METHOD_CLASSES
from confuda.adaptation.methods.base import Method, ViewOutput, Views, decay_rate
from confuda.adaptation.settings import AdaptationSettings
from confuda.adaptation.styles import TissueStyle
from confuda.bundle.format import Bundle
from confuda.device import CPU, compute_in_mixed_precision, release_memory
from confuda.errors import is_out_of_memory
from confuda.imaging.augmentation import ContrastSettings, GeometrySettings, randomise_contrast, sample_grid, warp
from confuda.inference.prediction import Predictor, clean_up
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.networks.drunet import DRUNet

SOURCE_GEOMETRY = GeometrySettings(shift=10.0, far_probability=0.0, elastic=2.0)
TARGET_GEOMETRY = GeometrySettings(rotation=180.0, scale=(0.85, 1.2), shift=8.0, far_probability=0.0, elastic=3.0)
"""Affine and elastic motion of the augmented target copy ("heavy augmentations", section 3.1)."""

SOURCE_CONTRAST = ContrastSettings()
COPY_CONTRAST = ContrastSettings(
    intensity_map=0.3, class_contrast=0.0, gamma=0.5, bias_field=0.5, blur=0.4, coarse=0.2, noise=0.6, padding=0.0
)
"""Changes that need no labels: for the augmented target copy and for images that were given the target's style."""

DROPOUT_SHARE = 0.1
"""Share of the pixels, in blocks of 8 x 8, that random dropout blanks in the augmented target copy."""


@dataclass
class AdaptationResult:
    """The adapted network (evaluation mode, weights averaged), the number of steps of all runs, and the losses by name:
    those of the first step of each run, averaged over the runs, those of the second step, and so on."""

    network: DRUNet
    steps: int
    losses: List[Dict[str, float]] = field(default_factory=list)


StepReport = Callable[[int, int, Dict[str, float], DRUNet], None]
"""Called after each step with its number, the total, the losses and the averaged network; may raise Cancelled."""


class Adaptation:
    """One run of :func:`adapt`: what it holds between steps.

    Args:
        bundle: the source side; its network is copied, never changed.
        target: slices (T, H, W) in [0, 1] to adapt to; one of them in one-shot mode.
        method: name of the method.
        settings: see :class:`AdaptationSettings`.
        device: where to compute.
        seed: of everything random.
    """

    def __init__(
        self,
        bundle: Bundle,
        target: np.ndarray,
        method: str,
        settings: AdaptationSettings,
        device: torch.device,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.settings = settings
        self.device = device
        self.bundle = bundle
        # One stream each: at the same seed all methods see the same source and target images, whatever else they draw.
        self.source_generator, self.target_generator, self.style_generator = (
            torch.Generator().manual_seed(int(state)) for state in np.random.SeedSequence(abs(seed)).generate_state(3)
        )
        self.target = torch.from_numpy(np.ascontiguousarray(target, dtype=np.float32))[:, None]
        self.network = (
            copy.deepcopy(bundle.segmenter).requires_grad_(True).to(device, memory_format=torch.channels_last)
        )
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay), use_buffers=True
        )
        self.rain = copy.deepcopy(bundle.rain).to(device)
        self.method: Method = METHOD_CLASSES[method](settings, copy.deepcopy(bundle.bank).to(device))
        self.method.networks.to(device)
        self.optimizer = self._make_optimizer()
        self.epsilon = torch.randn((settings.source_batch, self.rain.latent), generator=self.style_generator)
        self.pseudo_labels: Optional[Tensor] = None
        self.trust: Optional[Tensor] = None
        self.tissue: Optional[TissueStyle] = None

    def run(self, report: Optional[StepReport] = None) -> AdaptationResult:
        """All steps."""
        result = AdaptationResult(self.averaged.module, self.settings.steps)
        self.network.train()
        for step in range(self.settings.steps):
            if step % self.settings.refresh_every == 0:
                self._look_at_target()
            losses = self._take_step(step)
            result.losses.append(losses)
            if report is not None:
                report(step + 1, self.settings.steps, losses, self.averaged.module)
        result.network = (self.averaged.module if self.settings.average_decay > 0 else self.network).eval()
        return result

    def _make_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        if settings.optimizer == "sgd":
            return torch.optim.SGD(self.network.parameters(), settings.learning_rate, momentum=0.9, weight_decay=5e-4)
        return torch.optim.AdamW(self.network.parameters(), settings.learning_rate, weight_decay=1e-4)

    @torch.no_grad()
    def _look_at_target(self) -> None:
        """Renew what the averaged network says about the target: pseudo-labels, their trust, and the tissue style."""
        by_tissue = self.method.uses_style and self.settings.tissue_share > 0
        if not self.method.uses_target or not (by_tissue or self.settings.lambda_self > 0):
            return
        predictor = Predictor(self.averaged.module, self.bundle.class_weights)
        probabilities = predictor.weigh(predictor.predict(self.target[:, 0].numpy()))
        cleaned = torch.from_numpy(clean_up(probabilities)).transpose(0, 1)
        original = torch.from_numpy(probabilities).transpose(0, 1)
        best, label = cleaned.max(dim=1)
        self.pseudo_labels = label
        # Pixels that clean-up changed are nobody's example.
        agreed = label == original.argmax(dim=1)
        self.trust = ((best >= self.settings.confidence) & agreed).float()
        if by_tissue:
            self.tissue = TissueStyle(self.target[:, 0], cleaned * self.trust[:, None], self.settings.confidence)

    def _take_step(self, step: int) -> Dict[str, float]:
        settings, device = self.settings, self.device
        progress = step / settings.steps
        self._set_learning_rate(progress)
        images, labels = self._draw_source()
        target, augmented, motion, copy_labels, copy_trust = self._draw_target()
        adversarial = self.method.uses_style and progress >= settings.warmup_share and settings.epsilon_step > 0
        if not adversarial:
            self.epsilon = torch.randn(self.epsilon.shape, generator=self.style_generator)
        epsilon = self.epsilon.to(device).requires_grad_(adversarial)
        source = (
            randomise_contrast(images, labels, SOURCE_CONTRAST, self.source_generator)
            if settings.randomise_source
            else images
        )
        labels_here = labels.to(device)

        with compute_in_mixed_precision(device):
            stylised = self._stylise(images, labels, epsilon) if self.method.uses_style else images[:0].to(device)
            outputs = self._look([source.to(device), stylised, target.to(device), augmented.to(device)])
        views = Views(labels_here, *outputs, motion=motion.to(device), progress=progress)
        losses = {"source": compute_segmentation_loss(views.source.logits.float(), labels_here)}
        if self.method.uses_style:
            losses["stylised"] = compute_segmentation_loss(views.stylised.logits.float(), labels_here)
        losses.update(self.method.compute_terms(views))
        if copy_labels is not None and settings.lambda_self > 0:
            own = compute_segmentation_loss(
                views.augmented.logits.float(), copy_labels.to(device), copy_trust.to(device)
            )
            losses["self"] = settings.lambda_self * own
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        if adversarial:
            self._move_epsilon(epsilon)
        reported = {"total": total.detach(), **losses, **self.method.update_own_networks(views.detach())}
        return dict(zip(reported, torch.stack([value.detach() for value in reported.values()]).tolist()))

    def _set_learning_rate(self, progress: float) -> None:
        """Polynomial decay (section 3.1), after a short rise for AdamW, whose first steps know no scale."""
        rise = min(1.0, (progress + 0.02) / 0.1) if self.settings.optimizer == "adamw" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rise * decay_rate(progress)

    def _draw_source(self) -> List[Tensor]:
        """Exemplars (B, 1, H, W) in random geometry, with labels (B, H, W)."""
        chosen = torch.randint(len(self.bundle.images), (self.settings.source_batch,), generator=self.source_generator)
        images, labels = self.bundle.images[chosen], self.bundle.labels[chosen]
        grid = sample_grid(len(images), images.shape[2:], self.bundle.crop, SOURCE_GEOMETRY, self.source_generator)
        return list(warp(images, labels, grid))

    def _draw_target(self) -> List[Optional[Tensor]]:
        """Target slices (B, 1, H, W), their augmented copies, the grid (B, H, W, 2) that moved these, and the copies'
        pseudo-labels and trust (B, H, W). B is 0 for a method that uses no target."""
        if not self.method.uses_target:
            nothing = self.target[:0]
            return [nothing, nothing, nothing.new_zeros(0, *nothing.shape[2:], 2), None, None]
        chosen = torch.randint(len(self.target), (self.settings.target_batch,), generator=self.target_generator)
        target = self.target[chosen]
        grid = sample_grid(len(target), target.shape[2:], target.shape[-1], TARGET_GEOMETRY, self.target_generator)
        moved, _ = warp(target, None, grid)
        changed = randomise_contrast(moved, None, COPY_CONTRAST, self.target_generator)
        augmented = _drop_blocks(changed, self.target_generator)
        if self.pseudo_labels is None:
            return [target, augmented, grid, None, None]
        _, labels = warp(target, self.pseudo_labels[chosen], grid)
        _, trust = warp(target, self.trust[chosen].long(), grid)
        return [target, augmented, grid, labels, trust.float()]

    def _stylise(self, images: Tensor, labels: Tensor, epsilon: Tensor) -> Tensor:
        """Source images in the target's style: by RAIN, the last ``tissue_share`` of them by tissue style."""
        count = len(images)
        by_tissue = int(round(self.settings.tissue_share * count)) if self.tissue is not None else 0
        by_rain = count - by_tissue
        parts = []
        if by_rain:
            here = images[:by_rain].to(self.device)
            chosen = torch.randint(len(self.target), (by_rain,), generator=self.style_generator)
            with torch.no_grad():
                content = self.rain.encoder(here)[-1]
                code = self.rain.encode_style(self.target[chosen].to(self.device))
                # What the decoder cannot draw even in the image's own style: fine edges, which carry the labels.
                detail = here - self.rain.decoder(content).float() if self.settings.keep_detail else 0.0
            styled = self.rain.stylise(content.float(), code, epsilon[:by_rain]).float()
            parts.append((styled + detail).clamp(0, 1))
        if by_tissue:
            styled = self.tissue.apply(images[by_rain:], labels[by_rain:], self.style_generator)
            parts.append(randomise_contrast(styled, None, COPY_CONTRAST, self.style_generator).to(self.device))
        return torch.cat(parts)

    def _look(self, kinds: List[Tensor]) -> List[ViewOutput]:
        """All kinds of image through the network in one go."""
        images = torch.cat(kinds).contiguous(memory_format=torch.channels_last)
        encoded = self.network.encode(images)
        features = self.network.decode(encoded)
        logits = self.network.classifier(features)
        sizes = [len(kind) for kind in kinds]
        return [ViewOutput(*parts) for parts in zip(*(whole.split(sizes) for whole in (encoded[-1], features, logits)))]

    @torch.no_grad()
    def _move_epsilon(self, epsilon: Tensor) -> None:
        """One step of eps up the gradient of the loss: the next stylised images are harder (section 2.1)."""
        if epsilon.grad is None:  # All images of this step had tissue style.
            return
        gradient = epsilon.grad.float().cpu()
        length = gradient.norm(dim=1, keepdim=True)
        moved = self.epsilon + self.settings.epsilon_step * gradient / length.clamp_min(1e-12)
        # Beyond this radius lies no style that RAIN has seen.
        most = 1.5 * self.epsilon.shape[1] ** 0.5
        self.epsilon = moved * (most / moved.norm(dim=1, keepdim=True).clamp_min(most))


def _drop_blocks(images: Tensor, generator: torch.Generator) -> Tensor:
    coarse = torch.rand((len(images), 1, images.shape[2] // 8, images.shape[3] // 8), generator=generator)
    return images * F.interpolate((coarse >= DROPOUT_SHARE).float(), size=images.shape[2:], mode="nearest")


def adapt(
    bundle: Bundle,
    target: np.ndarray,
    method: str = "confuda",
    settings: Optional[AdaptationSettings] = None,
    device: Optional[torch.device] = None,
    seed: int = 0,
    report: Optional[StepReport] = None,
    warn: Optional[Callable[[str], None]] = None,
) -> AdaptationResult:
    """Adapt the bundle's network to ``target`` slices (T, H, W) in [0, 1]; see :class:`Adaptation`.

    The steps are shared out among ``settings.runs`` runs, which all begin with the bundle's network and draw other
    images and styles; the weights that they end with are averaged. A single run of few steps depends on what it happens
    to draw.

    Where memory does not suffice, it begins anew with half as many images a step, and says so through ``warn``; the
    error of one source and one target image is the caller's.
    """
    settings = settings or AdaptationSettings()
    while True:
        try:
            return _average_runs(bundle, target, method, settings, device or CPU, seed, report)
        except (MemoryError, RuntimeError) as error:
            if max(settings.source_batch, settings.target_batch) == 1 or not is_out_of_memory(error):
                raise
        # Beyond the except clause, whose error holds on to what the attempt had allocated.
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
) -> AdaptationResult:
    count = min(settings.runs, settings.steps)
    done = 0

    def tell(step: int, _: int, losses: Dict[str, float], network: DRUNet) -> None:
        report(done + step, settings.steps, losses, network)

    results = []
    for number in range(count):
        steps = settings.steps // count + (number < settings.steps % count)
        # The seeds of two users' neighbouring seeds do not overlap.
        run = Adaptation(
            bundle, target, method, dataclasses.replace(settings, steps=steps), device, seed * count + number
        )
        results.append(run.run(tell if report is not None else None))
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
