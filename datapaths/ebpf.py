"""No proxy at all: programs in the kernel read HTTP/1.x from the servers' own connections and leave it as it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from lab import compile
from lab.cluster import Cluster, Http, Mesh, Node, Part, Pod, Privilege, ProcessSpec
from lab.datapath import Datapath
from lab.record import CannotRun, Feature, Need, RequestCount

FIRST_PORT = 17000  # of 127.0.0.1 on the node; arms that stand side by side are ten apart


class Ebpf(Datapath):
    """One agent a node, which attaches a stream parser to its pods' cgroups. Connections stay as they are."""

    features = frozenset({Feature.HTTP_PARSE, Feature.HTTP_METRICS, Feature.LATENCY_HISTOGRAM})
    needs = frozenset(
        {
            Need.ROOT,
            Need.CGROUP2,
            Need.CLANG,
            Need.LIBBPF,
            Need.BPF_CGROUP_SKB,
            Need.BPF_SOCK_OPS,
            Need.BPF_SK_STORAGE,
            Need.BPF_FS,
        }
    )
    connections = 1
    parts: tuple[str, ...] = ("http",)

    def node_processes(self, node: Node, mesh: Mesh) -> Sequence[ProcessSpec]:
        """The node's agent; none where the arm has no pod there."""
        pods = mesh.on(node)
        if not pods:
            return ()
        return (agent(self.parts, mesh.slot, self.told(node, mesh), "--pins", "{dir}/pins"),)

    def told(self, node: Node, mesh: Mesh) -> dict[str, object]:
        """What the agent's mesh file says; see `datapaths.bpf.part`."""
        return {
            "node": node.name,
            "cgroups": [cgroup(pod) for pod in mesh.on(node)],
            "identities": identities(mesh),
            "local": [pod.address for pod in mesh.on(node)],
            "services": services(mesh),
        }

    def seen(self, cluster: Cluster, mesh: Mesh) -> tuple[RequestCount, ...]:
        """What the servers' nodes have counted together: each request arrives at one server."""
        nodes = [n.name for n in mesh.nodes if any(p.address in _endpoints(mesh) for p in mesh.on(n))]
        counts = [json.loads(cluster.fetch(name, port(mesh.slot), "/count"))[self.parts[0]] for name in nodes]
        requests, broken = (sum(int(c[key]) for c in counts) for key in ("requests", "not_understood"))
        return (RequestCount(f"kernel on {', '.join(nodes)}", requests, broken),)


def agent(parts: Sequence[str], slot: int, told: Mapping[str, object], *flags: str) -> ProcessSpec:
    """The agent as a node's process; `told` is its JSON file."""
    given = ("--parts", ",".join(parts), "--mesh", "{dir}/mesh.json", "--port", str(port(slot)), *flags)
    return ProcessSpec(
        name="agent",
        argv=(sys.executable, "-m", "datapaths.bpf.agent", *given),
        part=Part.DATAPATH,
        files={"mesh.json": json.dumps(told, indent=1, sort_keys=True) + "\n"},
        env={"PYTHONPATH": str(compile.ROOT), "MESH_LAB_BUILD": str(compile.cache())},
        user=0,
        privileges=frozenset({Privilege.BPF}),
        ready=Http(port(slot), "/ready"),
    )


def port(slot: int) -> int:
    """Where the agent of the arm with this slot answers, on 127.0.0.1 of its node."""
    return FIRST_PORT + 10 * slot


def cgroup(pod: Pod) -> str:
    """The pod's cgroup v2 folder, or `pod:UID` for the agent to find it. `CannotRun` where the cluster says neither."""
    if pod.cgroup is None and not pod.uid:
        raise CannotRun(f"neither the cgroup nor the uid of pod {pod.name} is known; the cluster must tell one of them")
    return str(pod.cgroup or f"pod:{pod.uid}")


def identities(mesh: Mesh) -> dict[str, str]:
    """Names by address: of pods, and of services, which answer to the name of the pods behind them."""
    pods = {pod.address: pod.app for pod in mesh.pods}
    return pods | {s.address: pods[s.endpoints[0]] for s in mesh.services if s.endpoints and s.endpoints[0] in pods}


def services(mesh: Mesh) -> list[dict[str, object]]:
    """The services as agents are told of them; endpoints listen on the service's own port."""
    nodes = {pod.address: pod.node for pod in mesh.pods}
    return [
        {
            "name": s.name,
            "address": s.address,
            "port": s.port,
            "protocol": "tcp",
            "endpoints": [{"address": a, "port": s.port, "node": nodes.get(a), "weight": 1} for a in s.endpoints],
        }
        for s in mesh.services
    ]


def _endpoints(mesh: Mesh) -> set[str]:
    return {address for service in mesh.services for address in service.endpoints}
