"""Horizontal bars, stacked or side by side: the drawing that cost, memory and connections share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.report import drawing
from lab.report.looks import HATCHES, INK, PALETTE

WIDTH, ROW, EDGES = 4.6, 0.34, 1.2


@dataclass(frozen=True)
class Bars:
    """The bars of one name: `sizes` by segment, `mark` a value to hold them against, `words` at their end."""

    name: str
    sizes: Mapping[str, float]
    words: str
    mark: float | None = None


@dataclass(frozen=True)
class Chart:
    """A picture of bars. `mark` says what the marks are: ticks across, or (`share`) lines below, from zero.

    `whole`: the axis counts things, so nothing stands between two of them.
    """

    title: str
    axis: str
    bars: Sequence[Bars]
    mark: str = ""
    share: bool = False
    stacked: bool = True
    whole: bool = False
    colours: Sequence[str] = PALETTE

    @property
    def segments(self) -> tuple[str, ...]:
        """Every segment, in the order they first come."""
        return tuple(dict.fromkeys(s for b in self.bars for s in b.sizes))


def draw(name: str, label: str, chart: Chart) -> drawing.Drawing:
    """The chart for a page, as high as it has bars."""
    lines = sum(1 if chart.stacked else max(1, len(b.sizes)) * 0.62 + 0.4 for b in chart.bars)
    return drawing.draw(name, label, (WIDTH, EDGES + ROW * lines), lambda figure: _paint(figure, chart))


def _paint(figure: Figure, chart: Chart) -> None:
    axes = figure.subplots()
    top, place, ticks = 0.0, 0.0, []
    for bars in chart.bars:
        height = _stacked(axes, bars, place, chart) if chart.stacked else _beside(axes, bars, place, chart)
        ticks.append(place + (height - 1) / 2)
        place += height
        top = max(top, bars.mark or 0.0, (sum if chart.stacked else max)(bars.sizes.values() or [0.0]))
    axes.set_yticks(ticks, [b.name for b in chart.bars])
    axes.set_ylim(place - 0.4, -0.6)
    axes.set_xlim(0, (top or 1.0) * 1.22)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    if chart.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(chart.axis)
    axes.set_title(chart.title)
    if len(chart.segments) > 1 or chart.mark:
        figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)


def _stacked(axes: Axes, bars: Bars, place: float, chart: Chart) -> float:
    left = 0.0
    for segment, size in bars.sizes.items():
        _bar(axes, place, size, left, segment, chart)
        left += size
    _end(axes, bars, max(left, bars.mark or 0.0), place, chart)
    return 1.0


def _beside(axes: Axes, bars: Bars, place: float, chart: Chart) -> float:
    for number, (segment, size) in enumerate(bars.sizes.items()):
        _bar(axes, place + number * 0.62, size, 0.0, segment, chart, 0.52)
    return max(1, len(bars.sizes)) * 0.62 + 0.4


def _bar(axes: Axes, place: float, size: float, left: float, segment: str, chart: Chart, height: float = 0.7) -> None:
    number = chart.segments.index(segment)
    axes.barh(
        place,
        size,
        height=height,
        left=left,
        color=chart.colours[number % len(chart.colours)],
        hatch=HATCHES[number % len(HATCHES)],
        edgecolor=INK,
        linewidth=0.4,
        label=_once(axes, segment),
    )


def _end(axes: Axes, bars: Bars, right: float, place: float, chart: Chart) -> None:
    if bars.mark is not None:
        across, along = [place - 0.43, place + 0.43], [place + 0.43] * 2
        spot = ([0, bars.mark], along) if chart.share else ([bars.mark] * 2, across)
        axes.plot(*spot, color=INK, linewidth=2.4, solid_capstyle="butt", label=_once(axes, chart.mark))
    axes.annotate(bars.words, (right, place), (4, 0), textcoords="offset points", va="center", fontsize=8)


def _once(axes: Axes, label: str) -> str:
    """A label for the legend, the first time only."""
    return "_" if label in axes.get_legend_handles_labels()[1] else label
