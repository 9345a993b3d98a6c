"""The closed-form engine: sojourn distributions of a network's requests by Fourier transform.

A station with Poisson arrivals at rate λ and service times S has, at load ρ, the waiting time of Pollaczek and
Khinchine: a geometric sum of residual service times, φ_W = (1 - ρ) / (1 - ρ φ_R). With c workers: none with probability
1 - C (Erlang's C), else the same sum with R/c in place of R (Nozaki and Ross, J. Appl. Prob. 15, 1978). Exact for c = 1
and for exponential service; elsewhere a wait is missed by about a tenth (c = 2), a fifth (c = 8, ρ >= 0.5), more where
waits are rare: up to 2.4 % of the sojourn at one station for cv² between 0 and 4. Steps of a path are convolved:
visits count as independent; of a fork, the maximum of its branches taken as independent, where a branch first waits
for its elder siblings at the station that all of them begin at (they arrive there at one instant).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lab.record import Mistake
from lab.sim.demand import Stream, demands, spread, streams
from lab.sim.network import Again, Fork, Maybe, Network, Path, Pause, Pick, Stations, Visit
from lab.sim.times import Floats, Times

Transform: TypeAlias = npt.NDArray[np.complex128]

POINTS = 1 << 15
ALIKE = 64  # stations of a group are binned by load; each bin is one wait


@dataclass(frozen=True, eq=False)
class Sojourn:
    """Times of one class: `density[k]` is the probability of about k · step_s; its mean is kept exactly."""

    name: str
    density: Floats
    step_s: float

    @property
    def mean(self) -> float:
        """s."""
        return float(np.arange(len(self.density)) @ self.density) * self.step_s

    def quantile(self, share: float) -> float:
        """The time, s, that `share` of all stay below."""
        if not 0 <= share < 1:
            raise Mistake(f"a quantile at {share}; allowed are 0 to just below 1")
        below = np.cumsum(self.density)
        at = int(np.searchsorted(below, share))
        part = (share - (below[at - 1] if at else 0.0)) / max(self.density[min(at, len(below) - 1)], 1e-300)
        return float(max(0.0, (at - 0.5 + min(part, 1.0)) * self.step_s))


def sojourns(network: Network, horizon_s: float | None = None, points: int = POINTS) -> dict[str, Sojourn]:
    """The whole distribution of every class's sojourn time; raises Overload where ρ >= 1.

    The grid ends at `horizon_s`; None: doubled until less than 1e-7 lies in its last eighth. Outages and quotas are not
    in these formulas: Mistake.
    """
    if network.downs or any(g.quota for g in network.stations):
        raise Mistake("outages and quotas have no closed form; ask lab.sim.requests.simulate")
    demands(network)
    horizon = horizon_s or _first_guess(network)
    for _ in range(30):
        found = _Grid(network, horizon / points, points).classes()
        if horizon_s or all(s.density[-points // 8 :].sum() < 1e-7 for s in found.values()):
            return found
        horizon *= 2
    raise Mistake("sojourn times have no end that a grid could hold; give horizon_s")


def _first_guess(network: Network) -> float:
    return max(_mean(one.path) for one in network.requests) * 8 + 1e-9


def _mean(path: Path) -> float:
    total = 0.0
    for step in path:
        match step:
            case Visit(_, _, time) | Pause(time):
                total += time.mean
            case Fork(branches):
                total += max(map(_mean, branches))
            case Maybe(chance, inner):
                total += chance * _mean(inner)
            case Again(chance, inner):
                total += _mean(inner) / (1 - chance)
    return total


def erlang_c(servers: int, load: float) -> float:
    """Probability that all `servers` are busy on arrival, at load ρ < 1 per server (Erlang 1917), by Erlang B."""
    blocked, offered = 1.0, servers * load
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1 - load + load * blocked)


@dataclass(eq=False)
class _Grid:
    network: Network
    step: float
    points: int
    services: dict[Times, Transform] = field(default_factory=dict)
    waits: dict[tuple[str, int, int], Transform] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grid: Floats = np.arange(self.points + 2, dtype=np.float64) * self.step
        self.groups = {g.name: g for g in self.network.stations}
        self.streams: dict[str, list[Stream]] = {name: [] for name in self.groups}
        for stream in streams(self.network):
            self.streams[stream.group].append(stream)
        self.demands = demands(self.network)
        self.visits = {name: [spread(self.groups[name], s) for s in found] for name, found in self.streams.items()}

    def classes(self) -> dict[str, Sojourn]:
        return {
            one.name: Sojourn(one.name, self.density(self.path(one.path, {})), self.step)
            for one in self.network.requests
        }

    def density(self, transform: Transform) -> Floats:
        return np.maximum(np.fft.irfft(transform, self.points), 0.0)

    def path(self, path: Path, known: dict[str, tuple[int, int]]) -> Transform:
        total = np.ones(self.points // 2 + 1, np.complex128)
        for step in path:
            match step:
                case Pick(who, first, count):
                    known[who] = (first, count)
                case Visit(group, who, time):
                    total *= self.wait(self.groups[group], *known[who]) * self.service(time)
                case Pause(time):
                    total *= self.service(time)
                case Fork(branches):
                    total *= self.fork(branches, known)
                case Maybe(chance, inner):
                    total *= 1 - chance + chance * self.path(inner, dict(known))
                case Again(chance, inner):
                    once = self.path(inner, dict(known))
                    total *= (1 - chance) * once / (1 - chance * once)
        return total

    def fork(self, branches: tuple[Path, ...], known: dict[str, tuple[int, int]]) -> Transform:
        """Distribution functions of independent branches multiply."""
        below = np.ones(self.points)
        elders: dict[tuple[str, str], Transform] = {}
        for branch in branches:
            transform = self.path(branch, dict(known))
            first = next((step for step in branch if not isinstance(step, Pick)), None)
            if isinstance(first, Visit) and first.who in known and self.groups[first.stations].servers == 1:
                place = (first.stations, first.who)
                before = elders.get(place, np.ones_like(transform))
                transform, elders[place] = transform * before, before * self.service(first.time)
            below *= np.cumsum(self.density(transform))
        whole: Transform = np.fft.rfft(np.diff(below, prepend=0.0))
        return whole

    def service(self, time: Times) -> Transform:
        if time not in self.services:
            self.services[time] = np.fft.rfft(self.masses(time.below(self.grid)))
        return self.services[time]

    def masses(self, below: Floats) -> Floats:
        """Probabilities with the mean kept: second differences of x -> E[min(T, x)]; the rest at the end."""
        slope = np.diff(below) / self.step
        found = np.concatenate([[1 - slope[0]], slope[:-1] - slope[1:]])[: self.points]
        found[-1] += max(0.0, 1 - found.sum())
        return found

    def residual(self, time: Times, servers: int) -> Transform:
        """Of the time that a service in progress still takes, divided by `servers`: density P(S > x) / E[S]."""
        beyond = 1 - time.below(self.grid * servers) / time.mean
        below = np.concatenate([[0.0], np.cumsum((beyond[1:] + beyond[:-1]) / 2 * self.step)])
        whole = time.second / (2 * time.mean * servers)
        if below[-1] > 0 and beyond[-1] < 1e-9:
            below *= whole / below[-1]  # the trapezoids' error
        transform: Transform = np.fft.rfft(self.masses(below))
        return transform

    def wait(self, group: Stations, first: int, count: int) -> Transform:
        """Mean over the stations that a pick may mean; those with like load (to a 64th of the spread) wait alike."""
        key = (group.name, first, count)
        if key not in self.waits:
            members = np.arange(first, first + count)
            places = members if group.places is None else group.places[members]
            loads = self.demands[group.name].load[places]
            bins = np.round((loads - loads.min()) / max(float(np.ptp(loads)), 1e-12) * ALIKE)
            total = np.zeros(self.points // 2 + 1, np.complex128)
            for one in np.unique(bins):
                alike = np.flatnonzero(bins == one)
                middle = places[alike[np.argsort(loads[alike])[len(alike) // 2]]]
                total += len(alike) / count * self.station(group, int(middle))
            self.waits[key] = total
        return self.waits[key]

    def station(self, group: Stations, station: int) -> Transform:
        rates: dict[Times, float] = {}
        for stream, visits in zip(self.streams[group.name], self.visits[group.name], strict=True):
            rates[stream.time] = rates.get(stream.time, 0.0) + float(visits[station])
        work = sum(rate * time.mean for time, rate in rates.items())
        if work <= 0:
            return np.ones(self.points // 2 + 1, np.complex128)
        residual = sum(
            (r * t.mean / work * self.residual(t, group.servers) for t, r in rates.items() if r * t.mean > 0),
            np.zeros(self.points // 2 + 1, np.complex128),
        )
        load = work / group.servers
        busy = erlang_c(group.servers, load)
        found: Transform = 1 - busy + busy * (1 - load) * residual / (1 - load * residual)
        return found if group.servers > 1 else (1 - load) / (1 - load * residual)


def mean_wait(rate_per_s: float, time: Times, servers: int = 1) -> float:
    """Mean waiting time, s: Pollaczek-Khinchine; for several workers Erlang C times (1 + cv²)/2 (Lee, Longton)."""
    load = rate_per_s * time.mean / servers
    if not 0 <= load < 1:
        raise Mistake(f"a load of {load}; allowed is below 1")
    return erlang_c(servers, load) * time.second / (2 * time.mean * servers * (1 - load)) if load else 0.0
