"""Where the pods are, and what each proxy must therefore know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lab.record import Mistake
from lab.sim.graph import Graph

MOST_NODES = 5_000
MOST_PODS = 150_000  # the largest cluster that Kubernetes supports: https://kubernetes.io/docs/setup/best-practices/cluster-large/


class Visibility(StrEnum):
    """Which services a proxy has in its tables."""

    FULL = "full"  # all of them: the default of Istio and others
    SCOPED = "scoped"  # those that its pods call: what a Sidecar resource or an on-demand control plane gives


@dataclass(frozen=True)
class Tables:
    """How many entries proxies have: arrays with one element per proxy."""

    services: npt.NDArray[np.int64]
    endpoints: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fleet:
    """A cluster: nodes of equal size, and the graph's pods spread over them by chance (`seed`), evenly filled."""

    nodes: int
    graph: Graph
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST_NODES:
            raise Mistake(f"nodes={self.nodes}; allowed are 1 to {MOST_NODES}")
        if self.graph.pods > MOST_PODS:
            raise Mistake(f"the graph has {self.graph.pods} pods; allowed are 1 to {MOST_PODS}")

    @property
    def pods(self) -> int:
        """All pods of the cluster."""
        return self.graph.pods

    @cached_property
    def service_of(self) -> npt.NDArray[np.int64]:
        """The number of each pod's service in `graph.services`; shape (pods,)."""
        replicas = [service.replicas for service in self.graph.services]
        return np.repeat(np.arange(len(replicas)), replicas)

    @cached_property
    def node_of(self) -> npt.NDArray[np.int64]:
        """The node of each pod; shape (pods,). Nodes differ by one pod at most."""
        return np.random.default_rng(self.seed).permutation(self.pods) % self.nodes

    @cached_property
    def calls(self) -> sparse.csr_array:
        """1 where a service (row) calls another (column); shape (services, services)."""
        number = {service.name: i for i, service in enumerate(self.graph.services)}
        callers, callees = ([number[getattr(c, end)] for c in self.graph.calls] for end in ("caller", "callee"))
        ones = np.ones(len(callers), dtype=np.int64)
        return sparse.csr_array((ones, (callers, callees)), shape=(len(number), len(number)))

    @cached_property
    def replicas(self) -> npt.NDArray[np.int64]:
        """Pods of each service; shape (services,)."""
        return np.array([service.replicas for service in self.graph.services])

    def sidecar_tables(self, visibility: Visibility) -> Tables:
        """What each pod's own proxy holds; arrays of shape (pods,)."""
        if visibility is Visibility.FULL:
            return self._all(self.pods)
        tables = self._known(self.calls)
        return Tables(tables.services[self.service_of], tables.endpoints[self.service_of])

    def node_tables(self, visibility: Visibility) -> Tables:
        """What each node's proxy holds: scoped is the union of what the node's pods call; arrays of shape (nodes,)."""
        if visibility is Visibility.FULL:
            return self._all(self.nodes)
        ones = np.ones(self.pods, dtype=np.int64)
        here = sparse.csr_array((ones, (self.node_of, self.service_of)), shape=(self.nodes, len(self.replicas)))
        return self._known((here @ self.calls).astype(np.bool_).astype(np.int64))

    def _known(self, services: sparse.csr_array) -> Tables:
        """Of proxies that know the services marked with 1 in their row."""
        return Tables(np.asarray(services.sum(axis=1)), np.asarray(services @ self.replicas))

    def _all(self, proxies: int) -> Tables:
        return Tables(np.full(proxies, len(self.replicas)), np.full(proxies, self.pods))
