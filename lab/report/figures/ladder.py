"""How far each arm gets up the ladder of rates, and what its latency does on the way."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.report import drawing, looks, units
from lab.report.looks import Look
from lab.summary import Capacity, Summary

PANEL = (4.3, 3.1)
QUANTILES = (("p50", 2), ("p99", 3))  # name, position in a step


def panels(summary: Summary) -> list[drawing.Drawing]:
    """p50 and p99 against the offered rate, for each scenario that climbed a ladder."""
    look = looks.looks(summary)
    place = {a: i for i, a in enumerate(look)}
    scenarios = dict.fromkeys(c.scenario for c in summary.capacities if c.steps)
    drawn = []
    for number, scenario in enumerate(scenarios):
        arms = [c for c in summary.capacities if c.scenario == scenario and c.steps]
        arms.sort(key=lambda c: place[c.arm])
        drawn += [_panel(f"ladder{number}{name}", name, column, arms, look) for name, column in QUANTILES]
    return drawn


def _panel(name: str, quantile: str, column: int, arms: list[Capacity], look: Mapping[str, Look]) -> drawing.Drawing:
    ends = "; ".join(
        f"{c.arm} keeps {units.rate(c.kept_per_s)}"
        + (f" and not {units.rate(c.saturated_per_s)}" if c.saturated_per_s is not None else "")
        for c in arms
    )
    label = f"{quantile} of the response time against the offered rate. {ends}."
    return drawing.draw(name, label, PANEL, lambda f: _paint(f, quantile, column, arms, look))


def _paint(figure: Figure, quantile: str, column: int, arms: list[Capacity], look: Mapping[str, Look]) -> None:
    axes = figure.subplots()
    for arm in arms:
        _climb(axes, arm, column, look[arm.arm])
    axes.set_title(f"{quantile} against offered rate")
    drawing.rate_axis(axes, "x", "offered requests/s (logarithmic)")
    drawing.time_axis(axes, "y", f"response time, {quantile}")


def _climb(axes: Axes, arm: Capacity, column: int, look: Look) -> None:
    steps = sorted(s for s in arm.steps if isfinite(s[column]) and s[column] > 0)
    kept = [s for s in steps if s[4]]
    lost = [s for s in steps if not s[4]]
    colour = look.colour
    axes.plot([s[0] for s in steps], [s[column] for s in steps], color=colour, linestyle=look.line, linewidth=1.2)
    axes.plot(
        [s[0] for s in kept],
        [s[column] for s in kept],
        color=colour,
        marker=look.marker,
        markersize=4.5,
        linestyle="none",
    )
    axes.plot(
        [s[0] for s in lost],
        [s[column] for s in lost],
        color=colour,
        marker="x",
        markersize=7,
        markeredgewidth=1.8,
        linestyle="none",
    )
