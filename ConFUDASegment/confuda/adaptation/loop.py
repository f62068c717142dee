"""One-shot and few-shot adaptation of the segmentation network to the slices of one target (ConFUDA, section 2).

The common loop of all methods: labelled source exemplars, their copies in the target's style, the target's slices and
their augmented copies go through the network together; the method adds its terms; eps of the style moves against the
segmenter. No label of the target is used anywhere.
"""

import copy
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Tuple, cast

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
from confuda.device import compute_in_mixed_precision, to_device
from confuda.imaging.disturbance import disturb
from confuda.imaging.random_contrast import map_intensity
from confuda.imaging.random_geometry import draw_grid, warp, warp_labels
from confuda.imaging.random_settings import Dice, RandomSettings
from confuda.imaging.randomisation import randomise
from confuda.inference.prediction import Predictor, clean_up
from confuda.losses.segmentation import compute_segmentation_loss
from confuda.networks.drunet import DRUNet

SOURCE_RANDOM = RandomSettings(scale=(0.75, 1.35), shift_mm=15.0, far_shift=0.0, elastic_mm=3.0, partial_volume=0.0)
"""Motion and contrast of the source images: as in pretraining, except that the heart stays in the window."""

COPY_RANDOM = RandomSettings(
    scale=(0.85, 1.2),
    shift_mm=12.0,
    far_shift=0.0,
    elastic_mm=4.5,
    misalignment_mm=0.0,
    blur=0.4,
    noise=0.6,
    strong_noise=0.0,
    ghosts=0.0,
    spikes=0.0,
    voids=0.0,
    padding=0.0,
)
"""Motion and disturbance of the augmented target copy ("heavy augmentations", section 3.1)."""

COPY_MAP = 0.3
"""Share of the copies, and of the images in tissue style, whose intensities are mapped at random."""

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
    """One run of :func:`confuda.adaptation.runs.adapt`: what it holds between steps.

    Args:
        bundle: the source side; its network is copied, never changed.
        target: slices (T, H, W) in [0, 1] to adapt to, or samples (T, C, H, W) with the neighbours that the network is
            shown; one of them in one-shot mode.
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
        self.source_dice, self.target_dice, self.style_dice = (
            Dice(torch.Generator().manual_seed(int(state)))
            for state in np.random.SeedSequence(abs(seed)).generate_state(3)
        )
        self.target = torch.from_numpy(np.ascontiguousarray(target, dtype=np.float32))
        if self.target.dim() == 3:
            self.target = self.target[:, None].expand(-1, bundle.segmenter.channels, -1, -1)
        self.middle = self.target.shape[1] // 2
        self.network = to_device(copy.deepcopy(bundle.segmenter).requires_grad_(True), device)
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay), use_buffers=True
        )
        self.rain = copy.deepcopy(bundle.rain).to(device)
        self.method: Method = METHOD_CLASSES[method](settings, copy.deepcopy(bundle.bank).to(device))
        self.method.networks.to(device)
        self.optimizer = self._make_optimizer()
        self.epsilon = self.style_dice.normal((settings.source_batch, self.rain.latent))
        self.pseudo_labels: Optional[Tensor] = None
        self.trust: Optional[Tensor] = None
        self.tissue: Optional[TissueStyle] = None

    def run(self, report: Optional[StepReport] = None) -> AdaptationResult:
        """All steps."""
        result = AdaptationResult(self._get_averaged(), self.settings.steps)
        self.network.train()
        for step in range(self.settings.steps):
            if step % self.settings.refresh_every == 0:
                self._look_at_target()
            losses = self._take_step(step)
            result.losses.append(losses)
            if report is not None:
                report(step + 1, self.settings.steps, losses, self._get_averaged())
        result.network = (self._get_averaged() if self.settings.average_decay > 0 else self.network).eval()
        return result

    def _make_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        if settings.optimizer == "sgd":
            return torch.optim.SGD(self.network.parameters(), settings.learning_rate, momentum=0.9, weight_decay=5e-4)
        return torch.optim.AdamW(self.network.parameters(), settings.learning_rate, weight_decay=1e-4)

    def _get_averaged(self) -> DRUNet:
        return cast(DRUNet, self.averaged.module)

    @torch.no_grad()
    def _look_at_target(self) -> None:
        """Renew what the averaged network says about the target: pseudo-labels, their trust, and the tissue style."""
        by_tissue = self.method.uses_style and self.settings.tissue_share > 0
        if not self.method.uses_target or not (by_tissue or self.settings.lambda_self > 0):
            return
        predictor = Predictor(self._get_averaged(), self.bundle.class_weights)
        probabilities = predictor.weigh(predictor.predict(self.target.numpy()))
        cleaned = torch.from_numpy(clean_up(probabilities)).transpose(0, 1)
        original = torch.from_numpy(probabilities).transpose(0, 1)
        best, label = cleaned.max(dim=1)
        self.pseudo_labels = label
        # Pixels that clean-up changed are no examples of any class.
        agreed = label == original.argmax(dim=1)
        self.trust = ((best >= self.settings.confidence) & agreed).float()
        if by_tissue:
            self.tissue = TissueStyle(
                self.target[:, self.middle], cleaned * self.trust[:, None], self.settings.confidence
            )

    def _take_step(self, step: int) -> Dict[str, float]:
        settings, device = self.settings, self.device
        progress = step / settings.steps
        self._set_learning_rate(progress)
        images, labels = self._draw_source()
        target, augmented, motion, copy_labels, copy_trust = self._draw_target()
        adversarial = self.method.uses_style and progress >= settings.warmup_share and settings.epsilon_step > 0
        if not adversarial:
            self.epsilon = self.style_dice.normal(tuple(self.epsilon.shape))
        epsilon = self.epsilon.to(device).requires_grad_(adversarial)
        source = randomise(self.source_dice, images, labels, SOURCE_RANDOM) if settings.randomise_source else images
        labels_here = labels[:, self.middle].to(device)

        with compute_in_mixed_precision(device):
            stylised = self._stylise(images, labels, epsilon) if self.method.uses_style else images[:0].to(device)
            shown = self._look([source.to(device), stylised, target.to(device), augmented.to(device)])
        views = Views(labels_here, shown[0], shown[1], shown[2], shown[3], motion.to(device), progress)
        losses = {"source": compute_segmentation_loss(views.source.logits.float(), labels_here)}
        if self.method.uses_style:
            losses["stylised"] = compute_segmentation_loss(views.stylised.logits.float(), labels_here)
        losses.update(self.method.compute_terms(views))
        if copy_labels is not None and copy_trust is not None and settings.lambda_self > 0:
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
        """Polynomial decay (section 3.1), after a short rise for AdamW, which at first knows no size of gradients."""
        rise = min(1.0, (progress + 0.02) / 0.1) if self.settings.optimizer == "adamw" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * (self.settings.strength or 1.0) * rise * decay_rate(progress)

    def _draw_source(self) -> Tuple[Tensor, Tensor]:
        """Exemplars in random geometry with their labels, (B, C, H, W)."""
        dice, size = self.source_dice, self.settings.source_batch
        images, labels = self.bundle.get_samples(dice.integers((size,), len(self.bundle.samples)))
        grid = self._draw_grid(dice, images, self.bundle.crop, SOURCE_RANDOM)
        return warp(images, grid), warp_labels(labels, grid)

    def _draw_grid(self, dice: Dice, images: Tensor, size: int, random: RandomSettings) -> Tensor:
        spacing = self.bundle.spacing_mm
        return draw_grid(dice, len(images), images.shape[1], images.shape[-1], size, (spacing, spacing), random)

    def _draw_target(self) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor], Optional[Tensor]]:
        """Target samples (B, C, H, W), their augmented copies, the grid (B, H, W, 2) that moved these, and the copies'
        pseudo-labels and trust (B, H, W). B is 0 for a method that uses no target."""
        if not self.method.uses_target:
            nothing = self.target[:0]
            return nothing, nothing, nothing.new_zeros(0, *nothing.shape[2:], 2), None, None
        dice = self.target_dice
        chosen = dice.integers((self.settings.target_batch,), len(self.target))
        target = self.target[chosen]
        grid = self._draw_grid(dice, target, target.shape[-1], COPY_RANDOM)
        augmented = _drop_blocks(dice, self._change(dice, warp(target, grid)))
        motion = grid.reshape(*target.shape[:2], *grid.shape[1:])[:, self.middle]
        if self.pseudo_labels is None or self.trust is None:
            return target, augmented, motion, None, None
        labels = warp_labels(self.pseudo_labels[chosen][:, None], motion)[:, 0]
        trust = warp_labels(self.trust[chosen][:, None], motion)[:, 0]
        return target, augmented, motion, labels, trust.float()

    @staticmethod
    def _change(dice: Dice, images: Tensor) -> Tensor:
        """Images (B, C, H, W) as another scan of the same contrast might be."""
        mapped = torch.where(dice.chance(len(images), COPY_MAP), map_intensity(dice, images), images)
        return disturb(dice, mapped, COPY_RANDOM)

    def _stylise(self, images: Tensor, labels: Tensor, epsilon: Tensor) -> Tensor:
        """Source samples (B, C, H, W) in the target's style: by RAIN, the last ``tissue_share`` of them by tissue
        style."""
        count, channels = images.shape[:2]
        by_tissue = int(round(self.settings.tissue_share * count)) if self.tissue is not None else 0
        by_rain = count - by_tissue
        parts = []
        if by_rain:
            # RAIN takes single slices; all slices of a sample get the same style.
            here = images[:by_rain].to(self.device).flatten(0, 1)[:, None]
            chosen = self.style_dice.integers((by_rain,), len(self.target))
            with torch.no_grad():
                content = self.rain.encoder(here)[-1]
                code = self.rain.encode_style(self.target[chosen, self.middle][:, None].to(self.device))
                # What the decoder loses even with the image's own style: fine edges, where the labels change.
                detail = here - self.rain.decoder(content).float() if self.settings.keep_detail else 0.0
            code = type(code)(*(part.repeat_interleave(channels, 0) for part in code))
            noise = epsilon[:by_rain].repeat_interleave(channels, 0)
            styled = self.rain.stylise(content.float(), code, noise).float()
            parts.append((styled + detail).clamp(0, 1)[:, 0].unflatten(0, (by_rain, channels)))
        if by_tissue and self.tissue is not None:
            styled = self.tissue.apply(self.style_dice, images[by_rain:], labels[by_rain:])
            parts.append(self._change(self.style_dice, styled).to(self.device))
        return torch.cat(parts)

    def _look(self, kinds: List[Tensor]) -> List[ViewOutput]:
        """All kinds of image through the network in one pass."""
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
        # RAIN has seen no style beyond this radius.
        most = 1.5 * self.epsilon.shape[1] ** 0.5
        self.epsilon = moved * (most / moved.norm(dim=1, keepdim=True).clamp_min(most))


def _drop_blocks(dice: Dice, images: Tensor) -> Tensor:
    coarse = dice.uniform((len(images), 1, images.shape[2] // 8, images.shape[3] // 8))
    return images * F.interpolate((coarse >= DROPOUT_SHARE).float(), size=images.shape[2:], mode="nearest")
