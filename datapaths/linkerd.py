"""Linkerd as a cluster has it installed, with its proxy in every pod of the arm.

Sources: the annotations `linkerd.io/inject` and `config.linkerd.io/skip-…-ports` and the container `linkerd-proxy`
(linkerd/linkerd2: pkg/k8s/labels.go); port 4191 `/metrics` and `request_total` by `direction`, raised when a request
begins, and inbound by `target_addr`, since kubelet's probes of port 4191 are counted, too (linkerd.io: Proxy Metrics);
its own pods bear `linkerd.io/control-plane-ns` in namespace `linkerd` (its chart).
"""

from collections.abc import Mapping
from dataclasses import replace

from datapaths.installed.exposition import total
from datapaths.installed.mesh import HTTP, InstalledMesh, sides
from datapaths.proxy.together import together
from lab.cluster import Cluster, Mesh, Pod, PodSpec, Selector
from lab.record import Feature, RequestCount

METRICS = 4191
COUNTER = "request_total"


class Linkerd(InstalledMesh):
    """Linkerd, installed: its own small proxy beside client and server, with mutual TLS and HTTP/2 between them."""

    product = "Linkerd"
    install = "linkerd install --crds | kubectl apply -f - && linkerd install | kubectl apply -f - && linkerd check"
    features = HTTP | {Feature.MUTUAL_TLS}
    components: Mapping[str, Selector] = {
        "control plane": Selector("linkerd.io/control-plane-ns=linkerd", namespace="linkerd")
    }
    residents = tuple(components.values())

    def shape(self, pod: PodSpec) -> PodSpec:
        """The pod with the annotation that has a proxy injected."""
        ports = ",".join(map(str, pod.apart))
        skipped = {f"config.linkerd.io/skip-{way}bound-ports": ports for way in ("in", "out") if ports}
        notes = {"linkerd.io/inject": "enabled", **skipped}
        return replace(pod, annotations={**pod.annotations, **notes}, joined=("linkerd-proxy",))

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """The clients' proxies together, then the servers'."""
        both = sides(mesh)
        return (
            together([_count(cluster, pod, "outbound", "") for pod in both.clients]),
            together([_count(cluster, pod, "inbound", f":{mesh.services[0].port}") for pod in both.servers]),
        )


def _count(cluster: Cluster, pod: Pod, direction: str, target: str) -> RequestCount:
    def wanted(of: Mapping[str, str]) -> bool:
        return of.get("direction") == direction and of.get("target_addr", "").endswith(target)

    page = cluster.fetch(pod.name, METRICS, "/metrics")
    return RequestCount(f"{pod.name} {direction}", total(page, COUNTER, wanted))
