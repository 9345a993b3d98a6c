"""A mean of logarithms with its error, over deployments: Student's of one run, Welch's of two; and how many it takes.

The unit of repetition is the deployment (see `lab.stats`): each gives one number, the Hodges-Lehmann estimate of its
rounds. Nothing here knows of rounds or requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's distribution and its quantiles

from lab.stats import FEW_DEPLOYMENTS, POWER, Interval

MOST = 1000  # deployments that advice goes up to
PARTS = (24, 96, 320)  # quantiles are dear, and few deployments are mostly enough


@dataclass(frozen=True)
class Spread:
    """An estimate, its standard error, and the degrees of freedom of the error."""

    value: float
    error: float
    freedom: float

    def interval(self, confidence: float) -> Interval:
        """Student's interval, two-sided."""
        half = self.error * float(stdtrit(self.freedom, (1 + confidence) / 2))
        return Interval(self.value, self.value - half, self.value + half)

    def p_above(self, limit: float) -> float:
        """One-sided p of the hypothesis that the truth is at or below `limit`."""
        if self.error == 0:
            return 0.0 if self.value > limit else 1.0
        return float(stdtr(self.freedom, (limit - self.value) / self.error))

    def reach(self, tail: float, beta: float) -> float:
        """The least limit that the interval of two equals would stay below, with a probability of 1 - `beta`."""
        return self.error * float(stdtrit(self.freedom, 1 - tail) + stdtrit(self.freedom, 1 - beta))


def of_one(values: Sequence[float]) -> Spread:
    """Of deployments that each hold both sides (Student 1908)."""
    return Spread(float(np.mean(values)), _error(values), len(values) - 1)


def of_two(new: Sequence[float], old: Sequence[float]) -> Spread:
    """Of the difference between deployments of two runs, whose variances may differ (Welch 1947)."""
    one, other = _error(new) ** 2, _error(old) ** 2
    weight = one**2 / (len(new) - 1) + other**2 / (len(old) - 1)
    freedom = (one + other) ** 2 / weight if weight > 0 else len(new) + len(old) - 2
    return Spread(float(np.mean(new) - np.mean(old)), math.sqrt(one + other), freedom)


def wanted(
    limit: float, tail: float, spread: float, *, baseline: tuple[float, int] | None = None, beta: float = 1 - POWER
) -> int | None:
    """Deployments with which the interval of two equals ends below `limit`, with a probability of 1 - `beta`.

    The least n with (t(1 - tail, v) + t(1 - beta, v)) * error(n) <= limit: `lab.stats.detectable` turned round (Bloom
    1995). n is in the error and in v, so all n are tried. `spread` is the standard deviation between deployments,
    `baseline` that of a stored run with its number of deployments. None where more than MOST would be needed.
    """
    for least, most in zip((FEW_DEPLOYMENTS, *PARTS), (*PARTS, MOST + 1), strict=True):
        n = np.arange(least, most, dtype=np.float64)
        one, other = spread**2 / n, (baseline[0] ** 2 / baseline[1] if baseline else 0.0)
        freedom = n - 1
        if baseline and one.max() + other > 0:
            freedom = (one + other) ** 2 / (one**2 / (n - 1) + other**2 / (baseline[1] - 1))
        factor = stdtrit(freedom, 1 - tail) + stdtrit(freedom, 1 - beta)
        enough = np.flatnonzero(factor * np.sqrt(one + other) <= limit)
        if len(enough):
            return int(n[enough[0]])
    return None


def deviation(values: Sequence[float]) -> float:
    """The standard deviation between deployments."""
    return float(np.std(values, ddof=1))


def _error(values: Sequence[float]) -> float:
    if len(values) < FEW_DEPLOYMENTS:
        raise ValueError(f"{len(values)} deployments have no spread of their own; {FEW_DEPLOYMENTS} are needed")
    return deviation(values) / math.sqrt(len(values))
