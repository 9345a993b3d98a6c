"""The figures of the first page and of claims: what each stands on, from the part of a run that was asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from markupsafe import Markup

from lab.report.drawing import Drawing
from lab.report.figures import connections, growth, memory, ratios
from lab.report.published import Published
from lab.summary import Summary

Draw = Callable[[Summary], Sequence[Drawing]]

MOST = 4  # panels: a claim's page shows what it stands on, the run's page shows everything


def _headline(summary: Summary) -> Sequence[Drawing]:
    drawn = ratios.embedded(summary)
    return [drawn] if drawn else []


KINDS: tuple[tuple[Draw, str], ...] = (  # the first that has anything to draw
    (
        _headline,
        "Median response time of each arm as a ratio to the baseline, with its 95 % interval, at each load. "
        "The grey band is what two identical arms differ by.",
    ),
    (connections.panels, "TCP connections that one connection of the application becomes; the tick is the formula."),
    (memory.panels, "What each datapath holds, counted every way."),
    (growth.panels, "Each point is one case; the line is the fitted law, the band its 95 % interval."),
)


def first(found: Sequence[Published]) -> tuple[str, Markup]:
    """Of the runs that compared arms the newest that judged most claims: its name and its picture; empty: none did."""
    counted = [
        (sum(v.measured for v in run.verdicts), n, run.name, drawing)
        for n, run in enumerate(found)
        if run.store and (drawing := ratios.embedded(run.store.summary()))
    ]
    if not counted:
        return "", Markup()
    _, _, name, drawing = max(counted, key=lambda one: one[:2])
    return name, Markup(drawing.svg)  # noqa: S704 - as below


def of(run: Published, scenario: str) -> tuple[list[Markup], str]:
    """Drawings of what a run measured of one scenario, and their caption; empty where there is nothing to draw."""
    if run.store is None:
        return [], ""
    summary = _only(run.store.summary(), scenario)
    for draw, caption in KINDS:
        if found := draw(summary):
            return [Markup(d.svg) for d in found[:MOST]], caption  # noqa: S704 - matplotlib escapes what it writes
    return [], ""


def _only(summary: Summary, scenario: str) -> Summary:
    """The part of a summary that is of one scenario or study."""
    laws = {c.law for c in summary.coefficients if c.study == scenario}
    return replace(
        summary,
        latencies=tuple(x for x in summary.latencies if x.scenario == scenario),
        contrasts=tuple(x for x in summary.contrasts if x.scenario == scenario),
        capacities=tuple(x for x in summary.capacities if x.scenario == scenario),
        costs=tuple(x for x in summary.costs if x.scenario == scenario),
        memories=tuple(x for x in summary.memories if x.scenario == scenario),
        sockets=tuple(x for x in summary.sockets if x.scenario == scenario),
        coefficients=tuple(x for x in summary.coefficients if x.study == scenario),
        sizes=tuple(x for x in summary.sizes if x.law in laws),
    )
