"""What goes wrong, request by request: a proxy that is down, one that is replaced, a neighbour that is noisy.

A small cluster stands for the large one: what a failing node proxy takes with it is the share of pods on its node, so
the share of all requests shrinks with the number of nodes, and that of its own node's does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lab.sim.calibration import Calibration
from lab.sim.crossover import even
from lab.sim.kernel import FAILURES, REQUESTS
from lab.sim.latency import costs
from lab.sim.memory import Habits
from lab.sim.network import Down, Network, Outage, Pick, Quota, Requests, Stations, Visit
from lab.sim.paths import fleet_network
from lab.sim.requests import Outcome, simulate
from lab.sim.times import Gamma

NODES, PODS, SERVICES = 10, 30, 2  # one call a request
RATE = 4000.0  # requests/s from outside
DOWN_S, START_S, SECONDS, BINS = 0.5, 1.0, 4.0, 40
TENANTS = 10
VICTIM_LOAD, NOISY_LOAD = 0.03, 1.6  # of one worker: each victim, and the noisy one while it is so


@dataclass(frozen=True)
class Trouble:
    """One scenario in one architecture. Shares are of all requests that entered in the 0.5 s of the outage."""

    name: str
    arm: str
    failed: float
    p50_s: float
    p99_s: float
    p999_s: float


def failures(calibration: Calibration, seed: int) -> tuple[Trouble, ...]:
    """One proxy down for DOWN_S, and one replaced with drain, in both architectures that have proxies."""
    found = []
    for arm in ("pernode", "sidecar"):
        model = fleet_network(arm, even(NODES, PODS, SERVICES), costs(arm, calibration), Habits(), RATE)
        kinds: tuple[tuple[str, Outage | None], ...] = (
            ("nothing", None),
            ("one proxy down, requests fail", Outage.FAIL),
            ("one proxy down, requests wait", Outage.WAIT),
            ("one proxy replaced, with drain", Outage.DRAIN),
        )
        for name, kind in kinds:
            downs = () if kind is None else (Down("proxy", 0, 1, START_S, START_S + DOWN_S, kind),)
            found.append(_told(name, arm, simulate(replace(model.network, downs=downs), SECONDS, seed, bins=BINS)))
    return tuple(found)


def _told(name: str, arm: str, outcome: Outcome) -> Trouble:
    per_s = BINS / SECONDS
    during = slice(int(START_S * per_s), int((START_S + DOWN_S) * per_s))
    line = np.sum([one.line[during] for one in outcome.classes], axis=(0, 1))
    histogram = outcome.classes[0].histogram
    for one in outcome.classes[1:]:
        histogram = histogram + one.histogram
    entered = line[REQUESTS] + line[FAILURES]
    failed = float(line[FAILURES] / entered) if entered else 0.0
    return Trouble(name, arm, failed, *(histogram.quantile(q) for q in (0.5, 0.99, 0.999)))


def neighbours(calibration: Calibration, seed: int) -> tuple[Trouble, ...]:
    """What the quiet tenants of a node feel when one sends more than a worker can do."""
    return tuple(
        _told(name, arm, outcome) for name, arm, outcome in _neighbours(costs("pernode", calibration).visit.mean, seed)
    )


def _neighbours(visit_s: float, seed: int) -> Iterator[tuple[str, str, Outcome]]:
    quota = Quota(0.02)
    ways = (
        ("quiet, shared worker", "pernode", None, 1, 0.5),
        ("noisy, shared worker", "pernode", None, 1, NOISY_LOAD),
        ("noisy, shared worker with a quota of 20 % for all", "pernode", quota, 1, NOISY_LOAD),
        ("noisy, a worker each", "sidecar", None, TENANTS, NOISY_LOAD),
        ("noisy, a worker each with a quota of 20 %", "sidecar", quota, TENANTS, NOISY_LOAD),
    )
    for name, arm, limit, workers, load in ways:
        time = Gamma(4.0, visit_s)
        places = np.arange(TENANTS, dtype=np.int32) % workers
        quiet = Requests(
            "quiet",
            VICTIM_LOAD * (TENANTS - 1) / visit_s,
            (Pick("who", 1, TENANTS - 1), Visit("proxy", "who", time)),
        )
        noisy = Requests("noisy", load / visit_s, (Pick("who", 0, 1), Visit("proxy", "who", time)))
        network = Network((Stations("proxy", workers, 1, limit, places),), (quiet, noisy))
        outcome = simulate(network, SECONDS, seed, bins=BINS, overload=True)
        yield name, arm, replace(outcome, classes=(outcome.of("quiet"),))
