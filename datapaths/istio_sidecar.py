"""Istio as a cluster has it installed, with its Envoy in every pod of the arm.

Sources: the label `sidecar.istio.io/inject` of pods, `istio.io/rev` for an installation with a revision, and the
annotations that exclude ports (istio.io: Installing the Sidecar; Resource Annotations); port 15090 `/stats/prometheus`
(istio.io: Ports used by Istio); `istio_requests_total` with `reporter` source or destination (istio.io: Istio Standard
Metrics), raised when a request has ended; `app=istiod` (its chart's deployment).
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from datapaths.installed.exposition import total
from datapaths.installed.mesh import HTTP, InstalledMesh, sides
from datapaths.proxy.together import together
from lab.cluster import Cluster, Mesh, Pod, PodSpec, Selector
from lab.record import Feature, RequestCount

METRICS = 15090  # of the pod's own Envoy
COUNTER = "istio_requests_total"


class IstioSidecar(InstalledMesh):
    """Istio, installed: its Envoy beside client and server, with mutual TLS between them."""

    product = "Istio"
    install = "istioctl install --set profile=default -y"
    features = HTTP | {Feature.MUTUAL_TLS}
    components: Mapping[str, Selector] = {"istiod": Selector("app=istiod")}
    residents = tuple(components.values())

    def shape(self, pod: PodSpec) -> PodSpec:
        """The pod with the label that has a proxy injected; $MESH_LAB_ISTIO_REVISION names its revision, if any."""
        revision = os.environ.get("MESH_LAB_ISTIO_REVISION")
        labels = {"sidecar.istio.io/inject": "true", **({"istio.io/rev": revision} if revision else {})}
        ports = ",".join(map(str, pod.apart))
        notes = {f"traffic.sidecar.istio.io/exclude{way}boundPorts": ports for way in ("In", "Out") if ports}
        return replace(
            pod, labels={**pod.labels, **labels}, annotations={**pod.annotations, **notes}, joined=("istio-proxy",)
        )

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """The clients' proxies together, then the servers'."""
        both = sides(mesh)
        return (
            together([_count(cluster, pod, "source") for pod in both.clients]),
            together([_count(cluster, pod, "destination") for pod in both.servers]),
        )


def _count(cluster: Cluster, pod: Pod, reporter: str) -> RequestCount:
    page = cluster.fetch(pod.name, METRICS, "/stats/prometheus")
    return RequestCount(f"{pod.name} {reporter}", total(page, COUNTER, lambda of: of.get("reporter") == reporter))
