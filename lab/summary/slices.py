"""From raw requests to one number a slice: quantiles and means of many groups at once, changes of level, carry-over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import ruptures
from scipy import stats as scipy_stats

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUANTILES = {"p50": 0.5, "p99": 0.99}
LEAST_PIECE = 8  # rounds: shorter spells are not called a level


def statistic(values: Floats, groups: Ints, count: int, metric: str) -> Floats:
    """`metric` (p50, mean, p99) of each of `count` groups, nan where one is empty. Quantiles interpolate linearly."""
    sizes = np.bincount(groups, minlength=count)[:count]
    found = np.full(count, np.nan)
    full = sizes > 0
    if metric == "mean":
        found[full] = np.bincount(groups, weights=values, minlength=count)[:count][full] / sizes[full]
        return found
    ordered = values[np.lexsort((values, groups))]
    place = (np.cumsum(sizes) - sizes)[full] + QUANTILES[metric] * (sizes[full] - 1)
    below = np.floor(place).astype(np.int64)
    above = np.ceil(place).astype(np.int64)
    found[full] = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    return found


def rounds_to_join(requests: int, rounds: int, least: int) -> int:
    """How many neighbouring rounds must be taken together so that each part has `least` requests."""
    each = requests / rounds if rounds else 0
    return max(1, int(np.ceil(least / each))) if each else max(rounds, 1)


def changes(values: Floats) -> tuple[int, ...]:
    """Where the level of a series changes for good: first positions of new levels.

    PELT with a least-squares cost and a penalty of 3 ln(n) variances (Killick 2012, by `ruptures`); the variance is
    taken from the differences of neighbours, so that a change of level is not mistaken for noise.
    """
    if len(values) < 2 * LEAST_PIECE:
        return ()
    noise = float(np.median(np.abs(np.diff(values)))) / (0.6745 * np.sqrt(2))
    if noise == 0:
        return ()
    search = ruptures.KernelCPD(kernel="linear", min_size=LEAST_PIECE).fit((values / noise).reshape(-1, 1))
    return tuple(int(p) for p in search.predict(pen=3 * np.log(len(values)))[:-1])


def carry_over(values: Floats, before: Sequence[str]) -> float:
    """p of: a slice does not depend on whose came before (Kruskal & Wallis 1952); 1 if untestable."""
    names = np.asarray(before)
    samples = [values[names == name] for name in sorted(set(before))]
    samples = [s for s in samples if len(s) >= 3]
    if len(samples) < 2 or np.ptp(np.concatenate(samples)) == 0:
        return 1.0
    return float(scipy_stats.kruskal(*samples).pvalue)
