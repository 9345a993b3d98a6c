"""Predictions beside what was measured: on the line they came true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from lab.report import drawing, units
from lab.report.looks import BAND, INK, PALETTE

TITLES = {"_s": "seconds of CPU or response", "_bytes": "memory"}
SIGNS = {True: ("o", PALETTE[0], "within its gate"), False: ("x", PALETTE[2], "missed its gate")}


def panel(holdout: pd.DataFrame) -> drawing.Drawing:
    """Times left, memory right, from `lab.report.frames.holdout`; the band is a factor of 1.2 up and down."""
    words = f"{int(holdout.passed.sum())} of {len(holdout)} predictions within their gates"
    return drawing.draw("foretold", words, (7.4, 3.6), lambda figure: _paint(figure, holdout, words))


def _paint(figure: Figure, holdout: pd.DataFrame, words: str) -> None:
    for axes, (ending, title) in zip(figure.subplots(1, 2), TITLES.items(), strict=True):
        _side(axes, holdout[holdout.metric.str.endswith(ending)], title, units.tick if ending == "_s" else units.size)
    figure.suptitle(words, fontsize=10, fontweight="bold", x=0.01, ha="left")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _side(axes: Axes, rows: pd.DataFrame, title: str, words: object) -> None:
    ends = np.array(
        [min(rows.predicted.min(), rows.observed.min()) / 1.4, max(rows.predicted.max(), rows.observed.max()) * 1.4]
    )
    axes.fill_between(ends, ends / 1.2, ends * 1.2, color=BAND, linewidth=0, label="within a factor of 1.2")
    axes.plot(ends, ends, color=INK, linewidth=1)
    for passed, (marker, colour, label) in SIGNS.items():
        mine = rows[rows.passed == passed]
        axes.plot(
            mine.observed, mine.predicted, marker=marker, color=colour, linestyle="none", markersize=5, label=label
        )
    for set_scale, set_limits in ((axes.set_xscale, axes.set_xlim), (axes.set_yscale, axes.set_ylim)):
        set_scale("log")
        set_limits(*ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: words(v)))  # type: ignore[operator]
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("measured")
    axes.set_ylabel("predicted before")
    axes.set_title(title)
