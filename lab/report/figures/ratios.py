"""The picture of the headline: what each arm does to latency at the loads it can carry, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.report import drawing, looks, units
from lab.report.looks import BAND, INK, Look
from lab.summary import Contrast, Estimate, StepContrast, Summary

AnyContrast = Contrast | StepContrast
METRIC = "p50"
WIDTH, ROW, EDGES = 6.6, 0.19, 1.0  # inches


def headline(summary: Summary) -> str:
    """SVG text of a file of its own: latency ratio to the baseline at every compared load. Empty without contrasts."""
    groups = _groups(summary)
    if not groups:
        return ""
    return drawing.alone(_label(groups), inches(groups), lambda f: _loads(f, groups, summary))


def embedded(summary: Summary) -> drawing.Drawing | None:
    """The same for the page."""
    groups = _groups(summary)
    if not groups:
        return None
    return drawing.draw("headline", _label(groups), inches(groups), lambda f: _loads(f, groups, summary))


def _groups(summary: Summary) -> list[list[Contrast]]:
    """The contrasts of each load, arms in order; loads at which nothing can be drawn are left out."""
    place = {a: i for i, a in enumerate(looks.order(summary))}
    loads: dict[tuple[str, str], list[Contrast]] = {}
    for c in summary.contrasts:
        if c.metric == METRIC:
            loads.setdefault((c.scenario, c.load), []).append(c)
    ordered = sorted(loads.values(), key=lambda g: (g[0].service_time_s, g[0].rate_per_s))
    return [sorted(g, key=lambda c: place[c.arm]) for g in ordered if any(map(drawable, g))]


def drawable(contrast: AnyContrast) -> bool:
    """Has it a ratio that an axis can show?"""
    return isfinite(contrast.ratio.value) and contrast.ratio.value > 0


def inches(groups: Sequence[Sequence[AnyContrast]]) -> tuple[float, float]:
    """Width and height of a picture of so many rows."""
    return WIDTH, EDGES + ROW * sum(len(g) + 1.6 for g in groups)


def _label(groups: list[list[Contrast]]) -> str:
    parts = [
        f"{units.load_words(c.rate_per_s, c.service_time_s)}: {c.arm} "
        + (units.ratio(c.ratio.value) if drawable(c) else c.verdict)
        for g in groups
        for c in g
    ]
    return f"Median latency of each arm as a ratio to {groups[0][0].base}. " + "; ".join(parts)


def _loads(figure: Figure, groups: list[list[Contrast]], summary: Summary) -> None:
    names = [units.load_words(g[0].rate_per_s, g[0].service_time_s) for g in groups]
    axis = f"median response time / {groups[0][0].base} (logarithmic)"
    paint(figure, dict(zip(names, groups, strict=True)), looks.looks(summary), axis)


def paint(figure: Figure, groups: Mapping[str, Sequence[AnyContrast]], look: Mapping[str, Look], axis: str) -> None:
    """Groups of rows under their names, each arm's ratio with its interval, the A/A noise as a band behind."""
    axes = figure.subplots()
    place, ticks, names = 0.0, [], []
    for name, group in groups.items():
        place += 1.0
        ticks.append(place)
        names.append(name)
        floor = max((c.noise_floor for c in group if isfinite(c.noise_floor)), default=0.0)
        low, high = place + 0.45, place + len(group) + 0.55
        if floor:
            axes.fill_betweenx([low, high], 1 / (1 + floor), 1 + floor, color=BAND, zorder=0)
        for contrast in group:
            place += 1.0
            ticks.append(place)
            names.append(contrast.arm)
            _row(axes, contrast, place, look[contrast.arm])
        place += 0.6
    axes.axvline(1.0, color=INK, linewidth=0.9, zorder=1)
    axes.set_ylim(place + 0.3, 0.3)
    for label in axes.set_yticks(ticks, names):
        label.label1.set_fontweight("bold" if label.label1.get_text() in groups else "normal")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    _limits(axes, list(groups.values()))
    drawing.ratio_axis(axes, "x", axis)


def _row(axes: Axes, contrast: AnyContrast, place: float, look: Look) -> None:
    ratio, words = contrast.ratio, contrast.verdict
    if drawable(contrast):
        words = f"{units.ratio(ratio.value)}  [{units.interval(ratio)}]  {words}"
        _interval(axes, ratio, place, look)
    axes.text(1.01, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=7.5)


def _interval(axes: Axes, ratio: Estimate, place: float, look: Look) -> None:
    low, high = max(ratio.low, 1e-3), ratio.high if isfinite(ratio.high) else ratio.value
    axes.plot([low, high], [place, place], color=look.colour, linewidth=1.8, solid_capstyle="butt")
    axes.plot([ratio.value], [place], marker=look.marker, color=look.colour, markersize=5.5, linestyle="none")


def _limits(axes: Axes, groups: Sequence[Sequence[AnyContrast]]) -> None:
    values = [v for g in groups for c in g for v in (c.ratio.low, c.ratio.value, c.ratio.high) if isfinite(v) and v > 0]
    axes.set_xscale("log")
    axes.set_xlim(min(*values, 0.9) / 1.06, max(*values, 1.12) * 1.06)
