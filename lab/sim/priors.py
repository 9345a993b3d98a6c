"""Footprints that others have published: priors, not measurements of this lab; each with its source and its date.

They were measured on other machines, under other loads, with other tables, and mostly as resident memory. So they stand
beside the lab's own figures and never enter them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.sim.fleet import Fleet

MB, MIB = 10**6, 2**20
ISTIO = "https://istio.io/latest/docs/ops/deployment/performance-and-scalability/"


@dataclass(frozen=True)
class Prior:
    """One published footprint. `per`: a proxy or agent a `pod` or a `node`; CPU is of one thousand requests/s."""

    name: str
    per: str
    memory_bytes: int
    cores_per_1000: float | None
    conditions: str
    source: str
    date: str

    def memory(self, fleet: Fleet) -> int:
        """Bytes of the whole fleet, by multiplication; shared pages are counted as published."""
        return self.memory_bytes * (fleet.pods if self.per == "pod" else fleet.nodes)


PRIORS = (
    Prior(
        "Istio sidecar",
        "pod",
        60 * MB,
        0.20,
        "1,000 HTTP requests/s of 1 KB, 2 workers, 1,000 services, 2,000 pods",
        ISTIO,
        "Istio 1.24, 2024",
    ),
    Prior(
        "Istio waypoint, one a node",
        "node",
        60 * MB,
        0.25,
        "as above; a waypoint serves a namespace or service: one a node is an assumption of this table",
        ISTIO,
        "Istio 1.24, 2024",
    ),
    Prior("Istio ztunnel", "node", 12 * MB, 0.06, "as above; L4 only", ISTIO, "Istio 1.24, 2024"),
    Prior(
        "Linkerd proxy",
        "pod",
        26_300_000,
        None,
        "Linkerd 2.11.1, the most that a proxy held, mean over runs at 2,000 requests/s",
        "https://linkerd.io/2021/11/29/linkerd-vs-istio-benchmarks-2021/",
        "2021-11-29",
    ),
    Prior(
        "cilium-agent",
        "node",
        438 * MIB,
        None,
        "mean of 1,000 nodes with 50,000 pods, CRD mode, Kubernetes 1.18.3; it does networking and policy, too",
        "https://docs.cilium.io/en/stable/operations/performance/scalability/report/",
        "2020",
    ),
)
