"""Where architectures trade places: maps of who is cheapest, and the sentence that says under which condition.

Maps take an even cluster: all services alike, each with as many pods, in a binary tree of calls. So an axis changes one
thing, and not a graph's luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from lab.sim.calibration import Calibration, Quantity
from lab.sim.fleet import MOST_PODS, Fleet
from lab.sim.graph import Call, Graph, Service
from lab.sim.latency import cores
from lab.sim.memory import ARMS, Habits, total

COMPARED = ("ebpf", "pernode", "sidecar")
PODS = (5, 10, 20, 30, 50, 110)
SERVICES = (10, 50, 200, 500, 1000)
CONNECTIONS = (1.0, 4.0, 16.0, 64.0, 256.0)
RATES = (1e3, 1e4, 1e5, 1e6)
FOOTPRINTS = (1e6, 3e6, 10e6, 30e6, 70e6, 150e6)
MAP_NODES = 100


@dataclass(frozen=True)
class Map:
    """By row (y) and column (x): the cheapest architecture, and the sidecars' cost over that of node proxies."""

    name: str
    unit: str
    x: str
    xs: tuple[float, ...]
    y: str
    ys: tuple[float, ...]
    cheapest: tuple[tuple[str, ...], ...]
    ratio: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=256)
def even(nodes: int, pods_per_node: int, services: int) -> Fleet:
    """A cluster of like services; fewer where there are not pods enough for all."""
    pods = nodes * pods_per_node
    services = min(services, pods)
    share, rest = divmod(pods, services)
    made = tuple(Service(f"s{i}", share + (i < rest)) for i in range(services))
    return Fleet(nodes, Graph(made, tuple(Call(f"s{(i - 1) // 2}", f"s{i}") for i in range(1, services))))


def maps(calibration: Calibration, habits: Habits) -> tuple[Map, ...]:
    """Memory over pods per node × services, connections × rate and footprint × pods per node; CPU over the second."""

    def sized(pods: float, services: float) -> dict[str, float]:
        return _bytes(even(MAP_NODES, int(pods), int(services)), habits, calibration)

    def linked(connections: float, _rate: float) -> dict[str, float]:
        return _bytes(even(MAP_NODES, 30, 200), replace(habits, connections_per_callee=connections), calibration)

    def busy(_connections: float, rate: float) -> dict[str, float]:
        return {arm: cores(arm, calibration, rate).value for arm in COMPARED}

    def weighed(footprint: float, pods: float) -> dict[str, float]:
        return _bytes(even(MAP_NODES, int(pods), 200), habits, _with(calibration, footprint))

    return (
        _map("memory", "bytes", ("pods per node", PODS), ("services", SERVICES), sized),
        _map("memory", "bytes", ("connections per callee", CONNECTIONS), ("calls/s in all", RATES), linked),
        _map("processors", "cores", ("connections per callee", CONNECTIONS), ("calls/s in all", RATES), busy),
        _map("memory", "bytes", ("bytes of a proxy's own", FOOTPRINTS), ("pods per node", PODS), weighed),
    )


def _map(
    name: str,
    unit: str,
    x: tuple[str, Sequence[float]],
    y: tuple[str, Sequence[float]],
    cost: Callable[[float, float], dict[str, float]],
) -> Map:
    found = [[cost(a, b) for a in x[1]] for b in y[1]]
    return Map(
        name, unit, x[0], tuple(x[1]), y[0], tuple(y[1]),
        tuple(tuple(min(one, key=one.__getitem__) for one in row) for row in found),
        tuple(tuple(one["sidecar"] / one["pernode"] if one["pernode"] else 0.0 for one in row) for row in found),
    )  # fmt: skip


def _bytes(fleet: Fleet, habits: Habits, calibration: Calibration) -> dict[str, float]:
    return {arm: total(ARMS[arm](fleet, habits), calibration, 2).value for arm in COMPARED}


def _with(calibration: Calibration, footprint: float) -> Calibration:
    given = {**calibration.quantities, "proxy.private": Quantity(footprint, "bytes", (), "given")}
    return replace(calibration, quantities=given)


def words(nodes: int, pods_per_node: int, services: int, calibration: Calibration, habits: Habits) -> Iterator[str]:
    """Under which conditions sidecars need less memory than node proxies in an even cluster of this size."""
    fleet = even(nodes, pods_per_node, services)
    node = _bytes(fleet, habits, calibration)["pernode"]
    bare = _bytes(fleet, habits, _with(calibration, 0.0))["sidecar"]
    if (each := (node - bare) / fleet.pods) > 0:
        yield f"sidecars need less memory than node proxies if each holds less than {each / 1e6:.1f} MB of its own"
    else:
        more = "sidecars need more memory than node proxies"
        yield f"{more} at {pods_per_node} pods a node, even if each held nothing but its tables and connections"
    fewer = [
        n for n in range(1, 111) if nodes * n <= MOST_PODS and _less(even(nodes, n, services), habits, calibration)
    ]
    if not fewer:
        yield "at no number of pods a node (1 to 110) do sidecars need less memory than node proxies"
    elif fewer == list(range(1, len(fewer) + 1)):
        yield f"sidecars need less memory than node proxies up to {fewer[-1]} pod{'s' if fewer[-1] > 1 else ''} a node"
    else:
        yield f"sidecars need less memory than node proxies at {', '.join(map(str, fewer))} pods a node"


def _less(fleet: Fleet, habits: Habits, calibration: Calibration) -> bool:
    found = _bytes(fleet, habits, calibration)
    return found["sidecar"] < found["pernode"]
