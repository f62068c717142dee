"""One cell of a table, that is, one method in one setting on one fold with one seed: run, scored, and kept as JSON.

A cell's file appears complete or not at all, and holds the hash of everything that decides its figures: a rerun takes
the cells that are there with the present hash and makes the others.
"""

import dataclasses
import hashlib
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch

from confuda import __version__
from confuda.adaptation.runs import adapt
from confuda.adaptation.settings import AdaptationSettings
from confuda.adaptation.target import choose_middle_slice
from confuda.benchmark.folds import Fold
from confuda.benchmark.recipe import Recipe
from confuda.benchmark.source_model import crop_like_source, measure_field_mm
from confuda.bundle.format import Bundle, hash_file
from confuda.device import measure_peak_memory_mb
from confuda.imaging.stack import HeartCrop
from confuda.inference.prediction import NO_FLIP, Predictor, clean_up
from confuda.io.atomic import write_text
from confuda.io.segmentation_file import read_segmentation, write_segmentation
from confuda.measure.metrics import evaluate
from confuda.networks.drunet import DRUNet
from confuda.training.mscmrseg import DATASET, LGE, MsCmrSegPatient

CELL_FORMAT = 2
CELLS_FOLDER = "cells"
EXAMPLES_FOLDER = "examples"

UNADAPTED, CONTROL = "none", "source"
"""The source network itself, and as many steps more on the source alone: neither looks at the target."""

NO_SETTING = "-"


@dataclass(frozen=True)
class Cell:
    """What to run: ``method`` with ``settings`` on the target that ``setting`` (of ``recipe.SETTINGS``) allows.

    code_hash: of the file that a user's own method is in.
    """

    method: str
    setting: str
    settings: AdaptationSettings
    fold: Fold
    seed: int
    code_hash: str = ""


class CellFiles(NamedTuple):
    """Where a cell is kept: its record, and the segmentation of one test patient for the figure of examples."""

    record: Path
    example: Path


def hash_parts(*parts: Any) -> str:
    """SHA-256, hexadecimal, of anything that JSON can hold; the same for the same content."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def hash_source(fold: Fold, recipe: Recipe, seed: int) -> str:
    """The hash of all that decides a fold's source bundle and its test: files, split, settings, package version."""
    files = {
        kind: {path.name: hash_file(path) for patient in part for path in _list_files(patient)}
        for kind, part in (("source", fold.source), ("target", fold.target), ("test", fold.test))
    }
    return hash_parts(__version__, files, dataclasses.asdict(recipe.source), dataclasses.asdict(recipe.rain), seed)


def _list_files(patient: MsCmrSegPatient) -> List[Path]:
    return sorted({*patient.images.values(), *patient.labels.values()})


def hash_cell(cell: Cell, source_hash: str) -> str:
    """The recipe hash of a cell. Of the source network alone nothing depends on settings or seed."""
    own: List[Any] = [] if cell.method == UNADAPTED else [dataclasses.asdict(cell.settings), cell.seed]
    own += [cell.code_hash] if cell.code_hash else []
    return hash_parts(CELL_FORMAT, source_hash, cell.method, cell.setting, own)


def name_files(folder: Path, cell: Cell, recipe_hash: str) -> CellFiles:
    """The files of a cell; rows of different tables that are one and the same cell share them."""
    setting = "" if cell.setting == NO_SETTING else f"-{cell.setting}"
    seed = "" if cell.method == UNADAPTED else f"-seed{cell.seed}"
    name = f"{cell.method}{setting}-fold{cell.fold.number}{seed}-{recipe_hash[:8]}"
    return CellFiles(folder / CELLS_FOLDER / f"{name}.json", folder / EXAMPLES_FOLDER / f"{name}.nii.gz")


def read_cell(path: Path, recipe_hash: str) -> Optional[Dict[str, Any]]:
    """The record at ``path`` if it is there and was made by the present recipe, else None."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("recipe_hash") == recipe_hash else None


class CellRunner:
    """Runs the cells of one fold; what they share (the target's slices, the network's view of them) is made once.

    Args:
        bundle: the fold's source side. device: where to adapt and predict.
    """

    def __init__(self, fold: Fold, bundle: Bundle, device: torch.device) -> None:
        self.fold = fold
        self.bundle = bundle
        self.device = device
        self._field_mm = measure_field_mm(fold)
        self._crops: Dict[str, HeartCrop] = {}

    def run(self, cell: Cell, recipe_hash: str, files: CellFiles) -> Dict[str, Any]:
        """Adapt, segment the test patients, score them, and keep the record; returns it."""
        began, began_cpu = time.monotonic(), time.process_time()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        network, slices = self._make_network(cell)
        adapted = time.monotonic()
        cases = self._score(network, files.example)
        record = {
            "recipe_hash": recipe_hash,
            "method": cell.method,
            "setting": cell.setting,
            "fold": cell.fold.number,
            "seed": cell.seed,
            "settings": None if cell.method == UNADAPTED else dataclasses.asdict(cell.settings),
            "patients": {
                "source": len(self.fold.source),
                "target": len(self.fold.target),
                "test": len(self.fold.test),
                "target_slices": slices,
            },
            "cases": cases,
            "seconds": {
                "adapt": round(adapted - began, 2),
                "score": round(time.monotonic() - adapted, 2),
                "source": self.bundle.description["training"]["seconds"],
                "total": round(time.monotonic() - began, 2),
                "cpu": round(time.process_time() - began_cpu, 2),
            },
            # Of the whole process so far: what a cell alone took can't be told apart.
            "peak_memory_mb": measure_peak_memory_mb(),
            "peak_gpu_memory_mb": self._measure_gpu_memory_mb(),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "versions": {"confuda": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        files.record.parent.mkdir(parents=True, exist_ok=True)
        write_text(files.record, json.dumps(record, indent=1) + "\n")
        return record

    def _measure_gpu_memory_mb(self) -> Optional[float]:
        if self.device.type != "cuda":
            return None
        return round(torch.cuda.max_memory_allocated(self.device) / 1e6, 1)

    def _make_network(self, cell: Cell) -> Tuple[DRUNet, int]:
        """The network of the cell, and the number of target slices that made it."""
        if cell.method == UNADAPTED:
            return self.bundle.segmenter.to(self.device), 0
        # The control is handed a target like the others, and looks at none of it.
        target = self.choose_target(cell.setting, cell.seed)
        result = adapt(self.bundle, target, cell.method, cell.settings, self.device, cell.seed)
        return result.network, 0 if cell.method == CONTROL else len(target)

    def choose_target(self, setting: str, seed: int) -> np.ndarray:
        """The target's slices (T, H, W) that a setting allows; one-shot and few-shot draw the same patient, and
        neighbouring seeds another one.

        The slice of the one-shot setting is mid-ventricular in the source network's own view: no label decides.
        """
        if setting == "full":
            return np.concatenate([self._cut(patient).slices for patient in self.fold.target])
        drawn = np.random.default_rng(self.fold.number).permutation(len(self.fold.target))
        slices = self._cut(self.fold.target[int(drawn[seed % len(drawn)])]).slices
        if setting == "few-shot":
            return slices
        network = self.bundle.segmenter.to(self.device)
        middle = choose_middle_slice(Predictor(network).predict(slices, NO_FLIP).argmax(axis=0))
        return slices[[middle]]

    def _cut(self, patient: MsCmrSegPatient) -> HeartCrop:
        if patient.name not in self._crops:
            self._crops[patient.name] = crop_like_source(
                patient.images[LGE], self.bundle.spacing_mm, self.bundle.crop, self._field_mm
            )
        return self._crops[patient.name]

    def _score(self, network: DRUNet, example: Path) -> List[Dict[str, Any]]:
        """Scores of every test patient; the segmentation of the first is kept at ``example``."""
        cases = []
        for patient in self.fold.test:
            crop = self._cut(patient)
            # Single specks would decide the Hausdorff distance: every method gets the clean-up that a user would use.
            labels = crop.restore(clean_up(Predictor(network).predict(crop.slices, NO_FLIP)))
            if patient is self.fold.test[0]:
                example.parent.mkdir(parents=True, exist_ok=True)
                write_segmentation(labels, example)
            # Labels of the target domain are read here, and only here, after the prediction.
            truth = read_segmentation(patient.labels[LGE], DATASET)
            cases.append({"case": patient.name, "scores": _round_scores(evaluate(truth, labels))})
        return cases


def _round_scores(scores: Dict[str, Dict[str, float]]) -> Dict[str, Dict[str, float]]:
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in scores.items()}
