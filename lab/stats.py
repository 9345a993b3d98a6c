"""What paired rounds say: ratio and difference with their intervals, and one of the fixed words.

The data is nested: deployment > round > slice. A slice gives one number per metric; a round pairs an arm's slice with
the baseline's; a deployment's rounds share its luck (which core, which address): they are not independent.

Interval of the headline ratio: Hodges-Lehmann within each deployment (Hodges & Lehmann 1963), then

- three or more deployments: their mean, and Student's t on their spread: what differs between deployments is in it.
  Bootstrapping so few deployments is not honest: in a simulation, 95 % intervals of three deployments held the truth
  in 72-75 % of cases by BCa over deployments, in 95 % by t (`tests/test_stats.py` repeats the latter);
- one or two: BCa bootstrap over their rounds (Efron 1987; `scipy.stats.bootstrap`). It speaks of those deployments
  only, and the verdict says so.

The geometric mean takes the other road, a nested bootstrap over deployments, then rounds (Davison & Hinkley 1997, 3.8).
Requests are never resampled: those of one slice are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8
MARGINS = (0.01, 0.02, 0.05, 0.10)
SMALL = 0.05  # a difference that lies inside this margin is called equivalent even where its direction is sure
RESAMPLES = 2000
SEED = 20211208
FEW_DEPLOYMENTS = 3  # from here on, deployments have a spread of their own
LEAST_ROUNDS = 6  # fewer pairs cannot reach p < 0.05 in Wilcoxon's test
MOST_ROUNDS = 60  # in a bootstrap of Hodges-Lehmann; more are joined by medians of neighbours
LEAST_FOR_P99 = 500  # requests: five lie above the quantile


class Words(StrEnum):
    """The first word of every verdict on a contrast; `EQUIVALENT` is followed by its margin."""

    SLOWER = "slower"
    FASTER = "faster"
    EQUIVALENT = "equivalent within"
    UNDECIDED = "undecided"
    SATURATED = "saturated"
    NOT_COMPARABLE = "not comparable"


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What the rounds of one arm and its baseline say. Ratios are arm/base; `rounds` are (deployment, round, ratio)."""

    ratio: Interval
    geometric_ratio: Interval
    difference: Interval
    wilcoxon_p: float
    detectable: float
    deployments: int
    rounds: tuple[tuple[int, int, float], ...]


def compare(arm: Sequence[Floats], base: Sequence[Floats]) -> Comparison:
    """Compare two arms: one array a deployment, one positive value a round, paired by position.

    `ValueError` unless both have the same shape, at least one deployment, and at least one round in each.
    """
    if [len(a) for a in arm] != [len(b) for b in base] or not arm or not all(len(a) for a in arm):
        raise ValueError("arms are compared round by round: both need the same rounds, and at least one a deployment")
    logs = [np.log(a / b) for a, b in zip(arm, base, strict=True)]
    differences = [np.asarray(a - b) for a, b in zip(arm, base, strict=True)]
    middle, error = _estimate(logs)
    return Comparison(
        ratio=Interval(*(math.exp(v) for v in middle)),
        geometric_ratio=Interval(*(math.exp(v) for v in nested(logs))),
        difference=_estimate(differences)[0],
        wilcoxon_p=wilcoxon(np.concatenate(logs)),
        detectable=detectable(error, len(logs), sum(map(len, logs))),
        deployments=len(logs),
        rounds=tuple((d, r, math.exp(v)) for d, log in enumerate(logs) for r, v in enumerate(log.tolist())),
    )


def hodges_lehmann(values: Floats, axis: int = -1) -> Floats:
    """The median of all pairwise means (each value with itself too) along `axis`."""
    moved = np.moveaxis(np.asarray(values), axis, -1)
    one, other = np.triu_indices(moved.shape[-1])
    return np.asarray(np.median((moved[..., one] + moved[..., other]) / 2, axis=-1))


def middles(deployments: Sequence[Floats]) -> Floats:
    """One Hodges-Lehmann estimate a deployment, of the values of its rounds."""
    return np.array([float(hodges_lehmann(_join(d))) for d in deployments])


def _estimate(deployments: Sequence[Floats]) -> tuple[Interval, float]:
    """The mean of the deployments' Hodges-Lehmann estimates, its interval, and its standard error."""
    each = middles(deployments)
    value = float(each.mean())
    if len(each) >= FEW_DEPLOYMENTS:
        error = float(each.std(ddof=1) / math.sqrt(len(each)))
        half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(each) - 1))
        return Interval(value, value - half, value + half), error
    low, high, error = _over_rounds([_join(d) for d in deployments])
    return Interval(value, min(low, value), max(high, value)), error


def _over_rounds(deployments: Sequence[Floats]) -> tuple[float, float, float]:
    """Low, high and standard error by BCa over the rounds of these deployments."""
    if sum(map(len, deployments)) < LEAST_ROUNDS or min(map(len, deployments)) < 2:
        values = np.concatenate(deployments)  # too few to resample: all that was seen
        return float(values.min()), float(values.max()), float(np.ptp(values))
    if all(np.ptp(d) == 0 for d in deployments):
        value = float(np.mean([d[0] for d in deployments]))
        return value, value, 0.0

    def middle(*samples: Floats, axis: int = -1) -> Floats:
        return np.asarray(np.mean([hodges_lehmann(s, axis) for s in samples], axis=0))

    found = stats.bootstrap(
        tuple(deployments),
        middle,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high), float(found.standard_error)


def _join(values: Floats) -> Floats:
    """At most MOST_ROUNDS values: medians of neighbours, so that all pairs of them stay affordable."""
    if len(values) <= MOST_ROUNDS:
        return values
    return np.array([np.median(part) for part in np.array_split(values, MOST_ROUNDS)])


def nested(deployments: Sequence[Floats]) -> Interval:
    """The mean over deployments of their means; percentile interval of a bootstrap over deployments, then rounds."""
    value = float(np.mean([d.mean() for d in deployments]))
    rng = np.random.default_rng(SEED)
    means = np.stack([d[rng.integers(0, len(d), (RESAMPLES, len(d)))].mean(axis=1) for d in deployments])
    # each deployment's resamples are shuffled again, so that one drawn twice brings two different resamples
    drawn = rng.integers(0, len(deployments), (RESAMPLES, len(deployments)))
    again = means[drawn, rng.integers(0, RESAMPLES, drawn.shape)].mean(axis=1)
    low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))


def wilcoxon(logs: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test over all rounds. A check: it knows nothing of deployments."""
    if not np.any(logs):
        return 1.0
    return float(stats.wilcoxon(logs).pvalue)


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p values of one family (Holm 1979), in the order given."""
    order = np.argsort(ps)
    steps = np.asarray(ps)[order] * np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(ps) else steps
    return tuple(adjusted.tolist())


def detectable(standard_error: float, deployments: int, rounds: int) -> float:
    """The smallest effect, as ratio - 1, that would be found with a power of 80 %.

    exp((t(0.975, v) + t(0.8, v)) * standard error) - 1, v degrees of freedom (Bloom 1995, Evaluation Review 19(5)).
    """
    freedom = deployments - 1 if deployments >= FEW_DEPLOYMENTS else max(rounds - deployments, 1)
    factor = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) + stats.t.ppf(POWER, freedom))
    return math.expm1(min(factor * standard_error, 50.0))


def reach(ratio: Interval) -> float:
    """How far from 1 an interval of ratios goes, as ratio - 1: for an A/A contrast, the noise floor."""
    return math.expm1(max(abs(math.log(ratio.low)), abs(math.log(ratio.high))))


def verdict(ratio: Interval, *, deployments: int, rounds: int, holm_p: float, floor: float) -> tuple[str, str]:
    """The fixed words, and why. `floor` is the noise floor; nan where no A/A contrast was measured.

    Equivalent: the whole 95 % interval lies in [1/(1+x), 1+x], stricter than two one-sided tests at 5 %, for which
    the 90 % interval would do (Schuirmann 1987). Slower and faster: the interval leaves out 1, the effect is above
    the noise floor, and Wilcoxon's test agrees after Holm.
    """
    scope = _scope(deployments)
    if rounds < LEAST_ROUNDS and deployments < FEW_DEPLOYMENTS:
        return Words.UNDECIDED, f"{rounds} paired values are too few; {LEAST_ROUNDS} are needed: measure more rounds"
    sure = ratio.low > 1 or ratio.high < 1
    fits = [m for m in MARGINS if 1 / (1 + m) <= ratio.low and ratio.high <= 1 + m and (m <= SMALL or not sure)]
    if fits:
        direction = f", {'slower' if ratio.value > 1 else 'faster'} by {abs(ratio.value - 1):.1%}" if sure else ""
        return equivalent(fits[0]), f"the 95 % interval lies inside ±{fits[0]:.0%}{direction}{scope}"
    if not sure:
        return Words.UNDECIDED, f"the 95 % interval holds 1 and reaches {reach(ratio):.1%} from it{scope}"
    if math.expm1(abs(math.log(ratio.value))) <= floor:
        return Words.UNDECIDED, f"the effect is within the noise floor of {floor:.1%} that two equal arms show{scope}"
    if holm_p > 1 - CONFIDENCE:
        return (
            Words.UNDECIDED,
            f"the interval leaves out 1, but Wilcoxon's test does not agree (p={holm_p:.3f}){scope}",
        )
    word = Words.SLOWER if ratio.value > 1 else Words.FASTER
    return word, f"the 95 % interval leaves out 1, and the effect is above the noise floor{scope}"


def equivalent(margin: float) -> str:
    """The words for it: `equivalent within ±5%`."""
    return f"{Words.EQUIVALENT} ±{margin:.0%}"


def _scope(deployments: int) -> str:
    if deployments >= FEW_DEPLOYMENTS:
        return f"; {deployments} deployments"
    return f"; within {'one deployment' if deployments == 1 else 'two deployments'} only"
