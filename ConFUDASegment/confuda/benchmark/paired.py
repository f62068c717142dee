"""Paired comparison of two methods on the same patients: mean difference, its interval, and how likely chance is."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from confuda.benchmark.cells import NO_SETTING, UNADAPTED
from confuda.benchmark.tables import TableRow
from confuda.errors import UsageError

RESAMPLES = 10_000


class PairedDifference(NamedTuple):
    """``method`` less ``against`` in one setting, over patients, each the mean over the seeds that both have.

    dice: difference of average Dice, low and high its 95 % interval (percentile bootstrap over patients; None for fewer
    than two), p: of Wilcoxon's signed-rank test, two-sided (None where scipy is not installed); hd95_mm: difference of
    the average 95 % Hausdorff distance.
    """

    setting: str
    method: str
    against: str
    patients: int
    dice: float
    low: Optional[float]
    high: Optional[float]
    better: int
    p: Optional[float]
    hd95_mm: float


def compare_neighbours(rows: Sequence[TableRow]) -> List[PairedDifference]:
    """Each row of a table against the row before it in its setting; the first of a setting, and the last once more,
    against the last of the rows without a setting (the control, where it is one)."""
    measured = [row for row in rows if row.records]
    alone = [row for row in measured if row.setting == NO_SETTING]
    pairs: List[Tuple[TableRow, TableRow]] = list(zip(alone[1:], alone[:-1]))
    for setting in dict.fromkeys(row.setting for row in measured if row.setting != NO_SETTING):
        own = [row for row in measured if row.setting == setting]
        chain = alone[-1:] + own
        pairs += list(zip(chain[1:], chain[:-1]))
        if alone and len(own) > 1:
            pairs.append((own[-1], alone[-1]))
    compared = (_compare(row, against) for row, against in pairs)
    return [one for one in compared if one is not None]


def _compare(row: TableRow, against: TableRow) -> Optional[PairedDifference]:
    seeds = {record["seed"] for record in row.records}
    ours, theirs = _gather(row.records, seeds), _gather(against.records, seeds)
    by_patient: Dict[str, List[np.ndarray]] = {}
    for key in sorted(ours.keys() & theirs.keys()):
        by_patient.setdefault(key[0], []).append(ours[key] - theirs[key])
    if not by_patient:
        return None
    differences = np.array([np.mean(values, axis=0) for values in by_patient.values()])
    gains = differences[:, 0]
    low, high = bootstrap_mean(gains)
    return PairedDifference(
        row.setting,
        row.name,
        against.name,
        len(gains),
        float(gains.mean()),
        low,
        high,
        int((gains > 0).sum()),
        _compute_p(gains),
        float(differences[:, 1].mean()),
    )


def _gather(records: Sequence[Dict[str, Any]], seeds: Set[int]) -> Dict[Tuple[str, int], np.ndarray]:
    """Average Dice and HD95 (2,) by patient and seed. The source network alone is the same at all ``seeds``."""
    values = {}
    for record in records:
        for seed in seeds if record["method"] == UNADAPTED else {record["seed"]}:
            for case in record["cases"]:
                average = case["scores"]["average"]
                values[(case["case"], seed)] = np.array([average["dice"], average["hd95_mm"]])
    return values


def _compute_p(gains: np.ndarray) -> Optional[float]:
    try:
        return compute_wilcoxon_p(gains)
    except UsageError:
        return None


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> Tuple[Optional[float], Optional[float]]:
    """The 2.5th and 97.5th percentile of the mean of ``values`` (N,) over resamples; None, None if N < 2."""
    if len(values) < 2:
        return None, None
    chosen = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def compute_wilcoxon_p(gains: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on paired differences (N,); 1 where nothing differs.

    Raises:
        UsageError: if scipy is not installed.
    """
    try:
        from scipy.stats import wilcoxon
    except ImportError as error:
        raise UsageError("The paired test needs scipy: install it with 'pip install scipy'.") from error
    return float(wilcoxon(gains).pvalue) if gains.any() else 1.0


def format_differences(differences: Sequence[PairedDifference]) -> str:
    """The comparisons as a table in Markdown, one line each; gains are in average Dice."""
    lines = [
        "| setting | method | against | patients | Dice | 95 % interval | better in | p (Wilcoxon) | HD95 mm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in differences:
        interval = "-" if one.low is None else f"{one.low:+.3f} to {one.high:+.3f}"
        p = "-" if one.p is None else f"{one.p:.2g}"
        lines.append(
            f"| {one.setting} | {one.method} | {one.against} | {one.patients} | {one.dice:+.3f} | {interval} | "
            f"{one.better} | {p} | {one.hd95_mm:+.1f} |"
        )
    return "\n".join(lines) + "\n"
