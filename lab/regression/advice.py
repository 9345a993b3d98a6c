"""How many deployments it would take: enough that a candidate which equals the old passes every metric in four of five.

From the spread between deployments that was seen, so about as sure as that is. See `lab.regression.spread.wanted`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lab import stats
from lab.regression import spread
from lab.regression.drawn import Level
from lab.regression.evidence import Sample
from lab.regression.ruling import Judgement

USUAL = 10  # deployments, where nothing is known of their spread yet


def unknown(s: Sample, refused: Judgement) -> Judgement:
    """Advice where too few deployments were planned to know their spread; none where gates left out too many."""
    few = s.planned < stats.FEW_DEPLOYMENTS
    few_old = s.old is not None and s.planned_old < stats.FEW_DEPLOYMENTS
    return replace(refused, wanted=USUAL if few or few_old else None, wanted_baseline=USUAL if few_old else None)


def advised(s: Sample, left: Judgement, threshold: float, level: Level) -> Judgement:
    """`left` with the deployments it would take; of two runs also the baseline's, where that is what is too short."""
    limit = math.log1p(threshold)
    found = [_wanted(new, old, limit, level.tail, beta) for new, old, beta in _spreads(s, level)]
    news, olds = [n for n, _ in found], [n for _, n in found if n]
    if any(n is None for n in news):
        more = f"; more than {spread.MOST} deployments would be needed: a quieter machine, or a larger threshold"
        return replace(left, because=left.because + more)
    return replace(left, wanted=max(n for n in news if n), wanted_baseline=max(olds, default=None))


def of_all(left: Sequence[Judgement]) -> str:
    """What to do about everything that is left open, in one line."""
    wanted = [j.wanted for j in left if j.wanted]
    if len(wanted) < len(left):
        return "more deployments alone do not help: a quieter machine, a lower --rate, or what the reasons say"
    longer = max((j.wanted_baseline for j in left if j.wanted_baseline), default=None)
    also = f", and as many in the baseline ({longer})" if longer else ""
    told = [j.resolution for j in left if j.resolution is not None]
    now = f"; a run like this can judge from {max(told):.1%} on" if told else ""
    return f"it would take about {max(wanted)} deployments, each with a block of every load{also}{now}"


def _spreads(s: Sample, level: Level) -> Iterator[tuple[Sequence[float], Sequence[float] | None, float]]:
    """What has to become narrow: the ratio on one side, and two equal arms on both."""
    yield s.new, s.old, level.beta
    if s.equal:
        yield s.equal, s.equal_old, level.beta / 2


def _wanted(
    new: Sequence[float], old: Sequence[float] | None, limit: float, tail: float, beta: float
) -> tuple[int | None, int | None]:
    """Deployments of the new run with the baseline as it is; or of both."""
    one = spread.deviation(new)
    if old is None:
        return spread.wanted(limit, tail, one, beta=beta), None
    other = spread.deviation(old)
    n = spread.wanted(limit, tail, one, baseline=(other, len(old)), beta=beta)
    if n is not None:
        return n, None
    both = spread.wanted(limit, tail, math.hypot(one, other), beta=beta)
    return both, both
