"""Which input decides: one at a time at the ends of its interval (tornado), and all together (Sobol indices).

Intervals come from draws of the calibration. Its error is common to all proxies: it does not shrink with their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from SALib.analyze import sobol as analysis  # type: ignore[import-untyped, unused-ignore]
from SALib.sample import sobol as sampling  # type: ignore[import-untyped, unused-ignore]

from lab.sim.calibration import Calibration
from lab.sim.fleet import Fleet
from lab.sim.memory import ARMS, Habits

RANGES: Mapping[str, tuple[float, float]] = {  # of habits: assumed, wide on purpose
    "connections_per_callee": (1.0, 16.0),
    "workers": (1.0, 4.0),
    "node_workers": (2.0, 8.0),
    "routes_per_service": (1.0, 4.0),
    "listeners": (2.0, 10.0),
}
SAMPLES = 64  # times (inputs + 2) evaluations an arm


@dataclass(frozen=True)
class Swing:
    """Bytes of the whole fleet with one input at the low and at the high end of its range, all others as they are."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Index:
    """Shares of the variance of the total: by this input alone, and by it with all others. Half width of 95 %."""

    name: str
    first: float
    total: float
    width: float


class _Memory:
    """Bytes of one architecture as a function of coefficients and habits; the fleet stays as it is."""

    def __init__(self, arm: str, fleet: Fleet, calibration: Calibration, habits: Habits) -> None:
        self.arm, self.fleet, self.habits = arm, fleet, habits
        counts = ARMS[arm](fleet, habits).counts
        self.values = {name: calibration.quantity(name).value for name in counts}
        moved = {n: calibration.quantity(n).interval() for n in counts if counts[n]}
        ranges = {**moved, **RANGES}
        self.ranges = {n: r for n, r in ranges.items() if r[0] < r[1] and self._matters(n, r)}

    def _matters(self, name: str, ends: tuple[float, float]) -> bool:
        return self({name: ends[0]}) != self({name: ends[1]})

    def __call__(self, changed: Mapping[str, float]) -> float:
        habits = replace(self.habits, **{n: v for n, v in changed.items() if n in RANGES})  # type: ignore[arg-type]
        counts = ARMS[self.arm](self.fleet, habits).counts
        return sum(many * changed.get(name, self.values[name]) for name, many in counts.items())


def tornado(arm: str, fleet: Fleet, calibration: Calibration, habits: Habits) -> tuple[Swing, ...]:
    """Every input that moves the total, the widest first."""
    of = _Memory(arm, fleet, calibration, habits)
    swings = [Swing(name, of({name: low}), of({name: high})) for name, (low, high) in of.ranges.items()]
    return tuple(sorted(swings, key=lambda s: -abs(s.high - s.low)))


def sobol(arm: str, fleet: Fleet, calibration: Calibration, habits: Habits, seed: int) -> tuple[Index, ...]:
    """Sobol indices by Saltelli's scheme (SALib), inputs uniform in their ranges; the largest total index first."""
    of = _Memory(arm, fleet, calibration, habits)
    names = list(of.ranges)
    if len(names) < 2:
        return tuple(Index(name, 1.0, 1.0, 0.0) for name in names)
    problem = {"num_vars": len(names), "names": names, "bounds": [of.ranges[n] for n in names]}
    rows = sampling.sample(problem, SAMPLES, calc_second_order=False, seed=seed)
    values = np.array([of(dict(zip(names, map(float, row), strict=True))) for row in rows])
    found = analysis.analyze(problem, values, calc_second_order=False, seed=seed)
    indices = [
        Index(name, float(s), float(t), float(w))
        for name, s, t, w in zip(names, found["S1"], found["ST"], found["ST_conf"], strict=True)
    ]
    return tuple(sorted(indices, key=lambda i: -i.total))
