"""One Envoy in every pod: what the pod sends and what it receives both go through it, as in most service meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datapaths.proxy import envoy
from datapaths.proxy.together import together
from lab.cluster import Cluster, Mesh, Part, PodSpec, Privilege, ProcessSpec
from lab.datapath import Datapath
from lab.record import Feature, Need, RequestCount

# Inbound: whatever reaches the pod goes to Envoy, which connects to the application at the address that was asked for.
# Outbound: whatever the pod's users send goes to Envoy, but not Envoy's own (its user is let pass, or it would meet
# itself) and not loopback (readiness probes, the admin port). Only new connections pass these chains.
REDIRECT = f"""\
table ip mesh_lab_sidecar {{
  chain inbound {{
    type nat hook prerouting priority -100; policy accept;
    iif "lo" return@apart@
    tcp dport {{ {envoy.ADMIN}, {envoy.OUTBOUND}, {envoy.INBOUND} }} return
    meta l4proto tcp redirect to :{envoy.INBOUND}
  }}
  chain outbound {{
    type nat hook output priority -100; policy accept;
    meta skuid {envoy.UID} return
    ip daddr 127.0.0.0/8 return@apart@
    meta l4proto tcp redirect to :{envoy.OUTBOUND}
  }}
}}
"""


class Sidecar(Datapath):
    """Envoy beside the client and beside the server: three TCP connections for each of the application's."""

    features = frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM})
    needs = frozenset({Need.ROOT, Need.NETWORK_NAMESPACES, Need.NFTABLES, Need.NAT_REDIRECT, Need.ENVOY})
    connections = 3

    def shape(self, pod: PodSpec) -> PodSpec:
        """The pod with its traffic redirected and an Envoy that is ready before the application starts."""
        return replace(pod, init=(*pod.init, redirect(pod.apart)), processes=(envoy.sidecar(), *pod.processes))

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """The Envoys of the clients together, then those of the servers: each request passes one of either."""
        served = {address for service in mesh.services for address in service.endpoints}
        sides: dict[str, list[RequestCount]] = {"outbound": [], "inbound": []}
        for pod in mesh.pods:
            gate = "inbound" if pod.address in served else "outbound"
            sides[gate].append(envoy.count(cluster, pod.name, envoy.ADMIN, gate))
        return tuple(together(counts) for counts in sides.values() if counts)


def redirect(apart: Sequence[int] = ()) -> ProcessSpec:
    """The init step that writes the pod's redirection rules; it runs once and ends. Ports `apart` are let be."""
    ports = ", ".join(map(str, apart))
    rules = REDIRECT.replace("@apart@", f"\n    tcp dport {{ {ports} }} return" if ports else "")
    return ProcessSpec(
        name="redirect",
        argv=("nft", "-f", "{dir}/redirect.nft"),
        part=Part.DATAPATH,
        files={"redirect.nft": rules},
        user=0,
        privileges=frozenset({Privilege.NET_ADMIN}),
    )
