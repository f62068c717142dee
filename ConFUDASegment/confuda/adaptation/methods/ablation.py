"""The ablation of the paper (table 2) by settings: each row adds one part of ConFUDA to the row before."""

from typing import Any, Dict, Tuple

ABLATIONS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "FUDA": ("fuda", {}),
    "+ CCL": ("confuda", {"partitions": 1, "lambda_norm": 0.0}),
    "+ CNR": ("confuda", {"partitions": 1}),
    "+ MPCCL": ("confuda", {}),
}
"""By the row's name: the method, and what it overrides in a preset (``confuda.adaptation.settings.make_settings``)."""
