"""The contrasts that claims of latency are judged by."""

from __future__ import annotations

from collections.abc import Iterable

from lab import stats
from lab.claims import words
from lab.gates import BASELINE
from lab.stats import Words
from lab.summary import Contrast, Summary

SCENARIO = "http_visibility"
RUN = f"measure it with: mesh-lab run {SCENARIO}"


def of(summary: Summary, *arms: str) -> list[Contrast]:
    """Every contrast of these arms with the baseline."""
    return [c for c in summary.contrasts if c.scenario == SCENARIO and c.arm in arms and c.base == BASELINE]


def told(c: Contrast) -> bool:
    """Has it a ratio that may be compared?"""
    return c.rounds > 0 and c.verdict not in (Words.SATURATED, Words.NOT_COMPARABLE)


def scope(cases: Iterable[Contrast]) -> tuple[str, ...]:
    """A condition where intervals do not reach beyond the deployments that were measured."""
    fewest = min((c.deployments for c in cases), default=0)
    return (words.deployments(fewest),) if 0 < fewest < stats.FEW_DEPLOYMENTS else ()
