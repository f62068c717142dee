"""What every training run does beside learning: resume, keep checkpoints, write its log, tell how long it will take."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import torch

from confuda.errors import UsageError
from confuda.io.atomic import remove_left_drafts
from confuda.training.checkpoint import (
    flatten_optimizer,
    flatten_state,
    forget_later_rows,
    load_checkpoint,
    pick_state,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)
from confuda.training.processes import SingleProcess


def name_checkpoint(folder: Path, name: str) -> Path:
    """Where the run ``name`` in ``folder`` keeps its checkpoint."""
    return folder / f"{name}-checkpoint.safetensors"


def check_new_run(folder: Path, *names: str) -> None:
    """Make sure that a new run replaces no checkpoint: hours of work would be lost with it.

    Raises:
        UsageError: if ``folder`` holds one of a run of ``names``.
    """
    if any(name_checkpoint(folder, name).exists() for name in names):
        raise UsageError(
            f"{folder} holds a training already, which would be lost: give --resume to go on, or another folder."
        )


class TrainingRun:
    """One run in ``folder``: ``NAME-checkpoint.safetensors`` and ``NAME-log.jsonl``.

    Args:
        modules: what is trained, by the name it has in the checkpoint.
        generator: of everything random; its state is kept, so that a resumed run is the run that never stopped.
        settings: a dataclass, kept in the checkpoint.
        resume: go on from the checkpoint in ``folder``.
        report: hears one line at a time.
        checkpoint_every_s: seconds between checkpoints; the last step is always kept.
        process: which of the processes that share the run this is; all resume, only the first writes and reports.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        modules: Mapping[str, torch.nn.Module],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        settings: Any,
        resume: bool,
        report: Optional[Callable[[str], None]],
        checkpoint_every_s: float,
        process: Optional[SingleProcess] = None,
    ) -> None:
        self._checkpoint = name_checkpoint(folder, name)
        self._log = folder / f"{name}-log.jsonl"
        self._modules = modules
        self._optimizer = optimizer
        self._generator = generator
        self._settings = settings
        self._report = report
        self._checkpoint_every_s = checkpoint_every_s
        self._process = process or SingleProcess()
        self.start = 0
        if resume:
            tensors, record = load_checkpoint(self._checkpoint)
            for key, module in modules.items():
                restore_module(module, pick_state(key, tensors))
            restore_optimizer(optimizer, tensors)
            generator.set_state(tensors["generator"])
            self._process.set_state(record.get("process", {}))
            self.start = record["step"]
        folder.mkdir(parents=True, exist_ok=True)
        if self._process.is_first:
            remove_left_drafts(folder)
            if resume:
                forget_later_rows(self._log, self.start)

    def count_steps(self, total: int) -> Iterator[int]:
        """The numbers of the steps left to do; a checkpoint is kept between two of them when it is due."""
        self._began = last_kept = time.monotonic()
        for step in range(self.start, total):
            yield step
            if time.monotonic() - last_kept > self._checkpoint_every_s or step + 1 == total:
                self._keep(step + 1)
                last_kept = time.monotonic()

    def write_log(self, row: Dict[str, Any]) -> None:
        """Add one JSON line to the log, with the seconds since the start."""
        if not self._process.is_first:
            return
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(json.dumps({**row, "seconds": round(time.monotonic() - self._began, 1)}) + "\n")

    def tell(self, text: str) -> None:
        if self._report is not None and self._process.is_first:
            self._report(text)

    def tell_progress(self, done: int, total: int, text: str) -> None:
        """The progress line: step, ``text``, seconds a step, minutes left."""
        per_step = (time.monotonic() - self._began) / (done - self.start)
        left_min = per_step * (total - done) / 60
        self.tell(f"step {done}/{total}  {text}  {per_step:.2f} s/step  {left_min:.0f} min left")

    def _keep(self, step: int) -> None:
        if not self._process.is_first:
            return
        tensors = {**flatten_optimizer(self._optimizer), "generator": self._generator.get_state()}
        for key, module in self._modules.items():
            tensors.update(flatten_state(key, module.state_dict()))
        record = {"step": step, "settings": dataclasses.asdict(self._settings)}
        state = self._process.get_state()
        save_checkpoint(self._checkpoint, tensors, {**record, "process": state} if state else record)
