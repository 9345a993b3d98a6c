"""When each request is due: fixed before the load starts, the same for the same seed.

A window's times depend on its seed and its index alone, so that leaving out or adding a window changes no other.

Several engines share one schedule: each makes all of it and sends what `owners` gives it. So what they send together is
exactly what one engine would have sent, without a word between them. A request is given away by chance where arrivals
are Poisson, since a Poisson process thinned at random is Poisson again, and independent of the rest (Kingman, Poisson
Processes, 1993, section 5.1; every n-th request would be a more regular process, and its engine's connections less
crowded); in turn where they are uniform, since every n-th point of an even row is an even row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lab.record import Arrivals, Mistake, Window

NS = 1_000_000_000


def offsets(
    windows: Sequence[Window], rate_per_s: float, arrivals: Arrivals, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Send times in ns after the block's epoch, rising, and the index of the window that each belongs to; shapes (n,).

    Uniform: one every 1/rate, from a random phase in each window. Poisson: a Poisson number of times, uniform over the
    window (given their number, the points of a Poisson process are uniform order statistics; Kingman, Poisson
    Processes, 1993, section 2.4). Both offer `rate_per_s * duration_s` on average; uniform differs from it by less
    than one request.
    """
    if not 0 < rate_per_s < float("inf"):
        raise Mistake(f"rate_per_s={rate_per_s}; it must be a finite number above 0")
    if seed < 0:
        raise Mistake(f"seed={seed}; it must be 0 or above")
    ordered = sorted(windows, key=lambda w: w.start_s)
    times = [_times(w, rate_per_s, arrivals, np.random.default_rng((seed, w.index))) for w in ordered]
    owners = [np.full(len(t), w.index, np.int32) for t, w in zip(times, ordered, strict=True)]
    return np.concatenate([*times, np.empty(0, np.int64)]), np.concatenate([*owners, np.empty(0, np.int32)])


def owners(
    windows: Sequence[Window], window: npt.NDArray[np.int32], arrivals: Arrivals, seed: int, engines: int
) -> npt.NDArray[np.int32]:
    """The engine (0 to `engines` - 1) that each request of a schedule belongs to; `window` as `offsets` gave it."""
    if engines < 1:
        raise Mistake(f"engines={engines}; at least one must send")
    found = np.zeros(len(window), np.int32)
    for w in windows if engines > 1 else ():
        mine = np.flatnonzero(window == w.index)
        chance = np.random.default_rng((seed, w.index, engines))
        if arrivals is Arrivals.POISSON:
            found[mine] = chance.integers(0, engines, len(mine))
        else:
            found[mine] = (np.arange(len(mine)) + chance.integers(engines)) % engines
    return found


def give_up(windows: Sequence[Window], window: npt.NDArray[np.int32], guard_s: float) -> npt.NDArray[np.int64]:
    """For each request the time (ns after the epoch) from which it is no longer sent: half a guard after its window.

    The other half stays silent, so that a late request cannot reach into the next arm's window.
    """
    ends = np.zeros(max((w.index for w in windows), default=0) + 1, np.int64)
    for w in windows:
        ends[w.index] = round((w.start_s + w.duration_s + guard_s / 2) * NS)
    return ends[window]


def _times(window: Window, rate_per_s: float, arrivals: Arrivals, chance: np.random.Generator) -> npt.NDArray[np.int64]:
    length = round(window.duration_s * NS)
    if arrivals is Arrivals.POISSON:
        count = chance.poisson(rate_per_s * length / NS)
        times = np.sort(chance.integers(0, length, count)) if count else np.empty(0, np.int64)
    else:
        count = int(rate_per_s * length / NS) + 2  # one or two too many: the cut decides
        times = ((np.arange(count) + chance.random()) * (NS / rate_per_s)).astype(np.int64)
        times = times[times < length]
    return times + round(window.start_s * NS)
