"""How memory grows: a line with its interval where one thing grows, else every case against what its law says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lab.report import drawing, studies, units
from lab.report.looks import BAND, INK, PALETTE
from lab.summary import Coefficient, Size, Summary

PANEL = (4.3, 3.1)
STEPS = (2**30, 2**20, 2**10, 1)  # what sizes are counted in
MOST = 12  # panels on a page; the tables have all


class Sizes(MaxNLocator):
    """Marks at round numbers of MiB, not of bytes."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Where they are."""
        step = next((s for s in STEPS if vmax >= 4 * s), 1)
        return np.asarray(super().tick_values(vmin / step, vmax / step)) * step


def panels(summary: Summary) -> list[drawing.Drawing]:
    """One drawing a law, for laws of bytes that at least three cases stand for."""
    drawn: list[drawing.Drawing] = []
    for law in dict.fromkeys(c.law for c in summary.coefficients if c.unit == "bytes"):
        terms = studies.named(summary.coefficients, law)
        cases = [s for s in summary.sizes if s.law == law]
        if len(cases) >= 3 and len(drawn) < MOST:
            drawn.append(_panel(f"growth{len(drawn)}", law, terms, cases))
    return drawn


def _panel(name: str, law: str, terms: Sequence[Coefficient], cases: Sequence[Size]) -> drawing.Drawing:
    said = "; ".join(f"{c.term} {units.size(c.value)}" for c in terms)
    grows = [c for c in terms if c.product != "1"]
    one = grows[0] if len(grows) == 1 and "*" not in grows[0].product else None
    label = f"{law}: measured cases and the fitted law. {said}."
    return drawing.draw(name, label, PANEL, lambda figure: _paint(figure, law, terms, cases, one))


def _paint(
    figure: Figure, law: str, terms: Sequence[Coefficient], cases: Sequence[Size], one: Coefficient | None
) -> None:
    axes = figure.subplots()
    if one is not None:
        _line(axes, terms, cases, one)
    else:
        _against(axes, cases)
    axes.set_title(law)
    axes.set_ylabel("measured")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: units.size(v)))
    axes.yaxis.set_major_locator(Sizes(5))
    axes.xaxis.set_major_locator(Sizes(4) if one is None else MaxNLocator(4))


def _line(axes: Axes, terms: Sequence[Coefficient], cases: Sequence[Size], one: Coefficient) -> None:
    """The fitted line, its 95 % band, and the cases."""
    places = np.array([float(s.parameters[one.product]) for s in cases])
    x = np.linspace(0, places.max(), 50)
    columns = [x if c is one else np.ones_like(x) for c in terms]
    draws = sum(np.outer(np.array(c.draws), column) for c, column in zip(terms, columns, strict=True))
    low, high = np.quantile(np.asarray(draws), (0.025, 0.975), axis=0)
    axes.fill_between(x, low, high, color=BAND, linewidth=0)
    axes.plot(x, sum(c.value * column for c, column in zip(terms, columns, strict=True)), color=INK, linewidth=1)
    _cases(axes, places, cases)
    axes.set_xlabel(one.product)


def _against(axes: Axes, cases: Sequence[Size]) -> None:
    said = np.array([s.fitted for s in cases])
    ends = [min(said.min(), *(s.least for s in cases)), max(said.max(), *(s.most for s in cases))]
    axes.plot(ends, ends, color=INK, linewidth=1)
    _cases(axes, said, cases)
    axes.set_xlabel("what the law says")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: units.size(v)))


def _cases(axes: Axes, places: np.ndarray[tuple[int, ...], np.dtype[np.float64]], cases: Sequence[Size]) -> None:
    middle = np.array([s.value for s in cases])
    spread = np.array([[s.value - s.least for s in cases], [s.most - s.value for s in cases]])
    axes.errorbar(places, middle, yerr=np.maximum(spread, 0), fmt="o", markersize=4, color=PALETTE[0], elinewidth=1)
