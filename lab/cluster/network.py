"""The network of a local cluster: nodes joined by a fabric, pods joined to their node, routes between them.

Node i has 10.77.0.(i+1) on the fabric (one bridge in a namespace of its own) and routes for the pods of all others:
straight over the fabric, or through VXLAN devices (`overlay`). A pod has 10.78.i.k/32 and one veth to its node, its
gateway; pods of one node meet in the node's routing table, as with the ptp plug-in of CNI.
Everything is done from inside the namespaces: the root namespace sees no link, not even for a moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from lab.cluster.netns import Namespace
from lab.record import Mistake

MTU = 1500
_VXLAN_BYTES = 50  # outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348, section 5)
SERVICES = "10.79.0.0/16"
_MOST_NODES = 200
_MOST_PODS = 250  # a node's /24 without its gateway


@dataclass
class Network:
    """Namespaces of one deployment. `close` lets them go; the kernel then removes what is inside."""

    count: int
    overlay: bool
    fabric: Namespace | None = None
    nodes: list[Namespace] = field(default_factory=list)
    pods: list[tuple[int, Namespace]] = field(default_factory=list)  # (node, namespace)

    @property
    def mtu(self) -> int:
        """Of the pods, in bytes."""
        return MTU - _VXLAN_BYTES if self.overlay else MTU

    def build(self) -> None:
        """The fabric and the nodes; every node can reach every other's pods to come."""
        if not 1 <= self.count <= _MOST_NODES:
            raise Mistake(f"nodes={self.count}; allowed are 1 to {_MOST_NODES}")
        self.fabric = Namespace()
        self.fabric.inside(_fabric)
        for index in range(self.count):
            self._build_node(index, self.fabric)

    def _build_node(self, index: int, fabric: Namespace) -> None:
        node = Namespace()
        self.nodes.append(node)
        node.inside(lambda: _node(index, fabric))
        fabric.inside(lambda: _port(index))
        node.inside(lambda: (_vxlan if self.overlay else _routed)(index, self.count))

    def add_pod(self, node: int) -> tuple[Namespace, str]:
        """A new pod on a node: its namespace and its address."""
        number = sum(1 for at, _ in self.pods if at == node)
        if number >= _MOST_PODS:
            raise Mistake(f"more than {_MOST_PODS} pods on node {node}; spread them over more nodes")
        pod, address = Namespace(), f"10.78.{node}.{number + 2}"
        self.pods.append((node, pod))
        self.nodes[node].inside(lambda: _pod_link(pod, node, number, address, self.mtu))
        pod.inside(lambda: _pod(node, address))
        return pod, address

    def close(self) -> None:
        """Let go of all. Idempotent."""
        for namespace in (*(pod for _, pod in self.pods), *self.nodes):
            namespace.close()
        self.pods.clear()
        self.nodes.clear()
        if self.fabric is not None:
            self.fabric.close()
            self.fabric = None


def node_address(index: int) -> str:
    """On the fabric."""
    return f"10.77.0.{index + 1}"


def _gateway(node: int) -> str:
    return f"10.78.{node}.1"


def _mac(node: int) -> str:
    """Of a node's VXLAN device: fixed, so that every node knows all without learning."""
    return f"0a:78:00:00:00:{node:02x}"


def _fabric() -> None:
    _quiet()
    with IPRoute() as link:
        link.link("add", ifname="fabric", kind="bridge", mtu=MTU)
        _up(link, "lo", "fabric")


def _node(index: int, fabric: Namespace) -> None:
    _quiet()
    _sysctl("net/ipv4/ip_forward", "1")
    with IPRoute() as link:
        peer = {"ifname": f"node{index}", "net_ns_fd": fabric.fd, "mtu": MTU}
        link.link("add", ifname="underlay", kind="veth", mtu=MTU, peer=peer)
        _address(link, "underlay", node_address(index), 24)
        _address(link, "lo", _gateway(index), 32)
        _up(link, "lo", "underlay")
        # Output hooks run after the first routing decision, so a service address needs a route before it is rewritten.
        link.route("add", dst=SERVICES, oif=_index(link, "underlay"), prefsrc=node_address(index))


def _port(index: int) -> None:
    with IPRoute() as link:
        name = f"node{index}"
        link.link("set", index=_index(link, name), master=_index(link, "fabric"))
        _up(link, name)


def _routed(index: int, nodes: int) -> None:
    with IPRoute() as link:
        for other in _others(index, nodes):
            subnet = f"10.78.{other}.0/24"
            link.route("add", dst=subnet, gateway=node_address(other), prefsrc=node_address(index))


def _vxlan(index: int, nodes: int) -> None:
    """Unicast VXLAN with fixed neighbours, as flannel makes it: one device, one entry for each other node."""
    with IPRoute() as link:
        link.link(
            "add",
            ifname="overlay",
            kind="vxlan",
            vxlan_id=78,
            vxlan_local=node_address(index),
            vxlan_port=4789,
            vxlan_learning=False,
            address=_mac(index),
            mtu=MTU - _VXLAN_BYTES,
        )
        device = _index(link, "overlay")
        _up(link, "overlay")
        for other in _others(index, nodes):
            subnet, far = f"10.78.{other}.0/24", _gateway(other)
            link.fdb("add", ifindex=device, lladdr=_mac(other), dst=node_address(other))
            link.neigh("add", ifindex=device, dst=far, lladdr=_mac(other), state="permanent")
            link.route("add", dst=subnet, gateway=far, oif=device, prefsrc=node_address(index), flags=["onlink"])


def _pod_link(pod: Namespace, node: int, number: int, address: str, mtu: int) -> None:
    with IPRoute() as link:
        name = f"pod{number}"
        link.link("add", ifname=name, kind="veth", mtu=mtu, peer={"ifname": "eth0", "net_ns_fd": pod.fd, "mtu": mtu})
        _up(link, name)
        link.route("add", dst=f"{address}/32", oif=_index(link, name), prefsrc=node_address(node), scope="link")


def _pod(node: int, address: str) -> None:
    _quiet()
    with IPRoute() as link:
        _address(link, "eth0", address, 32)
        _up(link, "lo", "eth0")
        device = _index(link, "eth0")
        link.route("add", dst=f"{_gateway(node)}/32", oif=device, scope="link")
        link.route("add", dst="default", gateway=_gateway(node), oif=device)


def _others(index: int, nodes: int) -> Sequence[int]:
    return [other for other in range(nodes) if other != index]


def _index(link: Any, name: str) -> int:
    (found,) = link.link_lookup(ifname=name)
    return int(found)


def _up(link: Any, *names: str) -> None:
    for name in names:
        link.link("set", index=_index(link, name), state="up")


def _address(link: Any, name: str, address: str, bits: int) -> None:
    link.addr("add", index=_index(link, name), address=address, prefixlen=bits)


def _quiet() -> None:
    """No IPv6 (its discovery is noise on the links) and no reverse-path filter inherited from the host's settings."""
    for scope in ("all", "default"):
        _sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
        _sysctl(f"net/ipv4/conf/{scope}/rp_filter", "0")


def _sysctl(name: str, value: str) -> None:
    """/proc/sys/net shows the namespace of the thread that opens it: only ever called inside one of the lab's own."""
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        Path("/proc/sys", name).write_text(value)
