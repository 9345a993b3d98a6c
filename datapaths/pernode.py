"""One Envoy a node: the pods' connections are brought to it at the socket, before there is a packet to redirect."""

from __future__ import annotations

from collections.abc import Sequence

from datapaths import ebpf
from datapaths.proxy import envoy
from lab.cluster import Cluster, Mesh, Node, ProcessSpec
from lab.datapath import Datapath
from lab.record import Feature, Need, RequestCount


class PerNode(Datapath):
    """The proxy of the client's node is on the path, so that the application's connection becomes two."""

    features = frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM})
    needs = frozenset(
        {
            Need.ROOT,
            Need.CGROUP2,
            Need.CLANG,
            Need.LIBBPF,
            Need.ENVOY,
            Need.BPF_CGROUP_CONNECT,
            Need.BPF_CGROUP_SOCKOPT,
            Need.BPF_SOCK_OPS,
            Need.BPF_SK_STORAGE,
        }
    )
    connections = 2

    def node_processes(self, node: Node, mesh: Mesh) -> Sequence[ProcessSpec]:
        """The proxy, then the agent that sends the node's pods to it and tells it where they wanted to go.

        The agent finds the proxy by the folder that its own cgroup shares with the proxy's, or where pods must be found
        too, by the port that it listens on.
        """
        listener, _ = envoy.node_ports(mesh.slot)
        told: dict[str, object] = {
            "cgroups": [ebpf.cgroup(pod) for pod in mesh.on(node)],
            "services": ebpf.services(mesh),
            "proxy": f"{node.address}:{listener}",
        }
        if any(pod.cgroup is None for pod in mesh.on(node)):
            told["proxy_cgroup"] = f"port:{listener}"
        redirect = ebpf.agent(("redirect",), mesh.slot, told)
        return (envoy.node_proxy(mesh.slot), redirect)

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """What the proxies of the clients' nodes have carried together: each request passes one of them."""
        served = {address for service in mesh.services for address in service.endpoints}
        nodes = [n.name for n in mesh.nodes if any(p.address not in served for p in mesh.on(n))]
        _, admin = envoy.node_ports(mesh.slot)
        counts = [envoy.count(cluster, name, admin, "node") for name in nodes]
        requests, broken = sum(c.requests for c in counts), sum(c.not_understood for c in counts)
        return (RequestCount(f"Envoy on {', '.join(nodes)}", requests, broken),)
