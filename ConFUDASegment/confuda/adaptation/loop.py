"""One-shot and few-shot adaptation of the segmentation network to the slices of one target (ConFUDA, section 2).

The common loop of all methods: labelled source exemplars, their copies in the target's style, the target's slices and
their augmented copies go through the network together; the method adds its terms; eps of the style moves against the
segmenter. No label of the target is used anywhere.
"""

import copy
import operator
from dataclasses import dataclass, field
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from confuda.adaptation.methods import METHOD_CLASSES
from confuda.adaptation.methods.base import Method, ViewOutput, Views, decay_rate
from confuda.adaptation.settings import AdaptationSettings
from confuda.adaptation.styles import TissueStyle
from confuda.adaptation.stylising import Stylist, change_contrast
from confuda.bundle.format import Bundle
from confuda.device import compute_in_mixed_precision, to_device
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

DROPOUT_SHARE = 0.1
"""Share of the pixels, in blocks of 8 x 8, that random dropout blanks in the augmented target copy."""


@dataclass
class AdaptationResult:
    """The adapted network (evaluation mode, weights averaged), the number of steps of all runs, and the losses by name:
    those of the first step of each run, averaged over the runs, those of the second step, and so on."""

    network: DRUNet
    steps: int
    losses: List[Dict[str, float]] = field(default_factory=list)


class Answer(NamedTuple):
    """What a network says about the target's slices, (K, T, H, W) float32: soft labels that no class weight has
    changed, and those whose largest class is the label, weighed and tidied."""

    soft: np.ndarray
    cleaned: np.ndarray


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
        seed: of everything random, any whole number. run: of several with one seed, each draws something else.
        answer: of the bundle's network about ``target``, where it is known; otherwise it is asked when it is needed.
    """

    def __init__(
        self,
        bundle: Bundle,
        target: np.ndarray,
        method: str,
        settings: AdaptationSettings,
        device: torch.device,
        seed: int,
        run: int = 0,
        answer: Optional[Answer] = None,
    ) -> None:
        # One stream each: at the same seed all methods see the same source and target images, whatever else they draw.
        own, *streams = draw_streams(seed, run, 4)
        torch.manual_seed(own)
        self.source_dice, self.target_dice, style_dice = (
            Dice(torch.Generator(device).manual_seed(state), device) for state in streams
        )
        self.settings = settings
        self.device = device
        # All that a step draws from lies where it computes: nothing is copied between host and device in between.
        self.bundle = bundle.move_exemplars(device)
        self.answer = answer
        self.target = torch.from_numpy(np.ascontiguousarray(target, dtype=np.float32)).to(device)
        if self.target.dim() == 3:
            self.target = self.target[:, None].expand(-1, bundle.segmenter.channels, -1, -1)
        self.middle = self.target.shape[1] // 2
        self.network = to_device(copy.deepcopy(bundle.segmenter).requires_grad_(True), device)
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay), use_buffers=True
        )
        self.rain = copy.deepcopy(bundle.rain).to(device).requires_grad_(False)
        self.stylist = Stylist(self.rain, self.target, settings, style_dice, COPY_RANDOM)
        self.method: Method = METHOD_CLASSES[method](settings, copy.deepcopy(bundle.bank).to(device))
        self.method.networks.to(device)
        self.mixes_images = any(isinstance(part, nn.BatchNorm2d) for part in self.network.modules())
        self.trains_rain = settings.lambda_rain > 0 and self.method.uses_style
        self.optimizer = self._make_optimizer()
        self.pseudo_labels: Optional[Tensor] = None
        self.trust: Optional[Tensor] = None

    def run(self, report: Optional[StepReport] = None) -> AdaptationResult:
        """All steps."""
        result = AdaptationResult(self._get_averaged(), self.settings.steps)
        self.network.train()
        for step in range(self.settings.steps):
            if step % self.settings.refresh_every == 0:
                self._look_at_target(step)
            taken = self._take_step(step)
            # The only time in a step that a GPU is waited for.
            losses = dict(zip(taken, torch.stack(list(taken.values())).tolist()))
            result.losses.append(losses)
            if report is not None:
                report(step + 1, self.settings.steps, losses, self._get_averaged())
        result.network = (self._get_averaged() if self.settings.average_decay > 0 else self.network).eval()
        return result

    def _make_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        trained: List[nn.Parameter] = list(self.network.parameters())
        if self.trains_rain:
            # The encoder is the fixed frame in which styles and contents are measured.
            for part in (self.rain.decoder, self.rain.style):
                trained += part.requires_grad_(True).parameters()
        if settings.optimizer == "sgd":
            return torch.optim.SGD(trained, settings.learning_rate, momentum=0.9, weight_decay=5e-4)
        return torch.optim.AdamW(trained, settings.learning_rate, weight_decay=1e-4)

    def _get_averaged(self) -> DRUNet:
        return cast(DRUNet, self.averaged.module)

    @torch.no_grad()
    def _look_at_target(self, step: int = 0) -> None:
        """Renew what the averaged network says about the target: pseudo-labels, their trust, and the tissue style."""
        by_tissue = self.method.uses_style and self.settings.tissue_share > 0
        if not self.method.uses_target or not (by_tissue or self.settings.lambda_self > 0):
            return
        if step > 0 or self.answer is None:
            predictor = Predictor(self._get_averaged(), self.bundle.class_weights)
            own = predictor.predict(self.target.cpu().numpy())
            answer = Answer(own, clean_up(predictor.weigh(own)))
            self.answer = self.answer or answer
        else:
            answer = self.answer
        soft, cleaned = (torch.from_numpy(part).transpose(0, 1).to(self.device) for part in answer)
        label = cleaned.argmax(dim=1)
        self.pseudo_labels = label
        # The network's own confidence: pixels that a class weight or the clean-up made what they are are no example.
        trusted = soft.gather(1, label[:, None])[:, 0] >= self.settings.confidence
        self.trust = trusted.float()
        if by_tissue:
            sure = F.one_hot(label, soft.shape[1]).permute(0, 3, 1, 2) * self.trust[:, None]
            self.stylist.tissue = TissueStyle(self.target[:, self.middle], sure, self.settings.confidence)

    def _take_step(self, step: int) -> Dict[str, Tensor]:
        """One step; returns its losses by name, scalars where the networks are."""
        settings = self.settings
        progress = step / settings.steps
        self._set_learning_rate(progress)
        images, labels = self._draw_source()
        target, augmented, motion, copy_labels, copy_trust = self._draw_target()
        source = randomise(self.source_dice, images, labels, SOURCE_RANDOM) if settings.randomise_source else images
        labels_here = labels[:, self.middle]

        losses: Dict[str, Tensor] = {}
        with compute_in_mixed_precision(self.device):
            stylised = images[:0]
            if self.method.uses_style:
                stylised, rain_loss = self._stylise(images, labels, labels_here, progress)
                losses.update(rain_loss)
            shown = self._look([source, stylised, target, augmented])
        views = Views(labels_here, shown[0], shown[1], shown[2], shown[3], motion, progress)
        share = 0.5 if settings.mean_over_domains and self.method.uses_style else 1.0
        losses["source"] = share * compute_segmentation_loss(views.source.logits.float(), labels_here)
        if self.method.uses_style:
            losses["stylised"] = share * compute_segmentation_loss(views.stylised.logits.float(), labels_here)
        losses.update(self.method.compute_terms(views))
        if copy_labels is not None and copy_trust is not None and settings.lambda_self > 0:
            own = compute_segmentation_loss(views.augmented.logits.float(), copy_labels, copy_trust)
            losses["self"] = settings.lambda_self * own
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if settings.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        reported = {"total": total.detach(), **losses, **self.method.update_own_networks(views.detach())}
        return {name: value.detach() for name, value in reported.items()}

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
        augmented = _drop_blocks(dice, change_contrast(dice, warp(target, grid), COPY_RANDOM))
        motion = grid.reshape(*target.shape[:2], *grid.shape[1:])[:, self.middle]
        if self.pseudo_labels is None or self.trust is None:
            return target, augmented, motion, None, None
        labels = warp_labels(self.pseudo_labels[chosen][:, None], motion)[:, 0]
        trust = warp_labels(self.trust[chosen][:, None], motion)[:, 0]
        return target, augmented, motion, labels, trust.float()

    def _stylise(
        self, images: Tensor, labels: Tensor, labels_here: Tensor, progress: float
    ) -> Tuple[Tensor, Dict[str, Tensor]]:
        """Source samples (B, C, H, W) in the target's style, and RAIN's loss where it is trained along."""
        batch = self.stylist.choose_styles(images, labels)
        parts, losses = [], {}
        if batch.rain is not None:
            epsilon = self.stylist.draw_epsilon(batch.rain)
            if self.trains_rain:
                rain_losses = self.rain.compute_losses(batch.rain.images, batch.rain.styles, epsilon)
                losses["rain"] = self.settings.lambda_rain * rain_losses["total"]
            if self.settings.epsilon_step > 0 and progress >= self.settings.warmup_share:
                epsilon = self.stylist.harden(batch.rain, epsilon, labels_here[: len(epsilon)], self.network)
            with torch.no_grad():
                parts.append(self.stylist.draw(batch.rain, epsilon))
        if batch.tissue is not None:
            parts.append(batch.tissue)
        return torch.cat(parts), losses

    def _look(self, kinds: Sequence[Tensor]) -> List[ViewOutput]:
        """All kinds of image through the network: in one go, or, where a batch has statistics of its own, kind by
        kind, as there would be no source and no target in the statistics of their mixture."""
        if self.mixes_images:
            return [self._look_at(kind) for kind in kinds]
        whole = self._look_at(torch.cat(list(kinds)))
        sizes = [len(kind) for kind in kinds]
        return [ViewOutput(*parts) for parts in zip(*(part.split(sizes) for part in whole))]

    def _look_at(self, images: Tensor) -> ViewOutput:
        encoded = self.network.encode(images.contiguous(memory_format=torch.channels_last))
        features = self.network.decode(encoded)
        return ViewOutput(encoded[-1], features, self.network.classifier(features))


def draw_streams(seed: int, run: int, count: int) -> List[int]:
    """Seeds of ``count`` independent streams of random numbers, for any whole ``seed`` and for each ``run`` others."""
    seed = operator.index(seed)  # Of numpy's numbers, twice the largest is a negative one.
    folded = 2 * seed if seed >= 0 else -2 * seed - 1
    states = np.random.SeedSequence((folded, run)).generate_state(count, np.uint64)
    # torch takes 63 bits.
    return [int(state) >> 1 for state in states]


def _drop_blocks(dice: Dice, images: Tensor) -> Tensor:
    coarse = dice.uniform((len(images), 1, images.shape[2] // 8, images.shape[3] // 8))
    return images * F.interpolate((coarse >= DROPOUT_SHARE).float(), size=images.shape[2:], mode="nearest")
