"""From a fleet and an architecture to a network of queues: which stations a request passes on its way.

A pass is one message through one proxy. Its CPU time occupies the proxy's worker; the rest of its measured latency
(wake-ups, copies, the kernel's work beside it) is time that passes without a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lab.record import Mistake
from lab.sim.fleet import Fleet
from lab.sim.graph import Call
from lab.sim.memory import Habits
from lab.sim.network import Maybe, Network, Path, Pause, Pick, Requests, Stations, Step, Visit
from lab.sim.times import Fixed, Times

NOTHING = Fixed(0.0)
RAREST = 1e-3  # calls that fewer requests than this make are left out of a path, and their share is said


@dataclass(frozen=True)
class Costs:
    """What one architecture adds to a call, one way each: `visit` in a proxy's worker, `pause` beside it, `wire`."""

    wire: Times
    visit: Times = NOTHING
    pause: Times = NOTHING


@dataclass(frozen=True)
class Model:
    """A network, and how much of the graph is in it: `covered` is the share of calls that paths make."""

    network: Network
    covered: float


Way = Callable[[str, str, Costs], Path]
"""(caller's slot, callee's slot, costs) -> what a message passes on its way from the one to the other."""


def _straight(_caller: str, _callee: str, costs: Costs) -> Path:
    return (Pause(costs.wire),)


def _by_node(caller: str, _callee: str, costs: Costs) -> Path:
    return (Visit("proxy", caller, costs.visit), Pause(costs.pause), Pause(costs.wire))


def _by_sidecars(caller: str, callee: str, costs: Costs) -> Path:
    passed = [(Visit("proxy", who, costs.visit), Pause(costs.pause)) for who in (caller, callee)]
    return (*passed[0], Pause(costs.wire), *passed[1])


WAYS: dict[str, Way] = {"none": _straight, "ebpf": _straight, "pernode": _by_node, "sidecar": _by_sidecars}


def fleet_network(
    arm: str, fleet: Fleet, costs: Costs, habits: Habits, rate_per_s: float, app_servers: int = 8
) -> Model:
    """Requests enter from outside at `rate_per_s` in all and walk the graph, one call after another.

    An answer passes the same proxies as its request, and costs the same there. Callers pick a callee's pod by chance.
    """
    if arm not in WAYS:
        raise Mistake(f"no architecture {arm!r} in the simulator; there are {', '.join(WAYS)}")
    walk = _Walk(fleet, WAYS[arm], costs)
    entries = fleet.graph.entries
    requests = tuple(
        Requests(f"to {name}", rate_per_s / len(entries), tuple(walk.enter(name, 1 / len(entries)))) for name in entries
    )
    stations = [Stations("app", fleet.pods, app_servers)]
    if arm == "pernode":
        places = fleet.node_of.astype(np.int32)
        stations.append(Stations("proxy", fleet.nodes, habits.node_workers, places=places))
    if arm == "sidecar":
        stations.append(Stations("proxy", fleet.pods, habits.workers))
    calls = fleet.graph.calls_per_request()
    return Model(Network(tuple(stations), requests), walk.made / calls if calls else 1.0)


class _Walk:
    """Paths through the graph's services; `made` sums the calls that they make per request from outside."""

    def __init__(self, fleet: Fleet, way: Way, costs: Costs) -> None:
        self.fleet, self.way, self.costs, self.made = fleet, way, costs, 0.0
        ends = np.cumsum(fleet.replicas)
        names = [service.name for service in fleet.graph.services]
        self.pods = {n: (int(end - many), int(many)) for n, end, many in zip(names, ends, fleet.replicas, strict=True)}

    def enter(self, name: str, share: float) -> Iterator[Step]:
        """A request from outside at a service."""
        yield Pick("depth0", *self.pods[name])
        yield from self.serve(name, share, 0)

    def serve(self, name: str, share: float, depth: int) -> Iterator[Step]:
        """The service's own work, then its calls, in the order of the graph."""
        yield Visit("app", f"depth{depth}", Fixed(self.fleet.graph.service(name).work_s))
        for call in self.fleet.graph.callees[name]:
            whole, rest = divmod(call.times, 1)
            for chance in [1.0] * int(whole) + [rest] * (rest > 0):
                if share * chance >= RAREST:
                    path = tuple(self.call(call, share * chance, depth))
                    yield from path if chance == 1.0 else (Maybe(chance, path),)

    def call(self, call: Call, share: float, depth: int) -> Iterator[Step]:
        """There, the callee's work, and back."""
        caller, callee = f"depth{depth}", f"depth{depth + 1}"
        self.made += share
        there = self.way(caller, callee, self.costs)
        yield Pick(callee, *self.pods[call.callee])
        yield from there
        yield from self.serve(call.callee, share, depth + 1)
        yield from reversed(there)
