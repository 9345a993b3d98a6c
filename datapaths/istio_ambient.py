"""Istio's ambient mode as a cluster has it installed: one ztunnel a node, which carries connections and reads no HTTP.

So its proof is by connections. A waypoint, which would read HTTP, is not asked for. Sources: the label
`istio.io/dataplane-mode=ambient` of pods (istio.io: Add workloads to the mesh); ztunnel's port 15020 `/metrics` and
its `istio_tcp_connections_opened_total` by `reporter` and workload (istio/ztunnel: src/proxy/metrics.rs); pods
`app=ztunnel` and `k8s-app=istio-cni-node` (their charts). A pod without an owner is its own workload.
"""

from collections.abc import Mapping
from dataclasses import replace

from datapaths.installed.exposition import total
from datapaths.installed.mesh import InstalledMesh, near, sides
from lab.cluster import Cluster, Mesh, Pod, PodSpec, Selector
from lab.cluster.kubernetes.names import dns
from lab.record import Feature

METRICS = 15020
COUNTER = "istio_tcp_connections_opened_total"
ZTUNNEL = Selector("app=ztunnel", carries=True)


class IstioAmbient(InstalledMesh):
    """Istio's ambient mode, installed: connections through a tunnel between the nodes, with mutual TLS; no HTTP."""

    product = "Istio"
    install = "istioctl install --set profile=ambient --skip-confirmation"
    features = frozenset({Feature.MUTUAL_TLS})
    rights = (("", ("pods/proxy",), ("get",)),)
    components: Mapping[str, Selector] = {
        "istiod": Selector("app=istiod"),
        "ztunnel": ZTUNNEL,
        "istio-cni": Selector("k8s-app=istio-cni-node"),
    }
    residents = tuple(components.values())

    def shape(self, pod: PodSpec) -> PodSpec:
        """The pod with the label that has its connections led through its node's ztunnel."""
        return replace(pod, labels={**pod.labels, "istio.io/dataplane-mode": "ambient"})

    def taken(self, cluster: Cluster, mesh: Mesh) -> Mapping[str, int]:
        """What the ztunnels of the clients' nodes took from them, and those of the servers' nodes for them."""
        both = sides(mesh)
        return {
            "ztunnel source": _taken(cluster, both.clients, "source"),
            "ztunnel destination": _taken(cluster, both.servers, "destination"),
        }


def _taken(cluster: Cluster, pods: tuple[Pod, ...], reporter: str) -> int:
    names = {dns(pod.name) for pod in pods}

    def wanted(of: Mapping[str, str]) -> bool:
        return of.get("reporter") == reporter and of.get(f"{reporter}_workload") in names

    places = near(cluster.residents(ZTUNNEL), pods)
    return sum(total(cluster.fetch(place, METRICS, "/metrics"), COUNTER, wanted) for place in places)
