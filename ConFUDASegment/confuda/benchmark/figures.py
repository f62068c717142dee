"""Two figures of a table: Dice of every case, and slices of one test patient with contours. Both need matplotlib.

The slices are the data set's own and may not be passed on: they go to the output folder and nowhere else.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Sequence

import numpy as np
import SimpleITK as sitk

from confuda.benchmark.tables import TableRow
from confuda.errors import UsageError
from confuda.io.atomic import replace_file
from confuda.io.segmentation_file import read_segmentation
from confuda.io.volume_file import read_image
from confuda.report.contours import draw_contours
from confuda.training.mscmrseg import DATASET, LGE, MsCmrSegPatient

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLICES_SHOWN = 4


def draw_dice(rows: Sequence[TableRow], title: str, path: Path) -> Path:
    """Average Dice of each test case, a line for each row of the table: quartiles and median as a box, points, and the
    published mean as a mark.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    rows = [row for row in rows if row.records][::-1]
    values = [[case["scores"]["average"]["dice"] for record in row.records for case in record["cases"]] for row in rows]
    figure = _import_matplotlib()(figsize=(8, 1.4 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    jitter = np.random.default_rng(0)
    for place, row, cases in zip(places, rows, values):
        low, middle, high = np.percentile(cases, (25, 50, 75))
        axes.barh(place, high - low, left=low, height=0.6, color="lightgray", edgecolor="gray")
        axes.plot([middle, middle], [place - 0.3, place + 0.3], color="black")
        heights = place + jitter.uniform(-0.18, 0.18, len(cases))
        axes.plot(cases, heights, "o", color="tab:blue", alpha=0.5, markersize=4)
        published = row.look_up("dice", "average")
        if published is not None:
            axes.plot(published.mean, place, "D", color="tab:red", markersize=6)
    axes.plot([], [], "o", color="tab:blue", label="a test case here")
    axes.plot([], [], "D", color="tab:red", label="published mean")
    axes.set_yticks(places, [f"{row.name}, {row.setting}" if row.setting != "-" else row.name for row in rows])
    axes.set_xlim(0, 1)
    axes.set_xlabel("Dice, mean of MYO, LV and RV")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    with replace_file(path) as draft:
        figure.savefig(draft, format="png", dpi=120)
    return path


def draw_examples(patient: MsCmrSegPatient, predictions: Dict[str, Path], title: str, path: Path) -> Path:
    """Slices of a test patient's LGE with the contours of ``predictions`` (files, by column heading) and the truth.

    Raises:
        UsageError: if matplotlib is not installed.
        InputError: if a file is missing or damaged.
    """
    image = read_image(patient.images[LGE])
    columns = {heading: read_segmentation(file) for heading, file in predictions.items()}
    columns["truth"] = read_segmentation(patient.labels[LGE], DATASET)
    labels = {heading: sitk.GetArrayFromImage(labelmap) for heading, labelmap in columns.items()}
    column_mm, row_mm, _ = image.GetSpacing()
    return draw_contours(
        sitk.GetArrayFromImage(image),
        labels,
        path,
        spacing_mm=(row_mm, column_mm),
        max_slices=SLICES_SHOWN,
        plain=True,
        title=title,
    )


def _import_matplotlib() -> "type[Figure]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("Drawing needs matplotlib: install it with 'pip install matplotlib'.") from error
    return Figure
