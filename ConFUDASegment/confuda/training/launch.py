"""Several processes for one command, on the devices of one machine or of many, through Lightning Fabric.

Fabric finds out by itself how the processes come about: it starts those of this machine where nothing else does, and
joins those that torchrun or SLURM's srun started. It is imported only when it is asked for.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Tuple, cast

import torch

from confuda.device import CPU, choose_device
from confuda.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Fabric's names: float32 throughout; bfloat16 or float16 where autocast allows it, weights in float32."""

WORLD_SIZE = "WORLD_SIZE"
"""How many processes there are, in the environment of each of them: torchrun and Fabric set it."""


@dataclass(frozen=True)
class LaunchOptions:
    """Where a command runs; the fields are the options of the command line.

    device: auto, cpu, cuda or cuda:N; devices: processes on each machine, one device each (on the CPU they share the
    cores); nodes: machines; precision: one of ``PRECISIONS``, or None for what the device computes fastest without
    losing accuracy (``confuda.device.compute_in_mixed_precision``).
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Optional[str] = None

    @property
    def processes(self) -> int:
        return self.devices * self.nodes

    def check(self) -> None:
        """Raises UsageError for options that are wrong, contradict one another, or miss how the process was started."""
        if min(self.devices, self.nodes) < 1:
            raise UsageError("--devices and --nodes take numbers of at least 1.")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise UsageError(f"Unknown precision '{self.precision}': choose one of {', '.join(PRECISIONS)}.")
        if self.processes > 1 and self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"'{self.device}' is no kind of device for several processes: choose auto, cpu or cuda.")
        started = os.environ.get(WORLD_SIZE, "1")
        if self.processes == 1 and started != "1":
            # Each of them would do all of the work, and write to the same files.
            raise UsageError(f"This is one of {started} processes: say so with --devices and --nodes.")


def choose_launch_device(options: LaunchOptions) -> Tuple[torch.device, str]:
    """The kind of device for all processes, or the one device, and a warning ("" where there is none).

    Raises:
        UsageError: if there are to be several GPUs and there is none, or for float16 on the CPU.
    """
    device, warning = CPU, ""
    if options.processes == 1:
        device, warning = choose_device(options.device)
    # No probe of the GPU here: each process would open the first one.
    elif options.device != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")
    elif options.device == "cuda":
        raise UsageError("This torch finds no CUDA GPU: several processes on the CPU need --device cpu.")
    if device.type == "cpu" and options.precision == "16-mixed":
        raise UsageError("The precision 16-mixed needs a GPU: on the CPU choose 32-true or bf16-mixed.")
    return device, warning


def leave_fabric(fabric: "Fabric") -> None:
    """Wait until all processes are here, and let go of them."""
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


def launch_fabric(options: LaunchOptions, device: torch.device) -> "Fabric":
    """Start, or join, the processes of ``options`` on the kind of ``device``; returns in each of them.

    Where Fabric starts the others, each of them runs this whole command once more up to here: what can be refused
    should be refused before.

    Raises:
        UsageError: if Fabric is not installed, or cannot have the devices that are asked for.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise UsageError(
            "Several devices or nodes, and --precision in training, need Lightning Fabric: install it with "
            "'pip install confuda[train]'."
        ) from error
    single = [device.index] if device.index is not None else 1
    try:
        fabric = Fabric(
            accelerator=device.type,
            devices=options.devices if options.processes > 1 else single,
            num_nodes=options.nodes,
            strategy="ddp" if options.processes > 1 else "auto",
            precision=cast(Any, options.precision or "32-true"),
        )
        fabric.launch()
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"Lightning Fabric cannot start {options.processes} processes: {reason}") from error
    if fabric.world_size != options.processes:
        raise UsageError(
            f"There are {fabric.world_size} processes, --devices and --nodes make {options.processes}: let them agree."
        )
    return fabric
