"""The numbers of one sample: its ratio with its interval, the noise floor beside it, and what was left out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lab import stats
from lab.regression import spread
from lab.regression.evidence import Sample
from lab.regression.ruling import Judgement, Word
from lab.regression.spread import Spread
from lab.summary import Estimate

ALPHA = 1 - stats.CONFIDENCE
MOST_VOID = 0.2  # of the planned deployments; beyond, what is left may be a selection
MOST_LOG = 50.0  # exp() of more is no ratio that anybody reads


@dataclass(frozen=True)
class Level:
    """The error of one metric at one of several looks, and the power that advice on one of several metrics aims at."""

    confidence: float  # of intervals
    tail: float  # on each of their sides
    beta: float

    @classmethod
    def of(cls, looks: int, metrics: int = 1) -> Level:
        """Looks share the error; metrics share what may be missed, since all have to pass (both Bonferroni)."""
        return cls(1 - ALPHA / looks, ALPHA / looks / 2, (1 - stats.POWER) / max(metrics, 1))


def speaks(s: Sample) -> bool:
    """Has it a ratio with an error of its own?"""
    return not s.trouble and _enough(s.new, s.old)


def spread_of(s: Sample) -> Spread:
    """The log-ratio: of one run, or new against old."""
    return spread.of_one(s.new) if s.old is None else spread.of_two(s.new, s.old)


def draw(s: Sample, threshold: float | None, level: Level) -> Judgement:
    """Everything but the word, which stays `not judged`."""
    return Judgement(
        load=s.load,
        metric=s.metric,
        ratio=_ratio(spread_of(s), level) if speaks(s) else None,
        difference_s=_difference(s, level) if speaks(s) else None,
        threshold=threshold,
        floor=_floor(s, level),
        deployments=len(s.new),
        void=sum(max(planned - valid, 0) for planned, valid in _counts(s)),
        word=Word.SHOWN,
        because="",
        resolution=_resolution(s, level) if speaks(s) else None,
    )


def too_few(s: Sample) -> str:
    """How many deployments are valid, where a spread needs more."""
    said = " and ".join(f"{valid} of {planned} deployments are valid" for planned, valid in _counts(s))
    why = f" ({', '.join(s.gates)} failed)" if s.gates else ""
    return f"{said}{why}; {stats.FEW_DEPLOYMENTS} are the least that have a spread"


def too_void(s: Sample) -> str:
    """Why the deployments that are left may be a selection (of the quick ones, say); empty where they are not."""
    for planned, valid in _counts(s):
        if planned - valid > MOST_VOID * planned:
            why = ", ".join(s.gates) or "too few requests"
            return (
                f"{planned - valid} of {planned} deployments are void ({why}), more than {MOST_VOID:.0%}:"
                " what is left may be a selection; take a quieter machine, or a lower rate"
            )
    return ""


def _counts(s: Sample) -> list[tuple[int, int]]:
    """(planned, valid) of each run."""
    return [(s.planned, len(s.new))] + ([(s.planned_old, len(s.old))] if s.old is not None else [])


def _enough(new: tuple[float, ...], old: tuple[float, ...] | None) -> bool:
    return min(len(new), len(new if old is None else old)) >= stats.FEW_DEPLOYMENTS


def _ratio(found: Spread, level: Level) -> Estimate:
    return Estimate(*(math.exp(min(value, MOST_LOG)) for value in found.interval(level.confidence)))


def _floor(s: Sample, level: Level) -> float | None:
    """How far the interval of two equal arms reaches from 1, made in the same way as the ratio's."""
    if not _enough(s.equal, s.equal_old):
        return None
    low, high = _equal(s).interval(level.confidence)[1:]
    return math.expm1(min(max(abs(low), abs(high)), MOST_LOG))


def _resolution(s: Sample, level: Level) -> float:
    """From the errors alone: it does not move with what was found, so that nobody is led to the threshold that fits."""
    found = [(spread_of(s), level.beta)]
    if _enough(s.equal, s.equal_old):
        found.append((_equal(s), level.beta / 2))
    return math.expm1(min(max(one.reach(level.tail, beta) for one, beta in found), MOST_LOG))


def _equal(s: Sample) -> Spread:
    return spread.of_one(s.equal) if s.equal_old is None else spread.of_two(s.equal, s.equal_old)


def _difference(s: Sample, level: Level) -> Estimate | None:
    if len(s.differences_s) < stats.FEW_DEPLOYMENTS:
        return None
    return Estimate(*spread.of_one(s.differences_s).interval(level.confidence))
