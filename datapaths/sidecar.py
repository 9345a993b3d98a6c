"""One Envoy in every pod: what the pod sends and what it receives both go through it, as in most service meshes."""

from __future__ import annotations

from dataclasses import replace

from datapaths.proxy import envoy
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
    iif "lo" return
    tcp dport {{ {envoy.ADMIN}, {envoy.OUTBOUND}, {envoy.INBOUND} }} return
    meta l4proto tcp redirect to :{envoy.INBOUND}
  }}
  chain outbound {{
    type nat hook output priority -100; policy accept;
    meta skuid {envoy.UID} return
    ip daddr 127.0.0.0/8 return
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
        return replace(pod, init=(*pod.init, redirect()), processes=(envoy.sidecar(), *pod.processes))

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """Each pod's own Envoy: `inbound` where the pod stands behind a service, else `outbound`."""
        served = {address for service in mesh.services for address in service.endpoints}
        gates = ((pod.name, "inbound" if pod.address in served else "outbound") for pod in mesh.pods)
        return tuple(envoy.count(cluster, name, envoy.ADMIN, prefix) for name, prefix in gates)


def redirect() -> ProcessSpec:
    """The init step that writes the pod's redirection rules; it runs once and ends."""
    return ProcessSpec(
        name="redirect",
        argv=("nft", "-f", "{dir}/redirect.nft"),
        part=Part.DATAPATH,
        files={"redirect.nft": REDIRECT},
        user=0,
        privileges=frozenset({Privilege.NET_ADMIN}),
    )
