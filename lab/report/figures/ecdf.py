"""The whole distribution of response times, one panel a load: a mean hides what users feel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from lab.report import drawing, looks, units
from lab.report.looks import Look
from lab.summary import Latency, Summary

Floats = npt.NDArray[np.float64]
Responses = Mapping[tuple[str, str, str], Floats]
"""(scenario, load, arm) -> response times in seconds of every judged, answered request of its valid trials."""

NOTHING: Floats = np.empty(0)
PANEL = (4.3, 3.1)
POINTS = 160
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def panels(summary: Summary, responses: Responses) -> list[drawing.Drawing]:
    """One drawing a load; loads without an answered request have none."""
    look = looks.looks(summary)
    place = {a: i for i, a in enumerate(look)}
    loads: dict[tuple[str, str], list[Latency]] = {}
    for one in summary.latencies:
        loads.setdefault((one.scenario, one.load), []).append(one)
    drawn = []
    for number, ((scenario, load), arms) in enumerate(sorted(loads.items(), key=lambda i: _by_load(i[1][0]))):
        curves = {
            a.arm: quantiles(seen)
            for a in sorted(arms, key=lambda a: place[a.arm])
            if len(seen := responses.get((scenario, load, a.arm), NOTHING))
        }
        if curves:
            drawn.append(_panel(f"ecdf{number}", arms[0], curves, look))
    return drawn


def quantiles(values: Floats, points: int = POINTS) -> tuple[Floats, Floats]:
    """(seconds, share of requests at or below): at most `points` of them, spaced by logit, so that both tails stay.

    The first and the last order statistic are among them: the largest response time is always drawn.
    """
    ordered = np.sort(values)
    count = len(ordered)
    ranks = (np.arange(count) + 0.5) / count
    if count <= points:
        return ordered, ranks
    edge = np.log(ranks[-1] / (1 - ranks[-1]))
    wanted = 1 / (1 + np.exp(-np.linspace(-edge, edge, points)))
    index = np.unique(np.clip(np.rint(wanted * count - 0.5), 0, count - 1).astype(int))
    return ordered[index], ranks[index]


def _by_load(one: Latency) -> tuple[str, float, float]:
    return one.scenario, one.service_time_s, one.rate_per_s


def _panel(
    name: str, load: Latency, curves: Mapping[str, tuple[Floats, Floats]], look: Mapping[str, Look]
) -> drawing.Drawing:
    words = units.load_words(load.rate_per_s, load.service_time_s)
    medians = "; ".join(f"{arm} median {units.time(float(np.interp(0.5, q, t)))}" for arm, (t, q) in curves.items())
    label = f"Share of requests answered within a response time at {words}. {medians}."
    return drawing.draw(name, label, PANEL, lambda figure: _paint(figure, words, curves, look))


def _paint(figure: Figure, words: str, curves: Mapping[str, tuple[Floats, Floats]], look: Mapping[str, Look]) -> None:
    axes = figure.subplots()
    for number, (arm, (seconds, shares)) in enumerate(curves.items()):
        axes.plot(
            np.maximum(seconds, 1e-7),
            shares,
            color=look[arm].colour,
            linestyle=look[arm].line,
            linewidth=1.3 if number else 2.4,  # the first is the baseline, which others often cover
            marker=look[arm].marker,
            markersize=3.5,
            markevery=(number * len(shares) // 30, max(1, len(shares) // 6)),  # staggered, so that none hides another
        )
    axes.set_title(words)
    _shares(axes, max(float(q[-1]) for _, q in curves.values()))
    drawing.time_axis(axes, "x", "response time (logarithmic)")


def _shares(axes: Axes, top: float) -> None:
    """A logit axis: 99 % and 99.9 % have room, as have 1 % and 0.1 %."""
    axes.set_yscale("logit")
    high = max(0.995, top)
    axes.set_ylim(1 - high, high)
    ticks = [t for t in TICKS if 1 - high <= t <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{t * 100:g} %" for t in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("requests answered within")
