"""The request-level engine: every request of a network, one event per visit, the same bytes for the same seed.

`simulate(network, 30.0, seed=1, replications=2)` simulates 30 s twice, independently, on as many cores as there are,
and adds both up. Arrivals stop at the end of that time and what is under way is finished: the clock loses no request.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.record import Failed, Mistake
from lab.sim import kernel
from lab.sim.demand import demands, streams
from lab.sim.histogram import Histogram
from lab.sim.kernel import BUCKETS, BUSY, FAILURES, LONGEST, REQUESTS, SLOTS, SQUARES, TOTAL, VISITS, WAITED
from lab.sim.network import Network
from lab.sim.program import Program, program
from lab.sim.times import Floats

FRAMES = 1 << 12  # to begin with; doubled when all are in flight
MOST_FRAMES = 1 << 24  # 1 GB: more in flight means that something does not keep up
RING = 1 << 15  # the longest ring of calendar buckets, 128 KB


@dataclass(frozen=True)
class Sojourns:
    """Requests of one class that arrived after the warm-up: how many came back, how long they took, how many failed."""

    name: str
    sums: Floats  # by lab.sim.kernel's columns
    histogram: Histogram
    line: Floats  # (bins, columns): the same sums by time of arrival

    @property
    def count(self) -> int:
        return int(self.sums[REQUESTS])

    @property
    def failed(self) -> int:
        return int(self.sums[FAILURES])

    @property
    def mean(self) -> float:
        """s, exact (not from the histogram); of those that did not fail."""
        return float(self.sums[TOTAL] / self.sums[REQUESTS]) if self.count else float("nan")

    @property
    def variance(self) -> float:
        """s²."""
        return float(self.sums[SQUARES] / self.sums[REQUESTS] - self.mean**2) if self.count else float("nan")

    @property
    def longest(self) -> float:
        return float(self.sums[LONGEST])

    def quantile(self, share: float) -> float:
        """s, within 1 %."""
        return self.histogram.quantile(share)


@dataclass(frozen=True, eq=False)
class Use:
    """A group of stations in the counted time. Arrays are by station."""

    name: str
    visits: Floats
    utilisation: Floats  # busy seconds per second and worker; work counts when it arrives
    waited_s: Floats  # sum over visits of the time in the queue

    @property
    def mean_wait(self) -> float:
        """Mean time in the queue over all visits of the group, s."""
        return float(self.waited_s.sum() / self.visits.sum()) if self.visits.sum() else float("nan")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What `simulate` saw. `visits`: of all stations, warm-up and drain included; `in_flight`: a time average.

    `each` holds the outcomes of the replications that this one adds up.
    """

    classes: tuple[Sojourns, ...]
    stations: tuple[Use, ...]
    seconds: float
    visits: int
    in_flight: float
    each: tuple[Outcome, ...] = ()

    @cached_property
    def _named(self) -> dict[str, Sojourns | Use]:
        return {f"requests {c.name}": c for c in self.classes} | {f"stations {s.name}": s for s in self.stations}

    def of(self, name: str) -> Sojourns:
        """The requests of a class."""
        found = self._named.get(f"requests {name}")
        if not isinstance(found, Sojourns):
            raise Mistake(f"no requests {name!r}; there are {', '.join(c.name for c in self.classes)}")
        return found

    def at(self, name: str) -> Use:
        """The stations of a group."""
        found = self._named.get(f"stations {name}")
        if not isinstance(found, Use):
            raise Mistake(f"no stations {name!r}; there are {', '.join(s.name for s in self.stations)}")
        return found


def simulate(
    network: Network,
    seconds: float,
    seed: int,
    *,
    warmup_s: float = 0.0,
    replications: int = 1,
    bins: int = 1,
    watch: bool = False,
    cores: int | None = None,
    overload: bool = False,
) -> Outcome:
    """Simulate `warmup_s + seconds` of arrivals, `replications` times, and finish what has begun.

    `bins` splits the whole time (warm-up included) for `Sojourns.line`. `watch` makes `in_flight` exact, at some cost.
    `overload` allows ρ >= 1 (a noisy tenant for a limited time); otherwise Overload is raised before anything runs.
    """
    if not (0 < seconds < float("inf") and 0 <= warmup_s < float("inf")):
        raise Mistake(f"seconds={seconds}, warmup_s={warmup_s}; allowed are finite times, seconds above 0")
    if replications < 1 or bins < 1:
        raise Mistake(f"replications={replications}, bins={bins}; both start at 1")
    if not overload:
        demands(network)
    compiled = program(network)
    runs = [_Run(compiled, seconds, warmup_s, seed, number, bins, watch) for number in range(replications)]
    with ThreadPoolExecutor(cores or len(os.sched_getaffinity(0))) as pool:  # the kernel lets go of the lock
        each = list(pool.map(_Run.outcome, runs))
    return each[0] if replications == 1 else _together(each)


class _Run:
    """One replication: the kernel's arrays, and the phases warm-up, counted time, drain."""

    def __init__(
        self, compiled: Program, seconds: float, warmup_s: float, seed: int, number: int, bins: int, watch: bool
    ) -> None:
        self.program, self.seconds, self.warmup_s, self.watch, self.bins = compiled, seconds, warmup_s, watch, bins
        self.random = np.array([seed & (1 << 64) - 1, number, 0x6C61622E73696D], np.uint64)
        for i in range(1, 3):  # far apart on SplitMix64's circle for every seed and every replication
            self.random[0] = kernel.mixed(self.random[0]) ^ kernel.mixed(self.random[i])

    def _arrays(self) -> None:
        compiled, classes = self.program, len(self.program.entries)
        count = sum(g.count for g in compiled.network.stations)
        self.stations = np.zeros((max(count, 1), 4))
        heaps = sum(g.count * g.servers for g in compiled.network.stations if g.servers > 1)
        self.workers = np.zeros(max(heaps, 1))
        self.used = np.zeros((count if compiled.quotas.any() else 1, 2))
        self.sums, self.line = np.zeros((classes, 5)), np.zeros((classes, self.bins, 5))
        self.histogram = np.zeros((classes, BUCKETS), np.int64)
        self.whole = np.zeros(8, np.int64)
        self.clock = np.zeros(8)
        self._calendar()
        first = max(FRAMES, 1 << (2 * classes + 4 * compiled.widest).bit_length())
        self.frames = np.zeros((0, SLOTS + compiled.slots), np.int32)
        self.event = np.zeros((0, 4))
        self._grow(first, classes)
        self._sources(classes)

    def _calendar(self) -> None:
        """About one event per bucket; a ring that most events fit into once (those that do not, wait a round more)."""
        rate = float(np.sum(1 / np.abs(self.program.gaps))) + sum(s.rate_per_s for s in streams(self.program.network))
        self.head = np.full(RING, -1, np.int32)
        self.clock[kernel.INVERSE] = rate
        self.clock[kernel.LAST] = self.warmup_s + self.seconds
        self.clock[kernel.COUNTED] = self.warmup_s
        self.clock[kernel.LINE] = self.bins / (self.warmup_s + self.seconds)

    def _grow(self, more: int, sources: int = 0) -> None:
        """Add frames and put them on the list of vacant ones, all but the first `sources`."""
        old = len(self.frames)
        if old + more > MOST_FRAMES:
            raise Failed(f"more than {MOST_FRAMES} requests in flight; a station does not keep up: lower the rates")
        self.frames = np.concatenate([self.frames, np.zeros((more, self.frames.shape[1]), np.int32)])
        self.event = np.concatenate([self.event, np.zeros((more, 4))])
        first = old + sources
        self.frames[first:, kernel.NEXT] = np.arange(first + 1, old + more + 1)
        self.frames[-1, kernel.NEXT] = self.whole[kernel.VACANT] if old else -1
        self.whole[kernel.VACANT] = first
        self.whole[kernel.ROOM] += more - sources

    def _sources(self, classes: int) -> None:
        """The first arrival of every class: at a random phase of its gap, or after an exponential time."""
        for one in range(classes):
            self.random[:1] += kernel.GOLDEN  # as an array: it is meant to wrap around
            share, gap = kernel.uniform(self.random[0]), self.program.gaps[one]
            time = -gap * np.log1p(-share) if gap > 0 else -gap * share
            if time < self.clock[kernel.LAST]:
                inverse, mask = self.clock[kernel.INVERSE], len(self.head) - 1
                kernel.put(self.head, self.event, self.frames, one, time, inverse, mask)
                self.whole[kernel.QUEUED] += 1

    def _until(self, time: float) -> None:
        compiled, spare = self.program, self.program.widest + 2
        self.clock[kernel.UNTIL] = time
        while True:
            status = kernel.run(
                compiled.code, compiled.real, compiled.tables, compiled.places, compiled.branches, compiled.entries,
                compiled.gaps, compiled.groups, compiled.downs, compiled.quotas, self.head, self.event, self.frames,
                self.stations, self.workers, self.used, self.sums, self.histogram, self.line, self.whole, self.clock,
                self.random, spare, self.watch,
            )  # fmt: skip
            if status != kernel.GROW:
                return
            self._grow(len(self.frames))

    def outcome(self) -> Outcome:
        """Run it all."""
        self._arrays()
        end = self.warmup_s + self.seconds
        self._until(self.warmup_s)
        self.stations[:, BUSY:] = 0
        day, self.whole[kernel.AREA] = int(self.whole[kernel.DAY]), 0
        self._until(end)
        counted = self.stations.copy()
        days = int(self.whole[kernel.DAY]) - day
        in_flight = self.whole[kernel.AREA] / max(days, 1)
        self._until(np.inf)
        return Outcome(
            tuple(self._sojourns()),
            tuple(self._uses(counted)),
            self.seconds,
            int(self.whole[kernel.STEPS]),
            float(in_flight),
        )

    def _sojourns(self) -> list[Sojourns]:
        return [
            Sojourns(one.name, self.sums[i], Histogram(self.histogram[i]), self.line[i])
            for i, one in enumerate(self.program.network.requests)
        ]

    def _uses(self, counted: Floats) -> list[Use]:
        uses, base = [], 0
        for group in self.program.network.stations:
            mine = counted[base : base + group.count]
            busy = mine[:, BUSY] / (self.seconds * group.servers)
            uses.append(Use(group.name, mine[:, VISITS].copy(), busy, mine[:, WAITED].copy()))
            base += group.count
        return uses


def _together(each: Sequence[Outcome]) -> Outcome:
    """One outcome of several independent ones, in their order, so that sums are the same bits every time."""
    classes = []
    for parts in zip(*(o.classes for o in each), strict=True):
        sums, line = (_added([getattr(p, name) for p in parts]) for name in ("sums", "line"))
        histogram = Histogram(np.sum([p.histogram.counts for p in parts], axis=0))
        classes.append(Sojourns(parts[0].name, sums, histogram, line))
    stations = [
        Use(
            uses[0].name,
            np.sum([u.visits for u in uses], axis=0),
            np.mean([u.utilisation for u in uses], axis=0),
            np.sum([u.waited_s for u in uses], axis=0),
        )
        for uses in zip(*(o.stations for o in each), strict=True)
    ]
    return Outcome(
        tuple(classes),
        tuple(stations),
        sum(o.seconds for o in each),
        sum(o.visits for o in each),
        float(np.mean([o.in_flight for o in each])),
        tuple(each),
    )


def _added(sums: Sequence[Floats]) -> Floats:
    total: Floats = np.sum(sums, axis=0)
    total[..., LONGEST] = np.max([s[..., LONGEST] for s in sums], axis=0)
    return total
