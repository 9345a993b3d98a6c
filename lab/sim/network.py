"""A network of queues as frozen data: stations, the requests that visit them, and what befalls the stations.

Both engines (`lab.sim.requests`, `lab.sim.closed`) take exactly this. Times are seconds, rates are per second.

**Members.** Whatever there is many of (pods, say) is numbered from 0. A path *picks* a member out of a range and
remembers it under a name; a *visit* goes to the station of a group that belongs to the remembered member. A group
without `places` has one station per member (a sidecar per pod: station = member); with `places`, station =
places[member] (a proxy per node: places[pod] = node). So 150,000 pods cost two arrays and not 150,000 objects, and the
answer comes back through the same proxies as the request, because both visits name the same member.

A call from a pod of `web` to a pod of `shop` through two sidecars, where shop asks two others at the same time:

    call = (
        Pick("shop", first=100, count=50),
        Visit("sidecar", "web", request_s), Pause(wire_s), Visit("sidecar", "shop", request_s),
        Visit("app", "shop", work_s),
        Fork((call_of_cart, call_of_stock)),          # paths like this one; they see "web" and "shop", too
        Visit("sidecar", "shop", answer_s), Pause(wire_s), Visit("sidecar", "web", answer_s),
    )

Names are only labels of slots: pick a name again and it means another member. Use few of them ("depth0", "depth1", …):
each costs four bytes per request in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lab.record import Arrivals, Mistake
from lab.sim.times import Times

Integers: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Quota:
    """A CFS bandwidth limit: `budget_s` of CPU time in each `period_s`, then nothing until the next period begins.

    Station i's periods begin at (i · 0.618… mod 1) · period_s: kernels do not start their timers together.
    """

    budget_s: float
    period_s: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.budget_s <= self.period_s < float("inf"):
            raise Mistake(f"a quota of {self.budget_s} s in {self.period_s} s; allowed is above 0, up to the period")


@dataclass(frozen=True, eq=False)
class Stations:
    """A group of like stations: each one queue, first come first served, with `servers` workers.

    `places[member]` is the station of a member; None: station i belongs to member i. A quota needs `servers=1`.
    """

    name: str
    count: int
    servers: int = 1
    quota: Quota | None = None
    places: Integers | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.servers < 1:
            raise Mistake(f"stations {self.name!r}: count={self.count}, servers={self.servers}; both start at 1")
        if self.quota is not None and self.servers != 1:
            raise Mistake(f"stations {self.name!r}: a quota with {self.servers} servers; only one worker can have one")
        if self.places is not None:
            places = np.ascontiguousarray(self.places, np.int32)
            if places.size == 0 or places.min() < 0 or places.max() >= self.count:
                raise Mistake(f"stations {self.name!r}: places must lie in 0…{self.count - 1}")
            object.__setattr__(self, "places", places)

    @property
    def members(self) -> int:
        """How many members have a station here."""
        return self.count if self.places is None else len(self.places)


@dataclass(frozen=True)
class Pick:
    """Choose one of `count` members from number `first` on, all alike likely, and remember it as `who`."""

    who: str
    first: int
    count: int


@dataclass(frozen=True)
class Visit:
    """Queue at the station of `stations` that belongs to `who`, then be served for a draw of `time`."""

    stations: str
    who: str
    time: Times


@dataclass(frozen=True)
class Pause:
    """Time that passes without a queue: wire, timers, a service with workers to spare."""

    time: Times


@dataclass(frozen=True)
class Fork:
    """All branches at once; the path goes on when the last of them is back."""

    branches: tuple[Path, ...]


@dataclass(frozen=True)
class Maybe:
    """With probability `chance` the path, else nothing: a cache that misses, a call that not every request needs."""

    chance: float
    path: Path


@dataclass(frozen=True)
class Again:
    """The path once, and after each time once more with probability `chance` (below 1): feedback, retries."""

    chance: float
    path: Path


Step: TypeAlias = Pick | Visit | Pause | Fork | Maybe | Again
Path: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True)
class Requests:
    """A class of requests: they enter at `rate_per_s` in all (over all members that may send them) and follow `path`.

    Poisson arrivals of many senders together are one Poisson process, so senders are picked by the path's first step.
    """

    name: str
    rate_per_s: float
    path: Path
    arrivals: Arrivals = Arrivals.POISSON


class Outage(StrEnum):
    """What happens to the work of a station while it is down."""

    WAIT = "wait"  # it stops and goes on afterwards; arrivals queue
    FAIL = "fail"  # what is there when it goes down, and what arrives meanwhile, fails at once
    DRAIN = "drain"  # what arrived before is finished as if nothing were; later arrivals wait for the successor
    SLOW = "slow"  # up, but what begins meanwhile takes `factor` times as long


@dataclass(frozen=True)
class Down:
    """`count` stations of a group from `first` on are down in [start_s, end_s) of simulated time (warm-up included)."""

    stations: str
    first: int
    count: int
    start_s: float
    end_s: float
    kind: Outage = Outage.WAIT
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < self.end_s < float("inf") and self.factor > 0 and self.count > 0):
            raise Mistake(f"{self}; it must start at 0 or later, end after that, and have a factor and count above 0")


@dataclass(frozen=True, eq=False)
class Network:
    """Stations, requests and outages, checked when made; raises Mistake where a name, a range or a chance is wrong."""

    stations: tuple[Stations, ...]
    requests: tuple[Requests, ...]
    downs: tuple[Down, ...] = ()

    def __post_init__(self) -> None:
        _distinct("stations", (group.name for group in self.stations))
        _distinct("requests", (one.name for one in self.requests))
        if not self.requests:
            raise Mistake("a network without requests; give at least one class")
        groups = {group.name: group for group in self.stations}
        for one in self.requests:
            if not 0 < one.rate_per_s < float("inf"):
                raise Mistake(f"requests {one.name!r}: rate_per_s={one.rate_per_s}; it must be a finite number above 0")
            _check(one.path, groups, {}, one.name)
        for down in self.downs:
            group = _group(groups, down.stations, "an outage")
            if down.first < 0 or down.first + down.count > group.count:
                raise Mistake(f"an outage of stations {down.first}…{down.first + down.count - 1} of {group.name!r}, "
                              f"which has 0…{group.count - 1}")  # fmt: skip


def _distinct(what: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Mistake(f"{what} named twice: {', '.join(twice)}; give each a name of its own")


def _group(groups: dict[str, Stations], name: str, where: str) -> Stations:
    if name not in groups:
        raise Mistake(f"{where} names stations {name!r}; there are {', '.join(groups) or 'none'}")
    return groups[name]


def _check(path: Path, groups: dict[str, Stations], known: dict[str, int], where: str) -> None:
    """`known` maps a name to one past the greatest member it may mean."""
    for step in path:
        match step:
            case Pick(who, first, count):
                if first < 0 or count < 1:
                    raise Mistake(f"{where}: {who!r} is picked from {count} members from {first} on; there is none")
                known[who] = first + count
            case Visit(name, who, _):
                _check_visit(_group(groups, name, where), who, known, where)
            case Pause():
                pass
            case Fork(branches):
                if not branches:
                    raise Mistake(f"{where}: a fork without branches; leave it out")
                for branch in branches:
                    _check(branch, groups, dict(known), where)
            case Maybe(chance, inner) | Again(chance, inner):
                if not 0 <= chance <= 1 or (chance == 1 and isinstance(step, Again)):
                    raise Mistake(f"{where}: a chance of {chance}; allowed are 0 to 1 (of `Again`, below 1)")
                _check(inner, groups, dict(known), where)


def _check_visit(group: Stations, who: str, known: dict[str, int], where: str) -> None:
    if who not in known:
        raise Mistake(f"{where}: visits {group.name!r} of {who!r}, whom no step before has picked")
    if known[who] > group.members:
        raise Mistake(
            f"{where}: {who!r} may be member {known[who] - 1}; {group.name!r} has members 0…{group.members - 1}"
        )
