"""Log-spaced histograms of sojourn times: every quantile within 1 %, from nanoseconds to half an hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lab.record import Mistake
from lab.sim.kernel import BUCKETS, SHARE
from lab.sim.times import Floats

_AT = np.arange(BUCKETS + 1)
EDGES: Floats = np.ldexp(0.5 + (_AT % SHARE) / (2 * SHARE), _AT // SHARE - 26)
"""Lower edges of the buckets, s, and the upper edge of the last: 64 per factor of two, equally wide within one."""
EDGES.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts by bucket of `EDGES`; histograms of independent runs add up."""

    counts: npt.NDArray[np.int64]

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts)

    @property
    def total(self) -> int:
        """How many times were counted."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """The time, s, that `share` of all stay below: a straight line within its bucket (1.6 % wide at most)."""
        if not 0 <= share <= 1:
            raise Mistake(f"a quantile at {share}; allowed are 0 to 1")
        if self.total == 0:
            raise Mistake("a quantile of nothing; no request of this class came back in the counted time")
        below = np.concatenate([[0], np.cumsum(self.counts)])
        wanted = share * below[-1]
        bucket = min(int(np.searchsorted(below, wanted, side="left")), BUCKETS) - 1
        bucket = max(bucket, int(np.flatnonzero(self.counts)[0]))
        part = (wanted - below[bucket]) / self.counts[bucket] if self.counts[bucket] else 0.0
        return float(EDGES[bucket] + np.clip(part, 0, 1) * (EDGES[bucket + 1] - EDGES[bucket]))

    def above(self, time_s: float) -> float:
        """The share of times above `time_s`, to the bucket that it falls into."""
        return float(self.counts[np.searchsorted(EDGES, time_s, side="right") :].sum() / max(self.total, 1))
