"""Predictions beside what was measured: on the line they came true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.report import drawing
from lab.report.looks import BAND, INK, PALETTE

SIDES = (("_s", "CPU and response times", 1e3, "ms"), ("_bytes", "memory", 2**-20, "MiB"))
SIGNS = {True: ("o", PALETTE[0], "within its gate"), False: ("x", PALETTE[2], "missed its gate")}


def panel(holdout: pd.DataFrame) -> drawing.Drawing:
    """Times left, memory right, from `lab.report.frames.holdout`; the band is a factor of 1.2 up and down."""
    words = f"{int(holdout.passed.sum())} of {len(holdout)} predictions within their gates"
    return drawing.draw("foretold", words, (7.4, 3.6), lambda figure: _paint(figure, holdout, words))


def _paint(figure: Figure, holdout: pd.DataFrame, words: str) -> None:
    for axes, (ending, title, scale, unit) in zip(figure.subplots(1, 2), SIDES, strict=True):
        mine = holdout[holdout.metric.str.endswith(ending)]
        _side(axes, mine.assign(predicted=mine.predicted * scale, observed=mine.observed * scale), title, unit)
    figure.suptitle(words, fontsize=10, fontweight="bold", x=0.01, ha="left")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _side(axes: Axes, rows: pd.DataFrame, title: str, unit: str) -> None:
    both = pd.concat([rows.predicted, rows.observed])
    ends = np.array([both.min() / 1.4, both.max() * 1.4])
    axes.fill_between(ends, ends / 1.2, ends * 1.2, color=BAND, linewidth=0, label="within a factor of 1.2")
    axes.plot(ends, ends, color=INK, linewidth=1)
    for passed, (marker, colour, label) in SIGNS.items():
        mine = rows[rows.passed == passed]
        axes.plot(mine.observed, mine.predicted, marker, color=colour, markersize=5, label=label)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    drawing.amount_axis(axes, "x", f"measured ({unit})", "{:g}".format)
    drawing.amount_axis(axes, "y", f"predicted before ({unit})", "{:g}".format)
    axes.set_title(title)
