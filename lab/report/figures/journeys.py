"""What each arm does to each step of a journey: ratios to the baseline, of closed loops only."""

from __future__ import annotations

from lab.report import drawing, looks, units
from lab.report.figures import ratios
from lab.summary import StepContrast, Summary

METRIC = "p50"


def panels(summary: Summary) -> list[drawing.Drawing]:
    """One drawing a journey: the median of every step as a ratio to the baseline, with its interval."""
    journeys: dict[str, list[StepContrast]] = {}
    for c in summary.step_contrasts:
        if c.metric == METRIC:
            journeys.setdefault(c.journey, []).append(c)
    return [_panel(f"journey{n}", name, found, summary) for n, (name, found) in enumerate(journeys.items())]


def _panel(name: str, journey: str, found: list[StepContrast], summary: Summary) -> drawing.Drawing:
    look = looks.looks(summary)
    place = {arm: number for number, arm in enumerate(look)}
    steps: dict[str, list[StepContrast]] = {}
    for c in sorted(found, key=lambda c: (c.step, place[c.arm])):
        steps.setdefault(c.step, []).append(c)
    groups = {step: group for step, group in steps.items() if any(map(ratios.drawable, group))}
    axis = f"median time of a step / {found[0].base}, closed loop (logarithmic)"
    return drawing.draw(
        name,
        f"{journey}, closed loop: median time of each step as a ratio to {found[0].base}. {_words(groups)}",
        ratios.inches(list(groups.values())),
        lambda figure: ratios.paint(figure, groups, look, axis),
    )


def _words(groups: dict[str, list[StepContrast]]) -> str:
    return "; ".join(f"{step}: {c.arm} {units.ratio(c.ratio.value)}" for step, group in groups.items() for c in group)
