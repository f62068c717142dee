"""The package ``myopari`` (PyPI) beside ours: its network for ACDC on the same volumes, scored in the same way.

    pip install onnxruntime scikit-image
    python benchmarks/peer.py ../shared/data/MS-CMRSeg/native -o ../lab/peer-results/native --cache ../lab/peer

The wheel is fetched by pip into a folder outside the repository and checked against its SHA-256; its own functions do
the preprocessing and the clean-up, from there, and nothing of it is kept here. Rows have the form of
``benchmarks/quality.py`` and are resumed in the same way. Labels are read for scoring only.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Optional, Sequence

import numpy as np
import SimpleITK as sitk
from labelled import check_outside_repository, choose_cases, name_case
from scores import Row, read_row, write_json, write_report
from study import run_study, say

from confuda.bundle.format import hash_file
from confuda.errors import InputError, UsageError
from confuda.io.segmentation_file import read_segmentation
from confuda.io.volume_file import read_volume
from confuda.labels import map_labels
from confuda.measure.metrics import evaluate

PACKAGE, VERSION = "myopari", "0.1.6"
WHEEL_NAME = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "65c0067dadfecb4372411b409a4e9d1a901f16aefa53375df0fcaea423e3e393"
NETWORK = "myopari/Resources/tiramisu_acdc_fp32.onnx"
FUNCTIONS = "myopari/processors/functions_utils.py"
CLASSES, SMALLEST_VOXELS = 4, 800
"""As the wheel's ``SEGProcessor`` calls its functions for this network; its labels are ACDC's."""


@dataclass
class Peer:
    """The unpacked package: its own functions, and its network ready to run."""

    functions: ModuleType
    session: Any

    def segment(self, image: sitk.Image) -> sitk.Image:
        """Segment a volume as the package's widget does: a label map of ours on the volume's own grid.

        The widget hands over the voxels as (x, y, z) in the file's own order. All the rest is the package's:
        intensities between two percentiles, the square in the middle of what is not zero, 256 x 256 pixels whatever
        the spacing.
        """
        voxels = sitk.GetArrayFromImage(image).astype(np.float64).transpose(2, 1, 0)
        prepared = self.functions.preprocess_data_array(voxels)
        labels = self.functions.predict_data_model(
            prepared, self.session, num_classes=CLASSES, min_size_remove=SMALLEST_VOXELS, onnx=True
        )
        result = sitk.GetImageFromArray(np.ascontiguousarray(map_labels(labels.transpose(2, 1, 0), "acdc")))
        result.CopyInformation(image)
        return result


def fetch_wheel(cache: Path) -> Path:
    """The wheel in ``cache``, downloaded by pip if it is not there yet.

    Raises:
        InputError: if it cannot be fetched, or is not the one that is known.
    """
    wheel = cache / WHEEL_NAME
    if not wheel.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(cache)]
        if subprocess.run([*command, f"{PACKAGE}=={VERSION}"]).returncode != 0 or not wheel.is_file():
            raise InputError(f"pip could not fetch {PACKAGE} {VERSION}: put {WHEEL_NAME} into {cache} by hand.")
    if hash_file(wheel) != WHEEL_SHA256:
        raise InputError(f"{wheel} is not the known {PACKAGE} {VERSION} (its SHA-256 differs): remove it.")
    return wheel


def load_peer(cache: Path, threads: int) -> Peer:
    """Unpack network and functions below ``cache`` and load them.

    Raises:
        UsageError: if the libraries that the package needs are not installed.
        InputError: see :func:`fetch_wheel`.
    """
    try:
        import onnxruntime

        with zipfile.ZipFile(fetch_wheel(cache)) as wheel:
            network, functions = (Path(wheel.extract(name, cache / "unpacked")) for name in (NETWORK, FUNCTIONS))
        specification = importlib.util.spec_from_file_location("myopari_functions", functions)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    except ImportError as error:
        raise UsageError("The peer needs its own libraries: 'pip install onnxruntime scikit-image'.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    return Peer(module, session)


def measure(peer: Peer, volume: Path, truth: Path, dataset: Optional[str], identity: Dict[str, Any]) -> Row:
    """Segment and score one volume."""
    began = time.perf_counter()
    prediction = peer.segment(read_volume(volume).image)
    seconds = round(time.perf_counter() - began, 2)
    return {
        "identity": identity,
        "case": name_case(volume),
        "run": f"{PACKAGE} {VERSION}",
        "preset": "",
        "scores": evaluate(read_segmentation(truth, dataset), prediction),
        "summary": {"seconds": {"total": seconds}, "accepted": True},
    }


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of volumes with their labels beside them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the JSON files and tables")
    parser.add_argument("--sequence", help="only volumes called ..._SEQUENCE, e.g. LGE or T2")
    parser.add_argument("--cases", nargs="+", help="case or patient names, e.g. patient1 (all by default)")
    parser.add_argument("--dataset", help="whose label values the truth has, e.g. acdc (guessed by default)")
    parser.add_argument("--title", help="what the data are called in the tables")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "confuda-peer", help="for the wheel")
    return parser


def run(arguments: argparse.Namespace) -> str:
    """Measure what is not measured yet; returns the table.

    Raises:
        ConfudaError: saying what is wrong.
    """
    cache = check_outside_repository(arguments.cache, "--cache")
    pairs = choose_cases(arguments.data, arguments.sequence, arguments.cases)
    arguments.output.mkdir(parents=True, exist_ok=True)
    peer = load_peer(cache, arguments.threads)
    rows = []
    for number, (volume, truth) in enumerate(pairs, 1):
        identity = {"volume": hash_file(volume), "truth": hash_file(truth), "peer": WHEEL_SHA256}
        path = arguments.output / f"{name_case(volume)}-{PACKAGE}.json"
        row = read_row(path, identity)
        if row is None:
            row = measure(peer, volume, truth, arguments.dataset, identity)
            write_json(row, path)
        rows.append(row)
        say(f"{number}/{len(pairs)} {row['case']}: {row['scores']['average']['dice']:.3f}")
    parts = [*arguments.data.resolve().parts[-2:], *([arguments.sequence] if arguments.sequence else [])]
    return write_report(rows, arguments.title or " ".join(parts), arguments.output)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return run_study(run, build_parser().parse_args(arguments), "peer")


if __name__ == "__main__":
    sys.exit(main())
