"""Cilium as a cluster has it installed, with HTTP made visible: requests to the arm's servers pass a node's Envoy.

On such a cluster Cilium carries every arm's packets: `none` is Cilium without this. Sources: HTTP is seen where a
CiliumNetworkPolicy has HTTP rules, and the annotation of old is gone (docs.cilium.io: Layer 7 Protocol Visibility);
Envoy's counters on port 9964 of the node (its chart: envoy.prometheus.port), with the prefix `proxy` (cilium/cilium:
pkg/envoy), `downstream_rq_total` raised when a request begins (envoyproxy.io: HTTP connection manager statistics);
pods `k8s-app=cilium`, `k8s-app=cilium-envoy`, `io.cilium/app=operator`, `k8s-app=hubble-relay` (its chart).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from datapaths.installed.exposition import total
from datapaths.installed.mesh import HTTP, InstalledMesh, near, sides
from lab.cluster import Cluster, Mesh, PodSpec, Selector, ServiceSpec
from lab.record import RequestCount

METRICS = 9964
PREFIX = "envoy_http_downstream_"
SEEN = "mesh-datapath-lab/http-seen"  # the label of pods whose requests are made visible
AGENT = Selector("k8s-app=cilium", carries=True)  # has Envoy inside where it is not a pod of its own
ENVOY = Selector("k8s-app=cilium-envoy", carries=True)


class Cilium(InstalledMesh):
    """Cilium, installed: eBPF for packets and one Envoy a node for HTTP, by a policy that allows all of it."""

    product = "Cilium"
    install = "cilium install && cilium status --wait"
    features = HTTP
    rights = (("", ("pods/proxy",), ("get",)), ("cilium.io", ("ciliumnetworkpolicies",), ("create", "delete")))
    components: Mapping[str, Selector] = {
        "agent": AGENT,
        "envoy": ENVOY,
        "operator": Selector("io.cilium/app=operator"),
        "hubble-relay": Selector("k8s-app=hubble-relay"),
    }
    optional = frozenset({"envoy", "hubble-relay"})
    residents = tuple(components.values())

    def shape(self, pod: PodSpec) -> PodSpec:
        """Servers with a label that the policy picks them by."""
        return replace(pod, labels={**pod.labels, SEEN: "true"}) if pod.app == "server" else pod

    def objects(self, arm: str, services: Sequence[ServiceSpec]) -> Sequence[Mapping[str, Any]]:
        """One policy: HTTP of every kind may come to the services' ports. What is not HTTP there is refused."""
        ports = [{"port": str(service.port), "protocol": "TCP"} for service in services]
        spec = {
            "endpointSelector": {"matchLabels": {SEEN: "true"}},
            "ingress": [{"fromEndpoints": [{}], "toPorts": [{"ports": ports, "rules": {"http": [{}]}}]}],
        }
        meta = {"name": "http-seen"}
        return ({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": meta, "spec": spec},)

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """What Envoy on the servers' nodes has carried; all of it, so that nobody else's HTTP may be visible there."""
        servers = sides(mesh).servers
        places = near(cluster.residents(ENVOY), servers) or near(cluster.residents(AGENT), servers)
        pages = [cluster.fetch(place, METRICS, "/metrics") for place in places]
        return (RequestCount(", ".join(places), _sum(pages, "rq_total"), _sum(pages, "cx_protocol_error")),)


def _sum(pages: Sequence[bytes], name: str) -> int:
    def ours(of: Mapping[str, str]) -> bool:
        return of.get("envoy_http_conn_manager_prefix") == "proxy"

    return sum(total(page, f"{PREFIX}{name}", ours) for page in pages)
