"""Three servers and two clients on two nodes of a local cluster, for tests of what happens at connect()."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpf_mesh import script
from pyroute2 import IPRoute

from lab.cluster import Layout, Line, PodSpec, ProcessSpec, ServiceSpec
from lab.cluster.launch import LocalProcess
from lab.cluster.local import LocalCluster
from lab.record import Need

ARM, PORT, CALL_S = "town", 8080, 20.0
NEEDS = frozenset({Need.CGROUP2, Need.CLANG, Need.LIBBPF, Need.BPF_CGROUP_CONNECT, Need.BPF_SK_STORAGE})
SERVERS = {"red": 1, "green": 1, "blue": 0}  # node by pod; red and green together are `colours` to Kubernetes
CLIENT, STRANGER = "client", "stranger"
GATEWAY, NO_DUPLICATES = "fd00:78::1", 0x02  # of pods; IFA_F_NODAD
PLAYER = str(Path(__file__).with_name("bpf_sockets.py"))
Json = dict[str, Any]


class Refused(OSError):
    """What a call inside a pod ended with: the name of an errno."""


class Caller:
    """A process in a pod that does as it is told: `caller.connect(1, address, port)`; see `bpf_sockets.Sockets`."""

    def __init__(self, process: LocalProcess) -> None:
        self.process, self.answers = process, 1

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        self.process.tell(json.dumps([name, arguments]))
        deadline = time.monotonic() + CALL_S
        while len(lines := self.process.read("stdout").decode().split("\n")) <= self.answers + 1:
            silent = time.monotonic() > deadline or self.process.code is not None
            assert not silent, self.process.story(f"is silent after {name}")
            time.sleep(0.001)
        answer = json.loads(lines[self.answers])
        self.answers += 1
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["value"]


class Town:
    """The cluster, who is where, and a caller in each client."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster, self.mesh = cluster, cluster.mesh
        self.client, self.stranger = (Caller(obedient(cluster, pod)) for pod in (CLIENT, STRANGER))
        self.service = self.mesh.service("colours").address

    def at(self, pod: str) -> str:
        return self.mesh.pod(pod).address

    def name(self, address: str) -> str:
        return next(p.name for p in self.mesh.pods if p.address == address)

    def endpoint(self, pod: str, **more: Any) -> Json:
        return {"address": self.at(pod), "port": PORT, "node": f"node{SERVERS[pod]}", "weight": 1} | more

    def told(self, *endpoints: Json, **more: Any) -> Json:
        """What the agent of the clients' node is told: `colours` over TCP and UDP, in front of these endpoints."""
        here = [self.mesh.pod(name) for name in (CLIENT, STRANGER)]
        service = {"name": "colours", "address": self.service, "port": PORT, "endpoints": list(endpoints)}
        return {
            "node": "node0",
            "cgroups": [str(pod.cgroup) for pod in here],
            "local": [pod.address for pod in here],
            "identities": {pod.address: pod.name for pod in self.mesh.pods if pod.name != STRANGER},
            "services": [service | {"protocol": protocol} for protocol in ("tcp", "udp")],
        } | more


def obedient(cluster: LocalCluster, pod: str) -> LocalProcess:
    argv = script("caller", PLAYER, "obey")
    return cluster.run(pod, ARM, ProcessSpec("caller", argv.argv, argv.part, ready=Line("ready")))


def server(name: str) -> ProcessSpec:
    base = script("server", PLAYER, "serve", name, str(PORT), str(PORT + 1))
    return ProcessSpec("server", base.argv, base.part, ready=Line("ready"))


@contextmanager
def town(state: Path) -> Iterator[Town]:
    pods = [PodSpec(name, node, ARM, name, (server(name),)) for name, node in SERVERS.items()]
    pods += [PodSpec(name, 0, ARM, name) for name in (CLIENT, STRANGER)]
    services = (ServiceSpec("colours", ARM, PORT, ("red", "green")),)
    with LocalCluster(f"town-{os.getpid()}", state=state) as cluster:
        cluster.deploy(Layout(tuple(pods), services))
        yield Town(cluster)


def changed(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """The counters that grew, and by how much."""
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def with_ipv6(place: Town) -> dict[str, str]:
    """Give pods and nodes IPv6 beside IPv4; the pods' addresses by name."""
    nodes, addresses, seen = place.mesh.nodes, dict[str, str](), dict[str, int]()
    for node in nodes:
        place.cluster.inside(node.name).inside(lambda node=node: _node(node.index, len(nodes)))  # type: ignore[misc]
    for pod in place.mesh.pods:
        at, number = int(pod.node.removeprefix("node")), seen.setdefault(pod.node, 0)
        seen[pod.node] += 1
        addresses[pod.name] = address = f"fd00:78:{at}::{number + 2:x}"
        place.cluster.inside(pod.node).inside(lambda n=number, a=address: _link(f"pod{n}", a))  # type: ignore[misc]
        place.cluster.inside(pod.name).inside(lambda a=address: _pod(a))  # type: ignore[misc]
    return addresses


def _node(index: int, count: int) -> None:
    _ipv6()
    with IPRoute() as route:
        _address(route, "underlay", f"fd00:77::{index + 1:x}", 64)
        for other in set(range(count)) - {index}:
            route.route("add", dst=f"fd00:78:{other}::/64", gateway=f"fd00:77::{other + 1:x}", family=socket.AF_INET6)


def _link(name: str, pod: str) -> None:
    with IPRoute() as route:
        _address(route, name, GATEWAY, 128)
        route.route("add", dst=f"{pod}/128", oif=route.link_lookup(ifname=name)[0], family=socket.AF_INET6)


def _pod(address: str) -> None:
    _ipv6()
    with IPRoute() as route:
        _address(route, "eth0", address, 128)
        device = route.link_lookup(ifname="eth0")[0]
        route.route("add", dst=f"{GATEWAY}/128", oif=device, family=socket.AF_INET6)
        route.route("add", dst="default", gateway=GATEWAY, oif=device, family=socket.AF_INET6)


def _ipv6() -> None:
    for name, value in (("disable_ipv6", "0"), ("forwarding", "1")):
        Path(f"/proc/sys/net/ipv6/conf/all/{name}").write_text(value)


def _address(route: Any, name: str, address: str, bits: int) -> None:
    at = route.link_lookup(ifname=name)[0]
    route.addr("add", index=at, address=address, prefixlen=bits, family=socket.AF_INET6, flags=NO_DUPLICATES)
