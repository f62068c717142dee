"""ConFUDA: one-shot and few-shot unsupervised domain adaptation for cardiac MR segmentation (Gu et al., 2022).

    import confuda

    volume = confuda.read_volume("LGE.nii.gz")
    result = confuda.Segmenter(confuda.load_bundle()).adapt_and_segment(volume)
    result.save("LGE.seg.nrrd")

docs/python.md says more. Nothing is loaded, torch least of all, before it is used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from confuda.threads import let_threads_sleep

if TYPE_CHECKING:
    from confuda.bundle.format import load_bundle, save_bundle
    from confuda.imaging.volume import Volume
    from confuda.io.volume_file import read_volume
    from confuda.observer import Observer
    from confuda.result import Result
    from confuda.segmenter import Segmenter

__version__ = "0.3.0"

NOT_A_DEVICE = "Research software, not a medical device: not for diagnosis or treatment."

_PLACES = {
    "Observer": "confuda.observer",
    "Result": "confuda.result",
    "Segmenter": "confuda.segmenter",
    "Volume": "confuda.imaging.volume",
    "load_bundle": "confuda.bundle.format",
    "read_volume": "confuda.io.volume_file",
    "save_bundle": "confuda.bundle.format",
}

__all__ = ["Observer", "Result", "Segmenter", "Volume", "__version__", "load_bundle", "read_volume", "save_bundle"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'confuda' has no attribute '{name}'")
    if "torch" not in sys.modules:
        # It reads how its threads are to wait when it is loaded, and never again.
        let_threads_sleep()
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
