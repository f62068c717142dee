"""One training step in one process, or shared by several.

Every process draws the same whole batch from the same generator, computes the network's output for its own share of the
images, and ends with the same weights, so that the number of processes changes nothing but rounding.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple, TypeVar, cast

import torch
from torch import Tensor, nn

from confuda.device import CPU, compute_in_mixed_precision
from confuda.errors import UsageError
from confuda.training.launch import LaunchOptions, choose_launch_device, launch_fabric, leave_fabric

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Module = TypeVar("Module", bound=nn.Module)


class SingleProcess:
    """The only process: plain torch, no Fabric.

    device: where to compute. count, rank: how many processes there are, and which one this is, from 0.
    """

    count = 1
    rank = 0

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    @property
    def scales_gradients(self) -> bool:
        """Whether losses are scaled for float16: a fused optimiser can't clip gradients then."""
        return False

    def prepare(self, network: Module) -> Module:
        """``network`` on the device of this process."""
        return network.to(self.device)

    def take_share(self, batch: Tensor) -> Tensor:
        """This process's part (B / count, ...) of a whole batch (B, ...), on its device."""
        return batch.to(self.device)

    def gather(self, share: Tensor) -> Tensor:
        """The whole batch (B, ...) of the shares (B / count, ...) of all processes, in the order of ``take_share``.

        Differentiable: a loss that normalises over the whole batch, such as Jaccard, is computed on what this returns,
        in every process alike.
        """
        return share

    def average(self, values: Dict[str, Tensor]) -> Dict[str, float]:
        """Scalars by name, each the mean over the processes."""
        return {name: float(value.detach()) for name, value in values.items()}

    def autocast(self, by_default: bool = True) -> AbstractContextManager:
        """The arithmetic of the forward pass; by_default: whether it is mixed if no precision was asked for."""
        return compute_in_mixed_precision(self.device) if by_default else nullcontext()

    def take_step(self, loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, most_norm: float) -> None:
        """Gradients of ``loss``, clipped to the norm ``most_norm``, and a step; all processes end with equal weights.

        loss: of the whole batch (from :meth:`gather`), or the mean over this process's share: both give the gradient
        of the whole batch.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), most_norm)
        optimizer.step()

    def get_state(self) -> Dict[str, Any]:
        """What a checkpoint keeps beside weights and optimiser, as JSON can hold it."""
        return {}

    def set_state(self, state: Dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""

    def finish(self) -> None:
        """Wait for the others, and let go of them."""


class FabricProcess(SingleProcess):
    """One of several processes, or a single one with a precision of its own, through Lightning Fabric.

    Gradients are averaged by hand, in one message after the backward pass, rather than by DistributedDataParallel: RAIN
    goes through its parts in several calls and freezes its encoder halfway, which DDP's hooks do not follow. For these
    networks (at most 54 MB of gradients) the message is short beside a step.
    """

    def __init__(self, fabric: "Fabric", mixes_by_default: bool) -> None:
        super().__init__(fabric.device)
        self._fabric = fabric
        self._mixes_by_default = mixes_by_default
        self.count, self.rank = fabric.world_size, fabric.global_rank

    @property
    def scales_gradients(self) -> bool:
        return bool(self.get_state())

    def prepare(self, network: Module) -> Module:
        if self.count > 1:
            # Batch normalisation over a share is not that over the batch; torch has it across processes on GPUs alone.
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network.to(self.device)

    def take_share(self, batch: Tensor) -> Tensor:
        return batch.chunk(self.count)[self.rank].to(self.device)

    def gather(self, share: Tensor) -> Tensor:
        return _GatherShares.apply(share, self.count, self.rank) if self.count > 1 else share

    def average(self, values: Dict[str, Tensor]) -> Dict[str, float]:
        means = self._reduce(torch.stack([value.detach().float() for value in values.values()]))
        return dict(zip(values, means.tolist()))

    def autocast(self, by_default: bool = True) -> AbstractContextManager:
        return super().autocast(by_default) if self._mixes_by_default else self._fabric.autocast()

    def take_step(self, loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, most_norm: float) -> None:
        optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        self._average_gradients(network)
        # With float16 a step that overflowed is no error: the scaler leaves it out and scales less.
        self._fabric.clip_gradients(network, optimizer, max_norm=most_norm, error_if_nonfinite=False)
        self._fabric.strategy.optimizer_step(optimizer)

    def _average_gradients(self, network: nn.Module) -> None:
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        averaged = self._reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, averaged.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view(gradient.shape))

    def _reduce(self, values: Tensor) -> Tensor:
        """The mean over the processes; Fabric gives back the kind of collection that it was given."""
        return cast(Tensor, self._fabric.all_reduce(values))

    def get_state(self) -> Dict[str, Any]:
        return self._fabric.strategy.precision.state_dict()

    def set_state(self, state: Dict[str, Any]) -> None:
        if state:
            self._fabric.strategy.precision.load_state_dict(state)

    def finish(self) -> None:
        leave_fabric(self._fabric)


class _GatherShares(torch.autograd.Function):
    """All shares, one after the other. Backward hands each process the gradient of its own share, times the number of
    processes, since the gradients of the weights are averaged afterwards where the parts of one loss must be added."""

    @staticmethod
    def forward(context: Any, share: Tensor, count: int, rank: int) -> Tensor:
        context.count, context.rank = count, rank
        shares = [torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(count)]
        torch.distributed.all_gather(shares, share.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return gradient.chunk(context.count)[context.rank] * context.count, None, None


class Team:
    """The processes that a command trains with: started, or joined, at its first training, and kept for the next.

    options: where to run. report: hears a warning as one line.
    """

    def __init__(self, options: LaunchOptions, report: Optional[Callable[[str], None]] = None) -> None:
        options.check()
        self.options = options
        self._report = report
        self._process: Optional[SingleProcess] = None

    def check(self, batch: int, normalisation: str) -> Tuple[torch.device, str]:
        """The kind of device, and a warning or "". batch: images of a step, over all processes; normalisation: of the
        network.

        Raises:
            UsageError: if these do not fit the processes, or a device is not there.
        """
        device, warning = choose_launch_device(self.options)
        if batch % self.options.processes:
            raise UsageError(f"A batch of {batch} images does not divide among {self.options.processes} processes.")
        if self.options.processes > 1 and normalisation == "batch" and device.type == "cpu":
            raise UsageError("Batch normalisation over several processes needs GPUs: choose group or instance.")
        return device, warning

    def join(self, batch: int, normalisation: str) -> SingleProcess:
        """This process among the others; as :meth:`check`, and UsageError as well if Fabric is needed and absent."""
        device, warning = self.check(batch, normalisation)
        if self._process is None:
            self._process = self._start(device)
            if warning and self._report is not None and self._process.is_first:
                self._report(f"warning: {warning}")
        return self._process

    def _start(self, device: torch.device) -> SingleProcess:
        if self.options.processes == 1 and self.options.precision is None:
            return SingleProcess(device)
        return FabricProcess(launch_fabric(self.options, device), self.options.precision is None)

    def finish(self) -> None:
        """Wait until all are through, and let go of them."""
        if self._process is not None:
            self._process.finish()
