"""The Bland-Altman plots of docs/measure.md: ejection fractions of the network and of the experts.

    python docs/pictures/draw_agreement.py

From docs/data/ejection-fraction.csv, the table that ``benchmarks/ejection_fraction.py`` writes.
"""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import List

from PIL import Image

from confuda.labels import LV, RV
from confuda.report.figures import render_figure
from confuda.report.function_figures import draw_bland_altman

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "data" / "ejection-fraction.csv"
COLORS = 128


def draw(table: Path) -> Image.Image:
    """The plots of both ventricles, side by side."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    plots: List[Image.Image] = []
    for structure in (LV, RV):
        name = f"{structure.name.lower()}_ejection_fraction_percent"
        experts, ours = ([float(row[column]) for row in rows] for column in (f"experts_{name}", name))
        figure = draw_bland_altman(experts, ours, f"{structure.name} ejection fraction", "%", structure.rgb)
        plots.append(Image.open(io.BytesIO(render_figure(figure, ".png"))).convert("RGB"))
    both = Image.new("RGB", (sum(plot.width for plot in plots), max(plot.height for plot in plots)), "white")
    for place, plot in enumerate(plots):
        both.paste(plot, (place * plots[0].width, 0))
    return both.quantize(COLORS, dither=Image.Dither.NONE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=HERE / "ejection-fraction.png")
    path = parser.parse_args().output
    draw(TABLE).save(path, optimize=True)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
