"""How much work each station is offered, and the refusal to say anything of a network that cannot keep up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lab.record import Mistake
from lab.sim.network import Again, Fork, Maybe, Network, Path, Pick, Stations, Visit
from lab.sim.times import Floats, Times


class Overload(Mistake):
    """A station is offered as much as it can do, or more: waiting times have no limit. `station` and `load` (ρ) say."""

    def __init__(self, group: Stations, station: int, load: float, allowed: float) -> None:
        self.group, self.station, self.load = group.name, station, load
        super().__init__(
            f"{group.name}[{station}] is offered {load:.3g} times what it can do ({(load - 1) * 100:+.1f} %, "
            f"{allowed:g} workers); allowed is below 1: lower the rates, shorten its times or add workers"
        )


@dataclass(frozen=True)
class Stream:
    """Visits that are alike: `rate_per_s` in all, spread evenly over members `first` … `first + count - 1`."""

    group: str
    first: int
    count: int
    rate_per_s: float
    time: Times


def streams(network: Network) -> Iterator[Stream]:
    """Every visit of every path, with how often it is made."""
    for one in network.requests:
        yield from _along(one.path, one.rate_per_s, {})


def _along(path: Path, rate: float, known: dict[str, tuple[int, int]]) -> Iterator[Stream]:
    for step in path:
        match step:
            case Pick(who, first, count):
                known[who] = (first, count)
            case Visit(group, who, time):
                yield Stream(group, *known[who], rate, time)
            case Fork(branches):
                for branch in branches:
                    yield from _along(branch, rate, dict(known))
            case Maybe(chance, inner):
                yield from _along(inner, rate * chance, dict(known))
            case Again(chance, inner):
                yield from _along(inner, rate / (1 - chance), dict(known))


@dataclass(frozen=True, eq=False)
class Demand:
    """Of one group: arrivals/s, and offered load (ρ, 1 = all it can do), by station; `share`: of a CPU a worker has."""

    group: Stations
    rate_per_s: Floats
    load: Floats
    work: Floats  # expected service seconds per second


def spread(group: Stations, stream: Stream) -> Floats:
    """A stream's visits/s by station of the group."""
    members = np.zeros(group.members)
    members[stream.first : stream.first + stream.count] = stream.rate_per_s / stream.count
    if group.places is None:
        return members
    stations: Floats = np.bincount(group.places, members, group.count).astype(np.float64)
    return stations


def demands(network: Network) -> dict[str, Demand]:
    """What is offered to every station, by group; raises Overload where ρ >= 1."""
    rates = {g.name: np.zeros(g.count) for g in network.stations}
    works = {g.name: np.zeros(g.count) for g in network.stations}
    groups = {g.name: g for g in network.stations}
    for stream in streams(network):
        visits = spread(groups[stream.group], stream)
        rates[stream.group] += visits
        works[stream.group] += visits * stream.time.mean
    return {name: _checked(group, rates[name], works[name]) for name, group in groups.items()}


def _checked(group: Stations, rate: Floats, work: Floats) -> Demand:
    share = group.quota.budget_s / group.quota.period_s if group.quota else 1.0
    load = work / (group.servers * share)
    if (worst := int(load.argmax())) >= 0 and load[worst] >= 1:
        raise Overload(group, worst, float(load[worst]), group.servers * share)
    return Demand(group, rate, load, work)
