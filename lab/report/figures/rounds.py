"""Every round's ratio over time: what an interval was made from, with the A/A band and the redeployments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from lab.report import drawing, looks, units
from lab.report.looks import BAND, INK, MUTED, Look
from lab.summary import Contrast, Summary

METRIC = "p50"
WIDTH, ROW, EDGES = 4.6, 0.95, 0.75


def panels(summary: Summary) -> list[drawing.Drawing]:
    """One drawing a load: a strip for each arm, a dot for each round, a line at each redeployment."""
    look = looks.looks(summary)
    place = {a: i for i, a in enumerate(look)}
    loads: dict[tuple[str, str], list[Contrast]] = {}
    for c in summary.contrasts:
        if c.metric == METRIC and any(isfinite(r[2]) and r[2] > 0 for r in c.rounds_ratio):
            loads.setdefault((c.scenario, c.load), []).append(c)
    groups = sorted(loads.values(), key=lambda g: (g[0].service_time_s, g[0].rate_per_s))
    return [_panel(f"rounds{i}", sorted(g, key=lambda c: place[c.arm]), look) for i, g in enumerate(groups)]


def _panel(name: str, group: list[Contrast], look: Mapping[str, Look]) -> drawing.Drawing:
    words = units.load_words(group[0].rate_per_s, group[0].service_time_s)
    label = f"Ratio of every round's median to {group[0].base} at {words}: " + "; ".join(
        f"{c.arm} {units.ratio(c.ratio.value)} over {c.rounds} rounds" for c in group
    )
    return drawing.draw(name, label, (WIDTH, EDGES + ROW * len(group)), lambda f: _paint(f, words, group, look))


def _paint(figure: Figure, words: str, group: list[Contrast], look: Mapping[str, Look]) -> None:
    strips = figure.subplots(len(group), 1, sharex=True, squeeze=False)[:, 0]
    where = _where(group)
    for axes, contrast in zip(strips, group, strict=True):
        _strip(axes, contrast, where, look[contrast.arm])
    strips[0].set_title(words)
    strips[-1].set_xlabel("round, in the order they were run")
    strips[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.supylabel(f"median / {group[0].base}", fontsize=9, color=INK)


def _where(group: list[Contrast]) -> dict[tuple[int, int], int]:
    """Rounds of all deployments in one line."""
    seen = sorted({(d, r) for c in group for d, r, _ in c.rounds_ratio})
    return {key: number + 1 for number, key in enumerate(seen)}


def _strip(axes: Axes, contrast: Contrast, where: Mapping[tuple[int, int], int], look: Look) -> None:
    dots = [(where[d, r], v) for d, r, v in contrast.rounds_ratio if isfinite(v) and v > 0]
    if isfinite(contrast.noise_floor):
        axes.axhspan(1 / (1 + contrast.noise_floor), 1 + contrast.noise_floor, color=BAND, zorder=0)
    axes.axhline(1.0, color=INK, linewidth=0.7)
    places, values = zip(*dots, strict=True)
    axes.plot(places, values, color=look.colour, marker=look.marker, markersize=2.6, linestyle="none", alpha=0.8)
    if isfinite(contrast.ratio.value):
        axes.axhline(contrast.ratio.value, color=look.colour, linewidth=1.1, linestyle=look.line)
    for edge in _deployments(where):
        axes.axvline(edge, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    _scale(axes, values)
    axes.text(
        0.995,
        0.97,
        f"{contrast.arm}  {units.ratio(contrast.ratio.value)}",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        weight="bold",
    )


def _deployments(where: Mapping[tuple[int, int], int]) -> list[float]:
    """Where one deployment ends and the next begins."""
    first: dict[int, int] = {}
    for (deployment, _), place in where.items():
        first[deployment] = min(first.get(deployment, place), place)
    return [place - 0.5 for place in sorted(first.values())[1:]]


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis over the dots, with head room for the arm's name; its ends and 1 are labelled, not decades."""
    low, high = min(*values, 0.95), max(*values, 1.05)
    axes.set_yscale("log")
    axes.set_ylim(low * 0.97, high * (high / low) ** 0.3)
    near = 0.2 * math.log(high / low)
    ends = [e for e in (low, high) if abs(math.log(e)) > near]
    axes.set_yticks([1.0, *(float(f"{e:.2g}") if e >= 2 else round(e, 2) for e in ends)])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
