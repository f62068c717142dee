"""Checkpoints of a training run as one safetensors file: tensors, and a JSON record in the header. Never a pickle."""

import json
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from confuda.errors import InputError, UsageError
from confuda.io.atomic import replace_file, write_text


def flatten_state(prefix: str, state: Dict[str, Any]) -> Dict[str, Tensor]:
    """A module's ``state_dict`` with ``prefix.`` before each name."""
    return {f"{prefix}.{name}": value.detach().contiguous() for name, value in state.items()}


def pick_state(prefix: str, tensors: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """What :func:`flatten_state` put under ``prefix``."""
    start = prefix + "."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def restore_module(module: torch.nn.Module, state: Dict[str, Tensor]) -> None:
    """Load what :func:`pick_state` gives.

    Raises:
        UsageError: if it is of a network of other sizes.
    """
    if {name: value.shape for name, value in module.state_dict().items()} != {
        name: value.shape for name, value in state.items()
    }:
        raise UsageError(
            "The checkpoint is of a network of other sizes: leave out the settings that change them to go on with it, "
            "or train anew into another folder."
        )
    module.load_state_dict(state)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> Dict[str, Tensor]:
    """The running averages of an optimizer, one tensor a name."""
    tensors = {}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).clone().contiguous()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Dict[str, Tensor]) -> None:
    """Put back what :func:`flatten_optimizer` saved; the parameter groups stay as the caller made them."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: Dict[int, Dict[str, Tensor]] = {}
    for key, value in pick_state("optimizer", tensors).items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        # Fused optimisers walk through memory side by side: an average must lie in memory as its parameter does.
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        states.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def summarise_squares(squares: Tensor) -> Tuple[Tensor, Tensor]:
    """Means of a tensor of squares over all but its first axis, and over its first (Shazeer and Stern, Adafactor)."""
    flat = squares.reshape(squares.shape[0], -1).float()
    return flat.mean(1).contiguous(), flat.mean(0).contiguous()


def expand_squares(sides: Sequence[Tensor], parameter: Tensor) -> Tensor:
    """The squares whose means are ``sides``, as a product of both, laid in memory as ``parameter`` is."""
    rows, columns = sides
    product = rows[:, None] * columns[None] / rows.mean().clamp_min(1e-30)
    return torch.empty_like(parameter).copy_(product.reshape(parameter.shape))


def save_checkpoint(path: Path, tensors: Dict[str, Tensor], record: Dict[str, Any]) -> None:
    """Write a checkpoint, complete or not at all.

    Raises:
        InputError: if the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as draft:
            save_file(tensors, str(draft), metadata={"record": json.dumps(record)})
    except (OSError, SafetensorError) as error:
        # safetensors has an error of its own for a full disk, with the system's words in it.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"The checkpoint {path} cannot be written: {reason}.") from error


def forget_later_rows(log: Path, step: int) -> None:
    """Take the rows beyond ``step`` out of a JSON-lines log: a run that stopped after its last checkpoint wrote them,
    and takes these steps again. A last row that was cut off goes, too.

    Raises:
        InputError: if the log cannot be read or written.
    """
    if not log.exists():
        return
    try:
        rows = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if _is_row_until(row, step)]
        if kept != rows:
            write_text(log, "".join(kept))
    except OSError as error:
        raise InputError(f"The log {log} cannot be written: {error.strerror}.") from error


def _is_row_until(row: str, step: int) -> bool:
    try:
        return row.endswith("\n") and json.loads(row)["step"] <= step
    except ValueError:
        return False


def load_checkpoint(path: Path) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """Tensors and record of :func:`save_checkpoint`.

    Raises:
        InputError: where there is no checkpoint, or a damaged one.
    """
    if not path.exists():
        raise InputError(f"No checkpoint to resume from: expected {path}.")
    try:
        with safe_open(str(path), framework="pt") as stored:
            record = json.loads(stored.metadata()["record"])
            return {name: stored.get_tensor(name) for name in stored.keys()}, record
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The checkpoint {path} is damaged, or none: train anew into another folder.") from error
