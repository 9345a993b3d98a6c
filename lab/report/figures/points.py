"""Values with their intervals, one a row, each with its number beside it: the drawing for what has a 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lab.report import drawing
from lab.report.looks import INK, MARKERS, MUTED, PALETTE

WIDTH, ROW, EDGES = 6.4, 0.27, 1.15


@dataclass(frozen=True)
class Point:
    """One row. `words` stand at its end; rows of one `group` share colour and marker, and the legend names it."""

    name: str
    value: float
    low: float
    high: float
    words: str = ""
    group: str = ""


@dataclass(frozen=True)
class Chart:
    """A picture of points; `marks` are values to hold them against, each with its words."""

    title: str
    axis: str
    points: Sequence[Point]
    log: bool = False
    words: Callable[[float], str] = "{:g}".format  # of the axis
    marks: Sequence[tuple[float, str]] = ()


def draw(name: str, label: str, chart: Chart) -> drawing.Drawing:
    """The chart, as high as it has rows."""
    seen = [p for p in chart.points if isfinite(p.value)]
    kept = replace(chart, points=seen)
    size = (WIDTH, EDGES + ROW * len(seen) + 0.2 * bool(chart.marks) + 0.25 * (len({p.group for p in seen}) > 1))
    told = "; ".join(f"{p.name} {p.group} {p.words}".replace("  ", " ") for p in seen)
    return drawing.draw(name, f"{label}: {told}", size, lambda figure: _paint(figure, kept))


def _paint(figure: Figure, chart: Chart) -> None:
    axes = figure.subplots()
    groups = list(dict.fromkeys(p.group for p in chart.points))
    for place, one in enumerate(chart.points):
        number = groups.index(one.group)
        colour = PALETTE[number % len(PALETTE)]
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        first = place == next(i for i, p in enumerate(chart.points) if p.group == one.group)
        label = one.group if first and len(groups) > 1 else "_"
        marker = MARKERS[number % len(MARKERS)]
        axes.plot([one.value], [place], marker=marker, color=colour, markersize=6, linestyle="none", label=label)
        axes.text(1.01, place, one.words, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_yticks(range(len(chart.points)), [p.name for p in chart.points])
    axes.set_ylim(len(chart.points) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    if chart.log:
        axes.margins(x=0.06)
        axes.set_xscale("log")
    else:
        axes.set_xlim(min([0.0, *(p.low for p in chart.points)]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: chart.words(v)))
    for value, words in chart.marks:
        axes.axvline(value, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(words, (value, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_xlabel(chart.axis)
    if chart.log:
        drawing.amount_axis(axes, "x", chart.axis, chart.words)
    axes.set_title(chart.title, pad=20 if chart.marks else 6)
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
