"""Graphs with the shape that large clusters show, from a seed.

Luo et al. (Characterizing Microservice Dependency and Performance: Alibaba Trace Analysis, SoCC 2021) found call graphs
that are more trees than meshes, heavy-tailed in size, and one service in twenty shared by most applications. Grown here
by preferential attachment (Barabási and Albert, Science 286, 1999): every new service gets a caller among the earlier
ones, and a few get many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lab.record import Mistake
from lab.sim.graph import Call, Graph, Service

HOT_SHARE = 0.05  # of services are shared by many callers
HOT_CALLERS = 0.10  # of the services before it call a hot one
TAIL = 1.3  # exponent of the Pareto law that replicas follow
WIDEST = 12  # services that one service calls as their only caller
MEAN_CALLS = 5.0  # by default a request from outside becomes so many calls


def generate(
    services: int, pods: int, seed: int, calls_per_request: float = MEAN_CALLS, work_s: float = 0.001
) -> Graph:
    """A graph of `services` with `pods` replicas in all, one entry, and on average `calls_per_request` calls each."""
    if not 1 <= services <= pods:
        raise Mistake(
            f"services={services} and pods={pods}; every service needs a pod: allowed are 1 to {pods} services"
        )
    dice = np.random.default_rng(seed)
    replicas = _replicas(services, pods, dice)
    names = [f"s{i:0{len(str(services - 1))}d}" for i in range(services)]
    made = tuple(Service(name, int(n), work_s) for name, n in zip(names, replicas, strict=True))
    edges = _edges(services, dice)
    return Graph(made, tuple(Call(names[a], names[b], t) for (a, b), t in _weighed(edges, services, calls_per_request)))


def _replicas(services: int, pods: int, dice: np.random.Generator) -> npt.NDArray[np.int64]:
    """Heavy-tailed, each at least one, `pods` in all."""
    weight = dice.pareto(TAIL, services) + 1
    extra = pods - services
    share: npt.NDArray[np.int64] = np.floor(weight / weight.sum() * extra).astype(np.int64)
    share[np.argsort(-weight)[: extra - int(share.sum())]] += 1
    return share + 1


def _edges(services: int, dice: np.random.Generator) -> list[tuple[int, int]]:
    """(caller, callee) by number, callers first: a tree by preferential attachment, and hot services for many."""
    edges: list[tuple[int, int]] = []
    fan = np.ones(services)
    for i in range(1, services):
        open_ = fan[:i] * (fan[:i] <= WIDEST)
        caller = int(dice.choice(i, p=open_ / open_.sum()))
        fan[caller] += 1
        edges.append((caller, i))
    known = set(edges)
    hot = dice.choice(np.arange(1, services), size=int(services * HOT_SHARE), replace=False) if services > 1 else ()
    for callee in sorted(int(h) for h in hot):
        callers = dice.choice(callee, size=int(callee * HOT_CALLERS), replace=False)
        edges += [(int(c), callee) for c in sorted(callers) if (int(c), callee) not in known]
    return edges


def _weighed(
    edges: list[tuple[int, int]], services: int, calls_per_request: float
) -> list[tuple[tuple[int, int], float]]:
    """Each call as often as makes `calls_per_request` of them all: one factor for every edge, found by bisection."""
    if not edges:
        return []

    def total(times: float) -> float:
        visits = np.zeros(services)
        visits[0] = 1.0
        calls = 0.0
        for caller, callee in sorted(edges):
            visits[callee] += visits[caller] * times
            calls += visits[caller] * times
        return calls

    low, high = 0.0, 1.0
    while total(high) < calls_per_request and high < 64:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < calls_per_request else (low, middle)
    return [(edge, high) for edge in edges]
