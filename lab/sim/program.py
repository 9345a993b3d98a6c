"""A network compiled into the flat arrays that the request-level engine walks.

Each step of a path is one row of 64 bytes, so that a visit reads one cache line of program.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lab.record import Arrivals
from lab.sim.network import Again, Fork, Integers, Maybe, Network, Outage, Path, Pause, Pick, Stations, Visit
from lab.sim.times import EXPONENTIAL, FIXED, GAMMA, QUANTILES, Exponential, Fixed, Floats, Gamma, Quantiles, Times

VISIT, PAUSE, PICK, FORK, MAYBE, AGAIN, END = range(7)

# columns of a row
OP, SLOT, BASE, PLACES, KIND, TABLE, CELLS, GROUP, EXIT, FIRST, COUNT = range(11)
COLUMNS = 16

PLAIN, SEVERAL, SPECIAL = range(3)  # one worker; several; outages or a quota
OUTAGES = tuple(Outage)


@dataclass(eq=False)
class Program:
    """What `lab.sim.kernel.run` reads. Rows of `code` are int32, of `real` two doubles (parameters of times, chances).

    `groups`: base, servers, treatment, first of workers, first and end of its outages. `downs`: first, end, kind,
    start, end, factor. `quotas`: budget and period by group (0: none). `branches`: entry rows of forks.
    """

    network: Network
    code: Integers
    real: Floats
    tables: Floats
    places: Integers
    branches: Integers
    entries: Integers
    gaps: Floats  # mean time between arrivals by class; negative: always this time, not Poisson
    groups: npt.NDArray[np.int64]
    downs: Floats
    quotas: Floats
    slots: int
    widest: int  # branches of the widest fork


def program(network: Network) -> Program:
    """Compile; costs as much as the paths are long, not as there are members."""
    writer = _Writer(network)
    entries = [writer.write(one.path) for one in network.requests]
    gaps = [(1 if one.arrivals is Arrivals.POISSON else -1) / one.rate_per_s for one in network.requests]
    downs, groups = _groups(network)
    quotas = [(g.quota.budget_s, g.quota.period_s) if g.quota else (0.0, 0.0) for g in network.stations] or [(0.0, 0.0)]
    return Program(
        network,
        np.array(writer.code, np.int32),
        np.array(writer.real),
        np.concatenate(writer.tables) if writer.tables else np.zeros(1),
        np.concatenate(writer.places) if writer.places else np.zeros(1, np.int32),
        np.array(writer.branches or [0], np.int32),
        np.array(entries, np.int32),
        np.array(gaps),
        groups,
        downs,
        np.array(quotas),
        max(1, writer.most),
        writer.widest,
    )


def _groups(network: Network) -> tuple[Floats, npt.NDArray[np.int64]]:
    downs: list[tuple[float, ...]] = []
    rows: list[tuple[int, ...]] = []
    base = workers = 0
    for group in network.stations:
        mine = sorted((d for d in network.downs if d.stations == group.name), key=lambda d: d.start_s)
        special = SPECIAL if mine or group.quota else SEVERAL if group.servers > 1 else PLAIN
        rows.append((base, group.servers, special, workers, len(downs), len(downs) + len(mine)))
        for d in mine:
            ends = (base + d.first, base + d.first + d.count)
            downs.append((*ends, OUTAGES.index(d.kind), d.start_s, d.end_s, d.factor))
        base += group.count
        workers += group.count * group.servers if group.servers > 1 else 0
    return np.array(downs or [(0.0,) * 6]), np.array(rows or [(0,) * 6], np.int64)


@dataclass
class _Writer:
    network: Network
    code: list[list[int]] = field(default_factory=list)
    real: list[tuple[float, float]] = field(default_factory=list)
    tables: list[Floats] = field(default_factory=list)
    places: list[Integers] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)  # of what is in tables and places already, by identity
    most: int = 0
    widest: int = 1

    def __post_init__(self) -> None:
        self.groups: dict[str, tuple[int, int, Stations]] = {}
        base = 0
        for number, group in enumerate(self.network.stations):
            self.groups[group.name] = (number, base, group)
            base += group.count

    def write(self, path: Path, names: dict[str, int] | None = None) -> int:
        """The rows of one frame (a request, or a branch of a fork), ended by END; returns the first."""
        forks: list[tuple[int, Fork, dict[str, int]]] = []
        first = len(self.code)
        self._steps(path, dict(names or {}), forks)
        end = self._row(END)
        for row in self.code[first : end + 1]:
            row[EXIT] = end
        for at, fork, known in forks:  # branches are frames of their own, written behind this one
            starts = [self.write(branch, known) for branch in fork.branches]
            self.code[at][FIRST], self.code[at][COUNT] = len(self.branches), len(starts)
            self.branches += starts
            self.widest = max(self.widest, len(starts))
        return first

    def _steps(self, path: Path, names: dict[str, int], forks: list[tuple[int, Fork, dict[str, int]]]) -> None:
        for step in path:
            match step:
                case Pick(who, first, count):
                    slot = names.setdefault(who, len(names))
                    self.most = max(self.most, len(names))
                    row = self._row(PICK)
                    self.code[row][SLOT], self.code[row][FIRST], self.code[row][COUNT] = slot, first, count
                case Visit(name, who, time):
                    row = self._row(VISIT, time)
                    self.code[row][SLOT] = names[who]
                    self._station(row, name)
                case Pause(time):
                    self._row(PAUSE, time)
                case Fork():
                    forks.append((self._row(FORK), step, dict(names)))
                case Maybe(chance, inner):
                    row = self._row(MAYBE)
                    self.real[row] = (chance, 0.0)
                    self._steps(inner, dict(names), forks)
                    self.code[row][FIRST] = len(self.code)
                case Again(chance, inner):
                    start = len(self.code)
                    self._steps(inner, dict(names), forks)
                    row = self._row(AGAIN)
                    self.real[row] = (chance, 0.0)
                    self.code[row][FIRST] = start

    def _station(self, row: int, name: str) -> None:
        number, base, group = self.groups[name]
        self.code[row][BASE], self.code[row][GROUP], self.code[row][PLACES] = base, number, -1
        if group.places is not None:
            if id(group.places) not in self.offsets:
                self.offsets[id(group.places)] = sum(map(len, self.places))
                self.places.append(group.places)
            self.code[row][PLACES] = self.offsets[id(group.places)]

    def _row(self, op: int, time: Times | None = None) -> int:
        row, real = [0] * COLUMNS, (0.0, 0.0)
        row[OP] = op
        match time:
            case Fixed(time_s):
                row[KIND], real = FIXED, (time_s, 0.0)
            case Exponential(mean_s):
                row[KIND], real = EXPONENTIAL, (mean_s, 0.0)
            case Gamma(shape, mean_s):
                row[KIND], real = GAMMA, (shape, mean_s / shape)
            case Quantiles():
                row[KIND], row[CELLS] = QUANTILES, len(time.values) - 1
                row[TABLE] = self._table(time.values)
        self.code.append(row)
        self.real.append(real)
        return len(self.code) - 1

    def _table(self, values: Floats) -> int:
        if id(values) not in self.offsets:
            self.offsets[id(values)] = sum(map(len, self.tables))
            self.tables.append(values)
        return self.offsets[id(values)]
