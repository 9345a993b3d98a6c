"""What the control plane sends when the cluster changes: bytes, processor time of proxies, time until all know.

Bytes, CPU and time per update were measured with an Envoy that has the tables of 1,000 services and 15,000 endpoints
(study proxy_memory). One resource is a service with 15 endpoints. How fast the control plane is was not measured:
`ControlPlane` is an assumption, and every figure that rests on it says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lab.sim.calibration import Calibration
from lab.sim.fleet import Fleet, Visibility

MEASURED_ENDPOINTS = 15  # of a service, in the measured updates
SURGE = 2  # updates a replica of a rolling deployment: one appears, one goes


@dataclass(frozen=True)
class ControlPlane:
    """Assumed: waits `debounce_s` for more changes (Istio's default), then sends at most so much a second."""

    debounce_s: float = 0.1
    pushes_per_s: float = 1000.0
    bytes_per_s: float = 125e6  # one network interface of 1 Gbit/s


@dataclass(frozen=True)
class Push:
    """One event in one architecture. `cpu_s`: of all receivers; None where nothing was measured (agents)."""

    arm: str
    visibility: str
    event: str  # `endpoint`, `deployment`, `restart`
    receivers: float
    sent_bytes: float
    cpu_s: float | None
    converged_s: float


RECEIVERS = {"ebpf": "node", "pernode": "node", "sidecar": "pod"}


def pushes(fleet: Fleet, calibration: Calibration, plane: ControlPlane | None = None) -> tuple[Push, ...]:
    """Every event in every architecture that has something to tell, with full and with scoped tables."""
    plane = plane or ControlPlane()
    return tuple(
        push
        for arm in RECEIVERS
        for visibility in Visibility
        for push in _of(arm, visibility, fleet, calibration, plane)
    )


def _of(
    arm: str, visibility: Visibility, fleet: Fleet, calibration: Calibration, plane: ControlPlane
) -> tuple[Push, ...]:
    told = _told(arm, visibility, fleet)
    service = float(fleet.replicas @ fleet.replicas) / fleet.pods  # replicas of the service of a pod picked by chance
    one, mean = (n / MEASURED_ENDPOINTS for n in (service, fleet.pods / len(fleet.replicas)))
    tables = (fleet.node_tables if RECEIVERS[arm] == "node" else fleet.sidecar_tables)(visibility)
    entries, proxies = float(tables.services.sum()), float(len(tables.services))

    def law(update: str, metric: str, updates: float, resources: float) -> float:
        fixed, each = (calibration.quantity(f"push_{update}_{metric}.{term}").value for term in ("fixed", "resource"))
        return max(0.0, updates * fixed + resources * each)

    def push(event: str, updates: float, kinds: tuple[str, ...], resources: float) -> Push:
        size = mean if event == "restart" else one  # of a service's entry, in measured ones
        sent = sum(law(kind, "update_bytes", updates, resources * size) for kind in kinds)
        cpu = sum(law(kind, "update_cpu_s", updates, resources * size) for kind in kinds)
        receivers = told if event != "restart" else proxies
        rounds = updates / max(receivers, 1.0)
        applied = sum(law(kind, "applied_s", 1.0, resources / max(updates, 1.0) * size) for kind in kinds)
        queued = updates / plane.pushes_per_s if event == "restart" else receivers / plane.pushes_per_s
        time = rounds * plane.debounce_s + max(queued, sent / plane.bytes_per_s) + applied
        return Push(arm, visibility, event, receivers, sent, None if arm == "ebpf" else cpu, time)

    rolled = told * SURGE * service
    return (
        push("endpoint", told, ("endpoints",), told),
        push("deployment", rolled, ("endpoints",), rolled),
        push("restart", proxies, ("clusters", "endpoints"), entries),
    )


def _told(arm: str, visibility: Visibility, fleet: Fleet) -> float:
    """How many hear of a change of one pod, picked by chance: all, or those that know its service."""
    by_node = RECEIVERS[arm] == "node"
    if visibility is Visibility.FULL:
        return float(fleet.nodes if by_node else fleet.pods)
    knows = fleet.calls[fleet.service_of]  # a row a pod
    if by_node:
        ones = np.ones(fleet.pods, dtype=np.int64)
        here = sparse.csr_array((ones, (fleet.node_of, np.arange(fleet.pods))), shape=(fleet.nodes, fleet.pods))
        knows = (here @ knows).astype(np.bool_).astype(np.int64)
    listeners = np.asarray(knows.sum(axis=0)).ravel()
    return float(listeners @ fleet.replicas / fleet.pods)
