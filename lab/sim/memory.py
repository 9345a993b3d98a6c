"""Memory of a fleet: how many of what each architecture holds, times what one of them was measured to hold.

    bytes = proxies · base + clusters · c + endpoints · e + routes · r + listeners · l + workers · w + connections · k
            + shared program text once a node + sockets

The sum over proxies is linear, so it is a dot product of counts (a `Bill`) and coefficients. Errors of coefficients
are common to all proxies and do not shrink with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lab.record import Mistake
from lab.sim.calibration import HIGH, LOW, Calibration
from lab.sim.fleet import Fleet, Tables, Visibility
from lab.summary import Estimate

DRAWS = 1000


@dataclass(frozen=True)
class Habits:
    """What of the fleet is not in its graph."""

    visibility: Visibility = Visibility.FULL
    connections_per_callee: float = 4.0  # that a pod keeps open to each service it calls
    workers: int = 2  # threads of a proxy, as Istio's default for sidecars
    node_workers: int = 4  # of a proxy that a whole node shares
    routes_per_service: float = 1.0
    listeners: int = 2  # inbound and outbound

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Visibility) and not 0 < value < 10_000:
                raise Mistake(f"{name}={value}; it must be above 0 and below 10000")


@dataclass(frozen=True)
class Bill:
    """How many of each calibrated quantity an architecture holds in the whole fleet, by the quantity's name."""

    arm: str
    counts: Mapping[str, float]


def connections(fleet: Fleet, habits: Habits) -> float:
    """Connections that applications keep open to each other in the whole fleet."""
    callees = np.asarray(fleet.calls.sum(axis=1))
    return float((callees * fleet.replicas).sum()) * habits.connections_per_callee


def sockets(fleet: Fleet, habits: Habits, hops: int) -> dict[str, float]:
    """Two ends for each connection that an application's connection becomes."""
    return {"socket.idle": 2 * hops * connections(fleet, habits)}


def none(fleet: Fleet, habits: Habits) -> Bill:
    """No mesh: only the applications' own sockets."""
    return Bill("none", sockets(fleet, habits, 1))


def ebpf(fleet: Fleet, habits: Habits) -> Bill:
    """An agent and its maps a node; state for each connection at the server's end."""
    agents = {"agent.private": fleet.nodes, "bpf.base": fleet.nodes, "bpf.connection": connections(fleet, habits)}
    known = fleet.node_tables(habits.visibility).endpoints.sum()
    return Bill("ebpf", agents | {"bpf.endpoint": float(known)} | sockets(fleet, habits, 1))


def pernode(fleet: Fleet, habits: Habits) -> Bill:
    """A proxy a node, on the way of all its pods; connections pass the proxy of the client's node."""
    tables = fleet.node_tables(habits.visibility)
    counts = _proxies(tables, habits, habits.node_workers, fleet.nodes) | sockets(fleet, habits, 2)
    agents = {"agent.private": fleet.nodes, "proxy.connection": connections(fleet, habits)}
    return Bill("pernode", counts | agents)


def sidecar(fleet: Fleet, habits: Habits) -> Bill:
    """A proxy a pod; connections pass the client's and the server's."""
    tables = fleet.sidecar_tables(habits.visibility)
    counts = _proxies(tables, habits, habits.workers, fleet.nodes) | sockets(fleet, habits, 3)
    return Bill("sidecar", counts | {"proxy.connection": 2 * connections(fleet, habits)})


def _proxies(tables: Tables, habits: Habits, workers: int, nodes: int) -> dict[str, float]:
    proxies, services = len(tables.services), float(tables.services.sum())
    return {
        "proxy.private": float(proxies),
        "proxy.shared": float(nodes),  # program text, which the proxies of a node have in common
        "proxy.cluster": services,
        "proxy.endpoint": float(tables.endpoints.sum()),
        "proxy.route": services * habits.routes_per_service,
        "proxy.listener": float(proxies * habits.listeners),
        "proxy.worker": float(proxies * (workers - 1)),  # the base was measured with one
        "proxy.worker_cluster": services * (workers - 1),
    }


ARMS: Mapping[str, Callable[[Fleet, Habits], Bill]] = {a.__name__: a for a in (none, ebpf, pernode, sidecar)}


def total(bill: Bill, calibration: Calibration, draws: int = DRAWS) -> Estimate:
    """Bytes of the whole fleet."""
    names = sorted(bill.counts)
    counts = np.array([bill.counts[name] for name in names])
    value = float(counts @ [calibration.quantity(name).value for name in names])
    low, high = np.quantile(calibration.draws(names, draws) @ counts, (LOW, HIGH))
    return Estimate(value, float(low), float(high))


def parts(bill: Bill, calibration: Calibration) -> dict[str, float]:
    """Bytes by quantity, for a stacked picture."""
    return {name: count * calibration.quantity(name).value for name, count in bill.counts.items()}
