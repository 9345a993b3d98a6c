"""Pictures of a forecast: memory by part, latency, what decides, who is cheapest where. All are simulated."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.report import units
from lab.report.drawing import Drawing, draw, time_axis
from lab.report.looks import BASE, INK, PALETTE
from lab.sim.answer import Answer
from lab.sim.crossover import Map

COLOURS = {"none": BASE, "ebpf": PALETTE[0], "pernode": PALETTE[1], "sidecar": PALETTE[2]}
MOST_SWINGS = 8
MEMORY = (
    "Simulated memory of the whole fleet, by architecture and by what holds it, with the 95 % interval of the total"
)
LATENCY = "Simulated response time of requests from outside: p50, p99 and p99.9 of each architecture"
TORNADO = "How far each uncertain input moves the simulated memory, the widest first"
MAPS = (
    "Who is cheapest where, simulated: the number is the sidecars' cost over that of node proxies, the letter the "
    "cheapest architecture (e: eBPF, p: a proxy per node, s: sidecars)"
)
DEEP = 20.0  # a ratio whose shade wants light words
ON_LIGHT, ON_DARK = "#000000", "#ffffff"  # words on shades that are the same in every scheme


def panels(answer: Answer) -> list[Drawing]:
    """Every picture of the answer."""
    return [
        draw("memory", MEMORY, (6.4, 4.2), lambda f: _memory(f.subplots(), answer)),
        draw("latency", LATENCY, (6.4, 3.4), lambda f: _latency(f.subplots(), answer)),
        draw("tornado", TORNADO, (6.4, 3.4), lambda f: _tornado(f, answer)),
        draw("maps", MAPS, (9.0, 6.4), lambda f: _maps(f, answer)),
    ]


def _memory(axes: Axes, answer: Answer) -> None:
    """Stacked by kind of quantity, on a linear axis, with the interval of the total."""
    names = [m.arm for m in answer.memories]
    kinds = sorted({part for m in answer.memories for part in m.parts})
    bottom = np.zeros(len(names))
    for number, kind in enumerate(kinds):
        heights = np.array([m.parts.get(kind, 0.0) / 2**30 for m in answer.memories])
        colour = PALETTE[number % len(PALETTE)]
        hatch = ("", "//", "xx")[number // len(PALETTE) % 3]
        axes.barh(names, heights, left=bottom, label=kind, color=colour, hatch=hatch, height=0.6)
        bottom += heights
    totals = [m.full if answer.asked.visibility == "full" else m.scoped for m in answer.memories]
    errors = [[(t.value - t.low) / 2**30 for t in totals], [(t.high - t.value) / 2**30 for t in totals]]
    axes.errorbar(bottom, names, xerr=np.maximum(errors, 0), fmt="none", color=INK, capsize=3)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("GiB in the whole fleet (simulated)")
    axes.figure.legend(loc="outside lower center", fontsize=7, ncols=4, frameon=False)


def _latency(axes: Axes, answer: Answer) -> None:
    """Median to p99.9 of whole requests, by the request-level engine; the closed form's as small marks."""
    for row, arm in enumerate(dict.fromkeys(one.arm for one in answer.latencies)):
        for one in (found for found in answer.latencies if found.arm == arm):
            marker = "o" if one.engine == "requests" else "|"
            places = [one.p50_s, one.p99_s, one.p999_s]
            axes.plot(places, [row] * 3, marker=marker, color=COLOURS.get(arm, INK), label=None, linewidth=1)
    names = list(dict.fromkeys(one.arm for one in answer.latencies))
    axes.set_yticks(range(len(names)), names)
    time_axis(axes, "x", "p50, p99, p99.9 of a request from outside (simulated)")


def _tornado(figure: Figure, answer: Answer) -> None:
    for axes, (arm, swings) in zip(figure.subplots(1, len(answer.swings)), answer.swings.items(), strict=True):
        shown = swings[:MOST_SWINGS][::-1]
        for row, one in enumerate(shown):
            axes.plot([one.low / 2**30, one.high / 2**30], [row, row], color=COLOURS.get(arm, INK), linewidth=6)
        axes.set_yticks(range(len(shown)), [one.name for one in shown], fontsize=6)
        axes.set_xlabel("GiB (simulated)")
        axes.set_title(arm)


def _maps(figure: Figure, answer: Answer) -> None:
    for axes, one in zip(figure.subplots(2, 2).ravel(), answer.maps, strict=False):
        _map(axes, one)


def _map(axes: Axes, one: Map) -> None:
    """The ratio as shade and number; the cheapest architecture's first letter beside it."""
    ratio = np.array(one.ratio)
    axes.imshow(np.log10(np.maximum(ratio, 1e-3)), aspect="auto", origin="lower", cmap="Blues", vmin=-1, vmax=2.5)
    for y in range(ratio.shape[0]):
        for x in range(ratio.shape[1]):
            text = f"{units.ratio(float(ratio[y, x]))} {one.cheapest[y][x][0]}"
            axes.text(
                x, y, text, ha="center", va="center", fontsize=6, color=ON_DARK if ratio[y, x] > DEEP else ON_LIGHT
            )
    axes.grid(visible=False)
    axes.set_xticks(range(len(one.xs)), [f"{v:g}" for v in one.xs], fontsize=6)
    axes.set_yticks(range(len(one.ys)), [f"{v:g}" for v in one.ys], fontsize=6)
    axes.set_xlabel(one.x)
    axes.set_ylabel(one.y)
    axes.set_title(f"{one.name}: sidecar / pernode")
